// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// roots are the situations before the first start of the device.
func (x *exploration) roots() (all []situation) {
	for phase := range x.world.phases {
		blank := blankSituation()
		blank.losses, blank.phase, blank.state.Settings = x.world.losses, byte(phase), x.settings
		if x.world.certificates > 0 {
			all = append(all, x.certifiedRoots(blank)...)
			continue
		}
		all = append(all, blank)
		if x.world.store == storeIsBlind {
			continue
		}
		known := blank
		known.stored, known.mustKeep = [2]byte{1, 0}, 1
		all = append(all, known)
		if around := x.world.phases[phase]; around.home == 2 && around.clock == clockRight {
			moving := blank
			moving.stored, moving.mustKeep = [2]byte{1, 2}, 1
			all = append(all, moving)
		}
	}
	return all
}

func blankSituation() situation {
	return situation{
		hubDue: never, dpsDue: never, stableIn: never, life: never, renewing: renewing{due: never},
	}
}

// restart starts the device.
func (x *exploration) restart(s *situation) {
	eachDraw(func(random Random) {
		c := x.restarted(s, 0, restart{}, random)
		x.lead(&c, 0, false, "start")
	})
}

// continues explores what happens by itself.
func (x *exploration) continues(s *situation) {
	if s.connected != 0 && x.around(s).hubs[s.connected-1] != fine {
		for _, a := range x.ends(s) {
			eachDraw(func(random Random) {
				c := x.dropped(s, a, random)
				x.lead(&c, 0, true, a.event)
			})
		}
		return
	}
	in, first := s.next()
	for _, o := range first {
		switch o {
		case timerDue:
			eachDraw(func(random Random) {
				c := s.later(in)
				x.happen(&c, in, nil, random)
				x.lead(&c, in, true, "timer")
			})
		case hubAnswers:
			x.eachHubAnswer(s, in)
		case dpsAnswers:
			x.eachDPSAnswer(s, in)
		case hubRenews:
			x.eachRenewal(s, in)
		case becomesStable:
			c := s.later(in)
			c.stable, c.stableIn, c.urgent = true, never, false
			x.happen(&c, in, Stable{}, constant(0))
			x.lead(&c, in, true, "stable")
		case lifeEnds:
			for _, random := range [...]Random{constant(0), constant(highest)} {
				c := x.restarted(s, in, restart{asleep: sleeperAsleep}, random)
				c.life = sleeperAwake
				x.lead(&c, in+sleeperAsleep, true, "sleep")
			}
		}
	}
}

// A sleeper is a process that lives so long, and then sleeps.
const (
	sleeperAwake  = 2 * time.Minute
	sleeperAsleep = 10 * time.Minute
)

func (x *exploration) eachHubAnswer(s *situation, in time.Duration) {
	answers := x.around(s).hubAnswers(s.hubTried, s.hubClock)
	if s.hubLost {
		answers = []answer{{event: HubFailure{}, asked: HubFloor}}
	}
	for i := range answers {
		eachDraw(func(random Random) {
			c := x.hubAnswered(s, in, &answers[i], random)
			x.lead(&c, in, true, answers[i].event)
		})
	}
}

func (x *exploration) eachDPSAnswer(s *situation, in time.Duration) {
	answers := x.around(s).dpsAnswers(s.asking, s.dpsClock, x.world.tokens, !x.world.mqtt)
	if s.dpsLost {
		answers = []answer{{event: ClockAnswered{}}}
		if s.asking != clockQuestion {
			e := DPSFailed{Silent: true}
			if s.asking == polling {
				e.Operation = exploredOperation
			}
			answers[0].event = e
		}
	}
	for i := range answers {
		eachDraw(func(random Random) {
			c := x.dpsAnswered(s, in, &answers[i], random)
			x.lead(&c, in, true, answers[i].event)
		})
	}
}

// ends are the ways in which a hub ends a connection.
func (x *exploration) ends(s *situation) []answer {
	around := x.around(s)
	lost := answer{event: Lost{}, asked: HubFloor}
	as := func(c retry.Class, asked time.Duration) answer {
		f := HubFailure{Class: c}
		if c == retry.Throttled {
			f.RetryAfter = asked
		}
		return answer{event: Lost{HubFailure: f}, asked: min(asked, retry.LongestHonoured)}
	}
	switch around.hubs[s.connected-1] {
	case broken:
		return []answer{as(retry.Server, HubFloor)}
	case throttling:
		return []answer{as(retry.Throttled, around.hubRetryAfter)}
	case rejecting, fickle:
		return []answer{lost, as(retry.Rejected, HubFloor)}
	}
	return []answer{lost}
}

// disturbed explores what others may do to the device and the world.
func (x *exploration) disturbed(s *situation) {
	if s.life != never {
		return
	}
	last := byte(len(x.world.phases) - 1)
	if s.phase != last {
		c := *s
		c.phase = last
		x.changed(&c)
	}
	for _, r := range x.world.restarts {
		for _, random := range [...]Random{constant(0), constant(highest)} {
			c := x.restarted(s, 0, r, random)
			x.lead(&c, 0, false, r)
		}
	}
	if s.stable && x.around(s).hubs[s.connected-1] == fine {
		for _, a := range [...]answer{
			{event: Lost{}, asked: HubFloor}, {event: Closed{Stable: s.stable}},
		} {
			for _, random := range [...]Random{constant(0), constant(highest)} {
				c := x.dropped(s, a, random)
				x.lead(&c, 0, false, a.event)
			}
		}
	}
	if x.world.sleeper && s.phase == last {
		for _, random := range [...]Random{constant(0), constant(highest)} {
			c := x.restarted(s, 0, restart{asleep: sleeperAsleep}, random)
			c.life = sleeperAwake
			x.lead(&c, 0, false, "sleeper")
		}
	}
	if x.world.nudges && !s.state.Connected {
		for _, random := range [...]Random{constant(0), constant(highest)} {
			c := *s
			x.happen(&c, 0, Nudge{}, random)
			x.lead(&c, 0, false, Nudge{})
		}
	}
	x.loseAnswers(s)
}

// changed is a new phase: what is under way now ends as the new surroundings say.
func (x *exploration) changed(c *situation) {
	x.form.normalize(&c.state, epoch)
	x.lead(c, 0, false, "change")
}

// loseAnswers: what is under way is never answered, or DPS has forgotten what it had taken up.
func (x *exploration) loseAnswers(s *situation) {
	if s.losses == 0 {
		return
	}
	less := *s
	less.losses--
	if s.hubDue != never && !s.hubLost {
		c := less
		c.hubDue, c.hubLost = roundUp(silence, x.grid), true
		x.changed(&c)
	}
	if s.dpsDue == never || s.dpsLost {
		return
	}
	c := less
	c.dpsDue, c.dpsLost = roundUp(silence, x.grid), true
	x.changed(&c)
	if s.asking == polling {
		a := answer{event: DPSFailed{Failure: DPSOperationUnknown}}
		eachDraw(func(random Random) {
			c := x.dpsAnswered(&less, s.dpsDue, &a, random)
			x.lead(&c, s.dpsDue, false, a.event)
		})
	}
}
