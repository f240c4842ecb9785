// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import (
	"fmt"
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// happen lets the device decide about an event, or start what is due if there is none.
func (x *exploration) happen(
	s *situation, elapsed time.Duration, e Event, random Random,
) {
	now := epoch.Add(elapsed)
	var actions []Action
	if e == nil {
		s.state, actions = Fire(s.state, now, random)
	} else {
		s.state, actions = Step(s.state, e, now, random)
	}
	for _, a := range actions {
		x.perform(s, a)
	}
	if x.replayed != nil {
		x.replayed.actions = actions
	}
	x.check(s, now)
	x.checkRenewal(s)
	if boot, ok := e.(Boot); ok {
		x.checkBoot(s, &boot, now)
	}
	x.normalize(s, elapsed)
}

// perform does what the device decided on.
func (x *exploration) perform(s *situation, a Action) {
	switch a := a.(type) {
	case Connect:
		hub := hubNumber(a.Target.Hub)
		if s.notBefore[hub-1] > 0 {
			x.violated("early", "hub %v tried %v early", a.Target.Hub, s.notBefore[hub-1])
		}
		if s.connected != 0 {
			x.violated("twice", "an attempt during a connection")
		}
		s.hubTried, s.hubDue, s.hubLost, s.hubClock = hub, 0, false, s.wrongClock
		if x.around(s).hubs[hub-1] == silent {
			s.hubDue = silence
		}
	case CancelConnect:
		s.hubDue, s.hubLost, s.hubTried, s.hubClock = never, false, 0, false
	case RenewCertificate:
		x.askHubToRenew(s)
	case CancelRenewal:
		s.renewing.due = never
	case EndSession:
		s.connected, s.stable, s.stableIn = 0, false, never
	case Register:
		s.asking = registration
		if a.Operation != "" {
			s.asking = polling
		}
		x.checkRegistration(s, a)
		x.ask(s, x.around(s).register)
	case Lookup:
		s.asking = looking
		x.ask(s, x.around(s).lookup)
	case CheckClock:
		s.asking = clockQuestion
		x.ask(s, x.around(s).lookup)
	case CancelDPS:
		s.asking, s.dpsDue, s.dpsLost, s.dpsClock = nothing, never, false, false
	case Remember:
		if x.world.store == storeWorks {
			s.stored = [2]byte{hubNumber(a.Confirmed.Hub), hubNumber(a.Candidate.Hub)}
		}
	}
}

func (x *exploration) ask(s *situation, w way) {
	if s.notBefore[2] > 0 {
		x.violated("early", "dps asked %v early", s.notBefore[2])
	}
	if d := &s.state.DPS; s.connected != 0 && !d.Manual && !d.Reason.evenConnected() {
		x.violated("connected", "dps asked while the hub accepts")
	}
	if s.dpsDue != never {
		x.violated("twice", "two requests to dps at once")
	}
	s.dpsDue, s.dpsLost, s.dpsClock = 0, false, s.wrongClock
	if w == silent {
		s.dpsDue = silence
	}
}

// hubAnswered is the situation after an answer of the hub.
func (x *exploration) hubAnswered(
	s *situation, in time.Duration, a *answer, random Random,
) situation {
	c := s.later(in)
	hub := c.hubTried
	c.hubDue, c.hubLost, c.hubTried, c.hubClock = never, false, 0, false
	if _, ok := a.event.(Connected); ok && x.lockedOut(&c) {
		rejects := x.around(s).rejects()
		a = &rejects
	}
	if _, ok := a.event.(Connected); ok {
		c.connected, c.stableIn = hub, lasting
		c.accepted[hub-1] = true
		c.mustKeep = hub
		if x.around(&c).hubs[hub-1] != fine {
			c.stableIn = never // it is lost before
		}
	} else {
		x.failed(&c, hub, a)
	}
	x.happen(&c, in, a.event, random)
	if f, ok := a.event.(HubFailure); ok {
		x.checkRejection(s, &c, hub, f)
		x.checkClockFault(s, &c)
	}
	return c
}

// failed notes what a hub asked for.
func (x *exploration) failed(s *situation, hub byte, a *answer) {
	f, ok := a.event.(HubFailure)
	if !ok {
		f = a.event.(Lost).HubFailure
	}
	s.notBefore[hub-1] = a.asked
	s.mends[hub-1] = f.Class == retry.Rejected || f.Class == retry.Untrusted
}

