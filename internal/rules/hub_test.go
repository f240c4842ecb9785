// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func TestAFailedHubIsTriedAgainAfterFiveSecondsAndAWindowThatDoublesUpToFiveMinutes(t *testing.T) {
	seconds := []time.Duration{5, 10, 20, 40, 80, 160, 300, 300, 300}
	for _, class := range []retry.Class{retry.Server, retry.Unreachable} {
		for failures, width := range seconds {
			drawn(t, 5*time.Second, (5+width)*time.Second, func(r Random) time.Duration {
				s := warm(t)
				for range failures {
					s.fails(class)
					s.waitHub()
				}
				require.Empty(t, s.draws(r).fails(class))
				require.Equal(t, failures+1, s.state.Failures())
				require.Equal(t, class, s.state.Class())
				return s.hubIn()
			})
		}
	}
}

func TestWhatAHubAsksForIsTheFloorOfTheNextTry(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for name, c := range map[string]struct {
		class  retry.Class
		asked  time.Duration
		lo, hi time.Duration
	}{
		"throttled":                      {retry.Throttled, 10 * s, 10 * s, 15 * s},
		"throttled for a moment":         {retry.Throttled, s, s, 6 * s},
		"throttled, nothing asked":       {retry.Throttled, 0, 5 * s, 10 * s},
		"throttled until the year 9999":  {retry.Throttled, 70_000 * h, 24 * h, 24*h + 5*s},
		"server, nothing asked":          {retry.Server, 0, 5 * s, 10 * s},
		"server, for a moment":           {retry.Server, s, 5 * s, 10 * s},
		"server, for a minute":           {retry.Server, m, m, m + 5*s},
		"server, until the year 9999":    {retry.Server, 70_000 * h, 24 * h, 24*h + 5*s},
		"untrusted":                      {retry.Untrusted, 0, m, m + 5*s},
		"untrusted, for a moment":        {retry.Untrusted, s, m, m + 5*s},
		"untrusted, for an hour":         {retry.Untrusted, h, h, h + 5*s},
		"untrusted, until the year 9999": {retry.Untrusted, 70_000 * h, 24 * h, 24*h + 5*s},
	} {
		t.Run(name, func(t *testing.T) {
			drawn(t, c.lo, c.hi, func(r Random) time.Duration {
				s := warm(t).draws(r)
				s.feed(HubFailure{Class: c.class, RetryAfter: c.asked})
				floor := s.state.NotBefore("a").Sub(s.now)
				if c.class != retry.Throttled || c.asked > 0 {
					require.Equal(t, c.lo, floor, "whatever it is tried for")
				}
				return s.hubIn()
			})
		})
	}
}

func TestAPolicyOfTheProgramReplacesTheHubsDelays(t *testing.T) {
	settings := Defaults()
	settings.Hub.MinDelay = 2 * time.Minute
	boot := Boot{Next: retry.Wait, Confirmed: assignedTo("a")}
	for _, class := range []retry.Class{retry.Server, retry.Untrusted} {
		drawn(t, 2*time.Minute, 4*time.Minute, func(r Random) time.Duration {
			s := newScriptWith(t, settings, boot, r)
			s.fails(class)
			require.Equal(t, 2*time.Minute, s.state.NotBefore("a").Sub(s.now))
			return s.hubIn()
		})
	}
}

func TestTheHubIsTriedAtItsTimeAndNotBefore(t *testing.T) {
	s := warm(t)
	s.fails(retry.Server)
	require.Equal(t, 7500*time.Millisecond, s.hubIn())
	at, ok := s.state.Wake()
	require.True(t, ok)
	require.Equal(t, s.state.Hub.At, at)
	require.Empty(t, s.pass(7499*time.Millisecond))
	require.Equal(t, []string{"Connect"}, s.pass(time.Millisecond))
	require.Equal(t, []Action{Connect{Target: assignedTo("a")}}, s.actions)
	require.Empty(t, s.pass(time.Second), "one attempt at a time")
}

