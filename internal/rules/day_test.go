// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// day is what a device asks for in a day.
type day struct{ connects, registrations, lookups, clocks int }

// lives plays a day, in which each request is answered after a second.
func (s *script) lives(hub func(Connect) Event, dps func(Action) Event) (d day) {
	type reply struct {
		at time.Time
		e  Event
	}
	var fromHub, fromDPS *reply
	perform := func() {
		for _, a := range s.actions {
			r := &reply{at: s.now.Add(time.Second)}
			switch a := a.(type) {
			case Connect:
				d.connects++
				r.e, fromHub = hub(a), r
			case CancelConnect:
				fromHub = nil
			case Register:
				d.registrations++
				r.e, fromDPS = dps(a), r
			case Lookup:
				d.lookups++
				r.e, fromDPS = dps(a), r
			case CheckClock:
				d.clocks++
				r.e, fromDPS = ClockAnswered{Clock: ClockRight}, r
			case CancelDPS:
				fromDPS = nil
			}
		}
	}
	perform()
	for end := s.now.Add(24 * time.Hour); ; perform() {
		next, ok := s.state.Wake()
		for _, r := range []*reply{fromHub, fromDPS} {
			if r != nil && (!ok || r.at.Before(next)) {
				next, ok = r.at, true
			}
		}
		if !ok || next.After(end) {
			return d
		}
		s.now = later(s.now, next)
		switch r := fromHub; {
		case r != nil && !r.at.After(s.now):
			fromHub = nil
			s.feed(r.e)
		case fromDPS != nil && !fromDPS.at.After(s.now):
			r, fromDPS = fromDPS, nil
			s.feed(r.e)
		default:
			s.fire()
		}
	}
}

// sentBack is a DPS that names one hub for ever.
func sentBack(a Assignment) func(Action) Event {
	return func(Action) Event { return Assigned{Assignment: a} }
}

func failing(class retry.Class) func(Connect) Event {
	return func(Connect) Event { return HubFailure{Class: class} }
}

func TestADayOfPermanentRejectionCostsFewRequests(t *testing.T) {
	for seed := range uint64(10) {
		for name, s := range map[string]*script{
			"certificate": warm(t), "token": warm(t).withTokens(), "fresh": fresh(t),
			"Stagger": warm(t).staggered(time.Hour),
		} {
			s.draws(rand.New(rand.NewPCG(seed, 1)))
			d := s.lives(failing(retry.Rejected), sentBack(assignedTo("a")))
			require.LessOrEqual(t, d.connects, 80, "%s: %+v", name, d)
			require.LessOrEqual(t, d.registrations, 30, "%s: %+v", name, d)
			require.GreaterOrEqual(t, d.registrations, 12, "%s: %+v", name, d)
			require.Zero(t, d.lookups, name)
		}
	}
}

func TestADayAtAHubOfAnotherProtocolCostsARegistrationAnHour(t *testing.T) {
	for _, r := range []Random{lowest, middle, highest} {
		s := warm(t).draws(r)
		d := s.lives(failing(retry.Incompatible), sentBack(assignedTo("a")))
		require.LessOrEqual(t, d.registrations, 24, "%+v", d)
		require.LessOrEqual(t, d.connects, 30, "%+v", d)
		require.GreaterOrEqual(t, d.registrations, 19, "%+v", d)

		s = fresh(t).draws(r)
		d = s.lives(failing(retry.Incompatible), sentBack(incompatible("a")))
		require.Zero(t, d.connects)
		require.LessOrEqual(t, d.registrations, 25, "%+v", d)
	}
}

func TestADayOfRefusalsByDPSCostsARequestAnHour(t *testing.T) {
	for _, r := range []Random{lowest, middle, highest} {
		refuse := func(Action) Event { return DPSFailed{Failure: DPSRefused} }
		d := fresh(t).draws(r).lives(nil, refuse)
		require.LessOrEqual(t, d.registrations, 34)
		require.GreaterOrEqual(t, d.registrations, 20)
		d = warm(t).draws(r).lives(failing(retry.Rejected), refuse)
		require.LessOrEqual(t, d.registrations, 31)
		require.LessOrEqual(t, d.connects, 36, "%+v", d)
	}
}

func TestADayOfSilenceCostsFewQuestions(t *testing.T) {
	for _, class := range []retry.Class{retry.Server, retry.Unreachable, retry.Untrusted} {
		for _, r := range []Random{lowest, middle, highest} {
			d := warm(t).draws(r).lives(failing(class), sentBack(assignedTo("a")))
			require.Equal(t, 2, d.lookups, "%+v", d)
			require.LessOrEqual(t, d.registrations, 5, "%+v", d)
			require.GreaterOrEqual(t, d.registrations, 3, "%+v", d)
		}
	}
}

func TestADayAtAHubThatThrottlesCostsOneQuestion(t *testing.T) {
	for _, r := range []Random{lowest, middle, highest} {
		d := warm(t).draws(r).lives(func(Connect) Event {
			return HubFailure{Class: retry.Throttled, RetryAfter: 10 * time.Minute}
		}, sentBack(assignedTo("a")))
		require.LessOrEqual(t, d.connects, 145, "%+v", d)
		require.Zero(t, d.registrations)
		require.LessOrEqual(t, d.lookups, 1)
	}
}