// dpsAnswered is the situation after an answer of DPS.
func (x *exploration) dpsAnswered(
	s *situation, in time.Duration, a *answer, random Random,
) situation {
	c := s.later(in)
	if !a.progress {
		c.asking, c.dpsDue, c.dpsLost, c.dpsClock = nothing, never, false, false
	} else {
		c.asking, c.dpsDue = polling, pollDistance
	}
	if a.asked > 0 {
		c.notBefore[2] = a.asked
	}
	e := a.event
	issued := x.issues(s, &c, e)
	if a.told && c.wrongClock {
		c.wrongClock = false
		if c.renewing.certified && !issued {
			x.apply(&c, in, x.installed(&c), random)
		}
		for hub, mends := range c.mends {
			if mends {
				c.notBefore[hub] = 0 // once more, with a fresh token
			}
		}
	}
	if a.moves {
		c.accepted = [2]bool{}
	}
	if assigned, ok := e.(Assigned); ok {
		assigned.Stable, assigned.Issued = c.stable, issued
		assigned.Assignment = x.hint(assigned.Assignment)
		e = assigned
		if c.stable {
			c.urgent = false
		}
	}
	x.happen(&c, in, e, random)
	x.noticeRenewal(s, &c, e)
	if issued {
		x.happen(&c, 0, x.installed(&c), random)
	}
	return c
}

// dropped is the situation after the end of the connection.
func (x *exploration) dropped(s *situation, a answer, random Random) situation {
	c := *s
	hub := c.connected
	c.connected, c.stableIn, c.stable = 0, never, false
	c.renewing.away, c.renewing.easy = x.grace(), false
	if s.stable {
		c.urgent = false
	}
	if e, ok := a.event.(Lost); ok {
		e.Stable = s.stable
		a.event = e
		x.failed(&c, hub, &a)
	}
	x.happen(&c, 0, a.event, random)
	if e, ok := a.event.(Lost); ok {
		x.checkRejection(s, &c, hub, e.HubFailure)
	}
	return c
}

// A restart is one way for a process to end, and another to begin.
type restart struct {
	asleep time.Duration
	power  bool // what the device was told to wait for is lost
}

func (r restart) String() string {
	if r.power {
		return fmt.Sprintf("power off for %v", r.asleep)
	}
	return fmt.Sprintf("killed, started %v later", r.asleep)
}

// restarted is the situation after a restart.
func (x *exploration) restarted(
	s *situation, in time.Duration, r restart, random Random,
) situation {
	c := s.later(in + r.asleep)
	waits := s.state.Waits(epoch.Add(in))
	boot := Boot{Next: retry.Wait, WaitsUnknown: r.power}
	if r.power {
		waits = waits.Lasting()
		c.notBefore = [3]time.Duration{}
	}
	boot.Waits = waits.After(r.asleep)
	switch x.world.store {
	case storeIsBlind:
		boot.Next = retry.Lookup
		c.mustKeep = 0
	default:
		boot.Confirmed = x.hint(assignmentOf(c.stored[0]))
		boot.Candidate = x.hint(assignmentOf(c.stored[1]))
		if c.stored == [2]byte{} {
			boot.Next = retry.Register
		}
	}
	c.state = State{Settings: x.settings}
	c.hubDue, c.dpsDue, c.stableIn = never, never, never
	c.hubTried, c.hubClock, c.hubLost = 0, false, false
	c.asking, c.dpsClock, c.dpsLost = nothing, false, false
	c.connected, c.stable = 0, false
	c.wrongClock = x.around(&c).clock != clockRight
	if c.renewing.certified {
		x.restartsCertified(&c, in+r.asleep, r, boot, random)
		return c
	}
	x.happen(&c, in+r.asleep, boot, random)
	return c
}

// hint is an assignment as DPS says it where it says Stagger too.
func (x *exploration) hint(a Assignment) Assignment {
	if x.world.hinted && a.Known() {
		a.Stagger = x.world.stagger
	}
	return a
}

func (x *exploration) around(s *situation) *surroundings { return &x.world.phases[s.phase] }
