// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// lagLog finds the moments at which the machine had no time for anybody: a process that lived
// through one has not lived. Each processor is watched by a thread of its own, since another may
// stand still while one does not, and so is the file system that the stores are on.
type lagLog struct {
	mu     sync.Mutex
	stalls []stall     // in order, and apart
	sets   []time.Time // when somebody has set the wall clock
	stop   chan struct{}
	ended  sync.WaitGroup
}

type stall struct{ from, to time.Time }

const (
	lagStep  = 2 * time.Millisecond
	lagLimit = 10 * time.Millisecond // from here on it is a stall

	// The two clocks are not read at once, so that small differences mean nothing.
	clockSlack = 100 * time.Millisecond
)

func startLagLog(stores string) *lagLog {
	l := &lagLog{stop: make(chan struct{})}
	for _, processor := range ownProcessors() {
		l.ended.Go(func() {
			// The thread ends with the goroutine, since it stays locked.
			runtime.LockOSThread()
			keepTo(processor)
			l.watch(lagStep, func() {
				pause := syscall.NsecToTimespec(lagStep.Nanoseconds())
				_ = syscall.Nanosleep(&pause, nil) // one that is interrupted is no stall
			})
		})
	}
	temporary, file := filepath.Join(stores, "lag~"), filepath.Join(stores, "lag")
	l.ended.Go(func() {
		l.watch(2*lagStep, func() {
			_ = os.WriteFile(temporary, []byte("as a device stores what it waits for"), 0o600)
			_ = os.Rename(temporary, file)
			time.Sleep(2 * lagStep)
		})
	})
	l.ended.Go(l.watchClock)
	return l
}

// watch does again and again what takes so long, and sees when it takes longer.
func (l *lagLog) watch(takes time.Duration, what func()) {
	for !l.stopped() {
		due := time.Now().Add(takes)
		what()
		if now := time.Now(); now.Sub(due) > lagLimit {
			l.add(stall{due, now})
		}
	}
}

// watchClock finds out whether the wall clock, by which the log of a device is dated, was set.
func (l *lagLog) watchClock() {
	for last := time.Now(); !l.stopped(); {
		time.Sleep(10 * lagStep)
		now := time.Now()
		if (now.Round(0).Sub(last.Round(0)) - now.Sub(last)).Abs() > clockSlack {
			l.mu.Lock()
			l.sets = append(l.sets, last, now)
			l.mu.Unlock()
		}
		last = now
	}
}

func (l *lagLog) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// add keeps stalls apart: those of several watchers are one where they overlap.
func (l *lagLog) add(s stall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.stalls)
	for ; n > 0 && !l.stalls[n-1].to.Before(s.from); n-- {
		s = stall{earliest(s.from, l.stalls[n-1].from), latest(s.to, l.stalls[n-1].to)}
	}
	l.stalls = append(l.stalls[:n], s)
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

// usable is the part of the time between two moments that a process could make use of, 0 to 1.
func (l *lagLog) usable(from, to time.Time) float64 {
	return l.between(from, to).Seconds() / to.Sub(from).Seconds()
}

// share is the part of the seconds before a moment for which the machine stood still, 0 to 1.
func (l *lagLog) share(at time.Time) float64 {
	const looked = 20 * time.Second
	return 1 - l.usable(at.Add(-looked), at)
}

// clockSet says that the wall clock was set between two moments.
func (l *lagLog) clockSet(from, to time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.sets, func(t time.Time) bool {
		return !t.Before(from) && !t.After(to)
	})
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

// processors is a set of them, as the kernel has it.
type processors [1024 / wordBits]uintptr

const wordBits = 8 * int(unsafe.Sizeof(uintptr(0)))

// ownProcessors are those that this process may run on.
func ownProcessors() (all []int) {
	var may processors
	if _, _, errno := syscall.RawSyscall(
		syscall.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(may), uintptr(unsafe.Pointer(&may)),
	); errno != 0 {
		return []int{0}
	}
	for i := range len(may) * wordBits {
		if may[i/wordBits]>>(i%wordBits)&1 != 0 {
			all = append(all, i)
		}
	}
	return all
}

// keepTo keeps this thread to one processor. Where that is not allowed it watches any.
func keepTo(processor int) {
	var only processors
	only[processor/wordBits] = 1 << (processor % wordBits)
	_, _, _ = syscall.RawSyscall(
		syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(only), uintptr(unsafe.Pointer(&only)),
	)
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