func TestApplyStartsNothing(t *testing.T) {
	s := warm(t)
	state, actions := Apply(s.state, HubFailure{Class: retry.Rejected}, s.now, s.random)
	require.Empty(t, actions)
	require.Equal(t, Waiting, state.DPS.Phase)
	require.Equal(t, s.now, state.DPS.At)
	state, actions = Fire(state, s.now, s.random)
	require.Equal(t, []Action{Register{Reason: ReasonRejected}}, actions)
	require.Equal(t, UnderWay, state.DPS.Phase)
}

func TestWakeIsTheEarlierOfTheTwoTimers(t *testing.T) {
	s := warm(t)
	_, ok := s.state.Wake()
	require.False(t, ok, "an attempt is under way and nothing is planned")
	s.fails(retry.Server)
	at, ok := s.state.Wake()
	require.True(t, ok)
	require.Equal(t, s.state.Hub.At, at)
	require.True(t, at.Before(s.state.DPS.At))

	s.waitHub()
	at, ok = s.state.Wake()
	require.True(t, ok, "a question is planned while the attempt is under way")
	require.Equal(t, s.state.DPS.At, at)

	s.throttled(2 * time.Hour)
	s.state.DPS.At = s.now.Add(time.Minute)
	at, _ = s.state.Wake()
	require.Equal(t, s.state.DPS.At, at)

	s.waitHub()
	s.feed(Connected{})
	_, ok = s.state.Wake()
	require.False(t, ok, "what is planned is held while connected")
}

func TestALostConnectionIsTheHubsFirstFailureOnceItWasStable(t *testing.T) {
	failures := func(e Event) time.Duration {
		s := warm(t).draws(highest)
		for range 5 {
			s.fails(retry.Server)
			s.waitHub()
		}
		s.feed(Connected{})
		require.Equal(t, 5, s.state.Failures(), "a connection alone forgets nothing")
		s.feed(e)
		return s.hubIn().Round(time.Millisecond)
	}
	unreachable := HubFailure{Class: retry.Unreachable}
	require.Equal(t, 165*time.Second, failures(Lost{HubFailure: unreachable}))
	require.Equal(t, 10*time.Second, failures(Lost{HubFailure: unreachable, Stable: true}))
}

func TestAStableConnectionForgetsEveryCount(t *testing.T) {
	for name, end := range map[string]Event{
		"stable": Stable{},
		"lost":   Lost{HubFailure: HubFailure{Class: retry.Unreachable}, Stable: true},
		"closed": Closed{Stable: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := warm(t)
			for range 3 {
				s.fails(retry.Server)
				s.waitDPS()
				s.feed(DPSFailed{Failure: DPSUnavailable})
				s.waitDPS()
				s.assigned("a")
				s.waitHub()
			}
			s.state.Urgent, s.state.Refusals, s.state.DPS.Failures = true, 2, 3
			s.state.Clock = Clock{ToldAt: s.now}
			require.Equal(t, 3, s.state.Outage.Asked)
			s.feed(Connected{})
			require.Equal(t, 3, s.state.Outage.Asked, "not yet")
			require.Equal(t, 3, s.state.Kept(assignedTo("a")).Failures)
			s.feed(end)
			require.False(t, s.state.Urgent)
			require.Zero(t, s.state.Refusals)
			require.Zero(t, s.state.Clock)
			require.Zero(t, s.state.DPS.Failures)
			require.Zero(t, s.state.Outage.Asked)
			r := s.state.Kept(assignedTo("a"))
			require.True(t, r.Accepted)
			require.Zero(t, r.Gap)
			if name == "lost" {
				require.Equal(t, 1, r.Failures)
				require.Equal(t, s.now, s.state.Outage.Since)
				return
			}
			require.Zero(t, r.Failures)
			require.Zero(t, s.state.Outage)
			s.asksNothing()
		})
	}
}

func TestADeviceThatHasTriedNoHubHasNoneToForgetAbout(t *testing.T) {
	s := fresh(t)
	s.feed(Closed{Stable: true})
	require.Zero(t, s.state.Hubs)
}

