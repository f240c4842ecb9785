// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"slices"
	"sync"
	"syscall"
	"time"
)

// lagLog finds the moments at which the machine had no time for anybody: a process that lived
// through one has not lived.
type lagLog struct {
	mu     sync.Mutex
	stalls []stall // in order
	stop   chan struct{}
	ended  sync.WaitGroup
}

type stall struct{ from, to time.Time }

const (
	lagStep  = 2 * time.Millisecond
	lagLimit = 10 * time.Millisecond // from here on it is a stall
)

func startLagLog() *lagLog {
	l := &lagLog{stop: make(chan struct{})}
	l.ended.Go(func() {
		for {
			due := time.Now().Add(lagStep)
			select {
			case <-time.After(lagStep):
			case <-l.stop:
				return
			}
			if now := time.Now(); now.Sub(due) > lagLimit {
				l.mu.Lock()
				l.stalls = append(l.stalls, stall{due, now})
				l.mu.Unlock()
			}
		}
	})
	return l
}

func (l *lagLog) end() {
	close(l.stop)
	l.ended.Wait()
}

// between is how much of the time between two moments a process could make use of.
func (l *lagLog) between(from, to time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	usable := to.Sub(from)
	first, _ := slices.BinarySearchFunc(l.stalls, from, func(s stall, t time.Time) int {
		return s.to.Compare(t)
	})
	for _, s := range l.stalls[first:] {
		if !s.from.Before(to) {
			break
		}
		usable -= earliest(s.to, to).Sub(latest(s.from, from))
	}
	return usable
}

// share is the part of the seconds before a moment for which the machine stood still, 0 to 1.
func (l *lagLog) share(at time.Time) float64 {
	const looked = 20 * time.Second
	return 1 - l.between(at.Add(-looked), at).Seconds()/looked.Seconds()
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// sum is how long the machine stood still, and the longest time in one.
func (l *lagLog) sum() (all, longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.stalls {
		d := s.to.Sub(s.from)
		all, longest = all+d, max(longest, d)
	}
	return all, longest
}

// processorTime is what this process and those that it has started and seen end have used.
func processorTime() time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}
