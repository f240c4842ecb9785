// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"sync"
	"time"
)

// A lease says which call drives the device: one at a time. Run and Connect take it for themselves,
// Send and Receive one after the other; Assignment, Reprovision and Forget take it only for want of
// another, and yield it to those.
type lease struct {
	yield chan struct{} // to a helper that holds it: give it up

	mu      sync.Mutex
	held    chan struct{} // not nil while somebody holds it; closed when they are done
	holder  holder        // who
	waiting int           // how many of Run, Connect, Send and Receive wait for it
	freed   chan struct{} // closed, and made anew, when the lease may be there for a helper
}

// holder is the kind of a call that drives the device.
type holder uint8

const (
	holderHelper  holder = iota // drives only for want of another: yields
	holderMain                  // Run or Connect
	holderRequest               // Send, Receive or NextAttempt: several of them queue up
	holderReport                // Confirm, Rejected or Closed: as these, but lets a helper finish
)

// reportPatience is for how long a report waits for a helper. One that registers needs seconds, and
// would register anew.
const reportPatience = time.Minute

func newLease() *lease { return &lease{yield: make(chan struct{}), freed: make(chan struct{})} }

// tryAcquire makes the caller the holder and returns nil. If somebody else is, or is about to, it
// returns what to wait for before the next try.
func (l *lease) tryAcquire(as holder) (wait <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.held != nil:
		return l.held
	case as == holderHelper && l.waiting > 0:
		return l.freed
	}
	l.held, l.holder = make(chan struct{}), as
	return nil
}

// acquire is for Run, Connect, Send, Receive and the calls for the program's own client. It waits
// for helpers, which yield, and for others but Run and Connect; it returns ErrRunning where a
// caller would wait for ever.
func (l *lease) acquire(ctx context.Context, as holder) error {
	l.enqueue(1)
	defer l.enqueue(-1)
	yield := l.yield
	var impatient <-chan time.Time
	if as == holderReport {
		yield, impatient = nil, time.After(reportPatience)
	}
	for {
		wait := l.tryAcquire(as)
		if wait == nil {
			return nil
		}
		switch held, by := l.heldBy(); {
		case !held || by == holderHelper:
		case by == holderMain || as == holderMain:
			return ErrRunning
		}
		select {
		case yield <- struct{}{}:
		case <-impatient:
			yield = l.yield
		case <-wait:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// enqueue counts those who wait. Helpers that let the last of them go first are woken when it has
// given up.
func (l *lease) enqueue(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting += n
	if l.waiting == 0 && l.held == nil {
		l.announce()
	}
}

func (l *lease) heldBy() (held bool, by holder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held != nil, l.holder
}

// release is the holder's last word.
func (l *lease) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.held)
	l.held = nil
	l.announce()
}

// announce wakes the helpers; mu is held.
func (l *lease) announce() {
	close(l.freed)
	l.freed = make(chan struct{})
}