func TestASessionThatTheProgramClosesIsFollowedByTheNextAtOnce(t *testing.T) {
	s := warm(t)
	s.fails(retry.Server)
	s.waitHub()
	s.feed(Connected{})
	s.now = s.now.Add(time.Second)
	require.Equal(t, []string{"Connect"}, s.feed(Closed{}))
	require.False(t, s.state.Outage.Since.IsZero(), "nothing was acknowledged: the outage goes on")
	require.Equal(t, 1, s.state.Failures())
	require.Equal(t, Waiting, s.state.DPS.Phase)
	s.feed(Connected{})
	require.Equal(t, []string{"Connect"}, s.feed(Closed{Stable: true}))
	require.Zero(t, s.state.Outage, "however short it was")
	s.asksNothing()
}

func TestAnAssignmentDuringTheAttemptDelaysNoneAfterTheConnection(t *testing.T) {
	s := warm(t)
	s.rejected()
	s.waitHub()
	s.assigned("a")
	require.True(t, s.state.Kept(assignedTo("a")).At.After(s.now))
	s.feed(Connected{})
	require.Equal(t, []string{"Connect"}, s.feed(Closed{}))
}

func TestAConnectionConfirmsTheCandidateAndNothingElse(t *testing.T) {
	s := moved(t)
	require.Equal(t, []string{"Remember"}, s.feed(Connected{}))
	require.Equal(t, []Action{Remember{Confirmed: assignedTo("b")}}, s.actions)
	require.Equal(t, assignedTo("b"), s.state.Confirmed)
	require.False(t, s.state.Candidate.Known())
	require.Equal(t, Confirmed, s.state.Hub.Tried.Slot)
	s.fails(retry.Unreachable)
	s.waitHub()
	require.Empty(t, s.feed(Connected{}), "nothing is written in steady state")

	s = moved(t)
	s.throttled(time.Hour)
	require.Equal(t, "a", s.waitHub())
	require.Empty(t, s.feed(Connected{}))
	require.Equal(t, assignedTo("a"), s.state.Confirmed, "the connection was to the old one")
	require.Equal(t, assignedTo("b"), s.state.Candidate)
}

func TestInUseIsTheHubOfTheConnectionOrTheAttempt(t *testing.T) {
	s := moved(t)
	require.Equal(t, "b", s.state.InUse().Hub)
	s.throttled(time.Hour)
	require.Equal(t, "a", s.state.InUse().Hub)
	require.Zero(t, s.state.Failures())
	s.fails(retry.Server)
	require.Equal(t, "b", s.state.InUse().Hub, "between attempts: where the device belongs")
	require.Equal(t, retry.Throttled, s.state.Class())
	require.Equal(t, 1, s.state.Failures())
	s.waitHub()
	require.Equal(t, "a", s.state.InUse().Hub)
	require.Equal(t, retry.Server, s.state.Class())
	s.feed(Connected{})
	require.Equal(t, "a", s.state.InUse().Hub)
	require.Equal(t, 1, s.state.Failures())
}

func TestHostsAreComparedAsDNSDoes(t *testing.T) {
	a := Assignment{Hub: "A.Example.net", DeviceID: "x"}
	require.True(t, a.SameAs(Assignment{Hub: "a.example.NET", DeviceID: "x"}))
	require.False(t, a.SameAs(Assignment{Hub: "a.example.net", DeviceID: "X"}))
	require.False(t, a.SameAs(Assignment{Hub: "b.example.net", DeviceID: "x"}))
	require.False(t, Assignment{}.SameAs(Assignment{}), "none is not where the device belongs")

	s := warm(t)
	s.throttled(time.Hour)
	require.Equal(t, s.now.Add(time.Hour), s.state.NotBefore("A"))
	require.Zero(t, s.state.NotBefore("b"))
	require.Equal(t, 1, s.state.Kept(Assignment{Hub: "A", DeviceID: "sensor-042"}).Failures)
	require.Zero(t, s.state.Kept(Assignment{Hub: "A", DeviceID: "other"}).Failures)
}
