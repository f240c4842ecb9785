// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"container/list"
	"math/rand/v2"
	"time"
)

// waiter is one who has entered.
type waiter struct {
	ready    chan struct{} // closed when its turn has come
	clock    bool          // it asks for the time alone
	at       *list.Element // in one of the queues, until its turn has come
	in       *list.List
	admitted bool
	over     bool
	round    int // of the service, when it was admitted
}

// service is what the devices share of one. The Budget's lock is held in all of its methods.
type service struct {
	owner    *Budget
	interval time.Duration // between two exchanges that begin
	most     int           // exchanges under way
	least    int           // to which the window shrinks when the service is in trouble

	known, others list.List // who waits: those that a hub has accepted, and all others
	turns         int       // that were given
	underWay      int
	window        int       // how many may be under way now
	next          time.Time // when the rate allows the next one
	notBefore     time.Time // until when the service asked to be left alone
	waits         int       // that it asked for in a row
	round         int       // changes with each bad news: what began before says no more
	timer         *time.Timer
	used          time.Time
}

// idle says that nothing would be lost if it were forgotten.
func (s *service) idle(now time.Time) bool {
	return s.known.Len()+s.others.Len()+s.underWay == 0 && !s.notBefore.After(now) &&
		now.Sub(s.used) >= forgottenAfter
}

func (s *service) enqueue(w *waiter, known bool) {
	w.in = &s.others
	if known {
		w.in = &s.known
	}
	w.at = w.in.PushBack(w)
}

func (s *service) leave(w *waiter) { w.in.Remove(w.at) }

// first is whose turn is next: one that a hub has accepted before, which has a life to go on with.
// Every fourth turn is another's all the same, so that none waits for ever.
func (s *service) first() *waiter {
	queue := &s.known
	if queue.Len() == 0 || s.others.Len() > 0 && s.turns%4 == 3 {
		queue = &s.others
	}
	if queue.Len() == 0 {
		return nil
	}
	return queue.Front().Value.(*waiter)
}

// admit gives the turns that may be given now, and sees to it that it is called when the next one
// may be. Where that takes the end of an exchange, that does so.
func (s *service) admit(now time.Time) {
	for w := s.first(); w != nil && (w.clock || s.underWay < s.window); w = s.first() {
		if wait := later(s.next, s.notBefore).Sub(now); wait > 0 {
			s.wake(wait)
			return
		}
		s.leave(w)
		s.turns++
		if !w.clock {
			s.underWay++
		}
		s.next = later(s.next, now.Add(-slack)).Add(s.interval)
		w.admitted, w.round = true, s.round
		close(w.ready)
	}
}

func (s *service) wake(after time.Duration) {
	if s.timer != nil {
		s.timer.Reset(after)
		return
	}
	s.timer = time.AfterFunc(after, func() {
		s.owner.mu.Lock()
		defer s.owner.mu.Unlock()
		s.admit(time.Now())
	})
}

// learn takes in what became of an exchange.
func (s *service) learn(w *waiter, v verdict, now time.Time) {
	current := w.round == s.round
	switch v.kind {
	case served:
		if current && !w.clock { // the time is told even where registrations are throttled
			s.window, s.waits = min(s.window+1, s.most), 0
		}
	case silent:
		// That is often the way there, of which each device has to find out by itself, and
		// tries another then: it must not wait for long until the others have failed.
		if current {
			s.window = min(s.window+1, s.most)
		}
	case troubled:
		if current {
			s.window = max(s.window/2, min(s.window, s.least), 1)
			s.round++
		}
	case throttled:
		wait := v.wait
		if wait <= 0 {
			wait = min(firstWait<<min(s.waits, 10), longestWait)
		}
		wait = min(wait, longestHonoured)
		wait += time.Duration(rand.Float64() * float64(min(wait/10, longestJitter)))
		s.notBefore = later(s.notBefore, now.Add(wait))
		s.next = later(s.next, s.notBefore) // the rate makes up for no wait
		if current {
			s.window = 1
			s.waits++
			s.round++
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
