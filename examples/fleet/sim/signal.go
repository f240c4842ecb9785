// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"runtime"
	"sync/atomic"
)

// signal is a count that one goroutine raises and another waits for. Batches follow each other
// within some ten microseconds, in which a goroutine that sleeps is hardly woken: for so long the
// one that waits looks again and again.
type signal struct {
	count  atomic.Uint64
	asleep atomic.Bool
	wake   chan struct{}
}

func newSignal() *signal { return &signal{wake: make(chan struct{}, 1)} }

func (s *signal) raise() {
	s.count.Add(1)
	if s.asleep.CompareAndSwap(true, false) {
		s.wake <- struct{}{}
	}
}

// looks is how often wait looks before it sleeps, each time letting others run: some 50 us.
const looks = 1 << 8

// wait returns when the count has been raised n times in all.
func (s *signal) wait(n uint64) {
	for range looks {
		for range 64 {
			if s.count.Load() >= n {
				return
			}
		}
		runtime.Gosched()
	}
	for s.count.Load() < n {
		s.asleep.Store(true)
		if s.count.Load() >= n && s.asleep.CompareAndSwap(true, false) {
			return
		}
		<-s.wake
	}
}
