// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import (
	"encoding/binary"
	"math"
	"time"
)

// situation is a device and the world around it at one moment. Times are distances from it.
type situation struct {
	state State
	phase byte

	hubDue, dpsDue     time.Duration // when the request under way is answered
	hubLost, dpsLost   bool          // nobody answers this one
	hubClock, dpsClock bool          // it began with a wrong clock
	hubTried           byte
	asking             asking

	connected byte // the hub
	stable    bool
	stableIn  time.Duration

	wrongClock bool
	notBefore  [3]time.Duration // what hubs and DPS asked for, kept apart from the device
	mends      [2]bool          // the hub's was a rejection, which the clock may explain

	stored   [2]byte // confirmed and candidate
	mustKeep byte    // the hub that last accepted the device, if that is stored

	accepted [2]bool // since DPS's last response
	urgent   bool    // the rejection of an accepted device has gone to DPS

	renewing renewing // what is true of the certificate, if there is one

	losses byte          // so many answers may still be lost
	life   time.Duration // what is left of the process
}

const (
	// never is the time of what is not going to happen.
	never = time.Duration(-1)

	// silence is how long a device waits for an answer that never comes.
	silence = 30 * time.Second

	// lasting is after how long a connection is stable.
	lasting = 30 * time.Second
)

// normalize makes the moment so much later than the epoch the present. What is left of all other
// distances is rounded up as the device's own are.
func (x *exploration) normalize(s *situation, elapsed time.Duration) {
	if x.isLast(s) {
		for hub := byte(1); hub <= 2; hub++ {
			x.forget(s, hub)
		}
	}
	x.form.normalize(&s.state, epoch.Add(elapsed))
	for _, d := range s.distances() {
		if *d != never {
			*d = roundUp(*d, x.grid)
		}
	}
	for i := range s.mends {
		s.mends[i] = s.mends[i] && s.notBefore[i] > 0
	}
}

// forget drops what is kept for a hub that the device does not hold, and that nobody is going to
// name any more.
func (x *exploration) forget(s *situation, hub byte) {
	a := assignmentOf(hub)
	if hub == x.around(s).home || hub == s.stored[0] || hub == s.stored[1] || hub == s.connected ||
		hub == s.hubTried || s.state.Confirmed.SameAs(a) || s.state.Candidate.SameAs(a) ||
		s.state.DPS.Rejecting.SameAs(a) {
		return
	}
	for i := range s.state.Hubs {
		if s.state.Hubs[i].of(a) {
			s.state.Hubs[i] = HubRecord{}
		}
	}
	s.notBefore[hub-1], s.accepted[hub-1] = 0, false
}

// distances are all that time takes something from.
func (s *situation) distances() [14]*time.Duration {
	r := &s.renewing
	return [...]*time.Duration{
		&s.hubDue, &s.dpsDue, &s.stableIn, &s.life,
		&s.notBefore[0], &s.notBefore[1], &s.notBefore[2],
		&r.due, &r.renewIn, &r.registerIn, &r.expiresIn, &r.gap, &r.asked, &r.away,
	}
}

// key tells situations apart. The state must be the one that was normalized last.
func (x *exploration) key(s *situation) []byte {
	b := x.form.appendKey(x.buffer[:0])
	for _, d := range s.distances() {
		seconds := int64(-1)
		if *d != never {
			seconds = int64(*d / time.Second)
		}
		b = binary.AppendVarint(b, seconds)
	}
	b = append(b, s.phase, s.hubTried, byte(s.asking), s.connected, s.stored[0], s.stored[1],
		s.mustKeep, s.losses)
	bits := 0
	for _, set := range [...]bool{
		s.hubLost, s.dpsLost, s.hubClock, s.dpsClock, s.stable, s.wrongClock, s.mends[0],
		s.mends[1], s.accepted[0], s.accepted[1], s.urgent, s.renewing.certified, s.renewing.easy,
	} {
		bits <<= 1
		if set {
			bits |= 1
		}
	}
	x.buffer = append(b, byte(bits), byte(bits>>8))
	return x.buffer
}

// occasion is one of the things that may happen next.
type occasion byte

const (
	timerDue occasion = iota
	hubAnswers
	dpsAnswers
	becomesStable
	lifeEnds
	hubRenews
)

// next is how long it takes until something happens by itself, and what may be the first then.
func (s *situation) next() (in time.Duration, first []occasion) {
	in = math.MaxInt64
	consider := func(d time.Duration, o occasion) {
		switch {
		case d == never || d > in:
		case d < in:
			in, first = d, append(first[:0], o)
		default:
			first = append(first, o)
		}
	}
	if at, ok := s.state.Wake(); ok {
		consider(max(at.Sub(epoch), 0), timerDue)
	}
	consider(s.hubDue, hubAnswers)
	consider(s.dpsDue, dpsAnswers)
	consider(s.stableIn, becomesStable)
	consider(s.renewing.due, hubRenews)
	if s.life != never && s.life < in {
		return s.life, []occasion{lifeEnds}
	}
	return in, first
}

// later is the situation after a while in which nothing happened.
func (s *situation) later(elapsed time.Duration) situation {
	c := *s
	for _, d := range c.distances() {
		if *d != never {
			*d = max(*d-elapsed, 0)
		}
	}
	return c
}
