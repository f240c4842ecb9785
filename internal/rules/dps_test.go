// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func TestAFailedRequestToDPSIsRepeatedAfterFiveSecondsAndAWindowThatDoublesUpToAnHour(
	t *testing.T,
) {
	seconds := []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600}
	for _, e := range []DPSFailed{
		{Failure: DPSUnavailable}, {Failure: DPSUnavailable, Silent: true},
		{Failure: DPSOperationUnknown},
	} {
		for failures, width := range seconds {
			drawn(t, 5*time.Second, (5+width)*time.Second, func(r Random) time.Duration {
				s := fresh(t)
				for range failures {
					s.feed(e)
					require.Equal(t, "Register", s.waitDPS(), "the same step")
					require.Equal(t, []Action{Register{Reason: ReasonBoot}}, s.actions)
				}
				require.Empty(t, s.draws(r).feed(e))
				require.Equal(t, e.Silent, s.state.DPS.Silent)
				return s.dpsIn()
			})
		}
	}
}

func TestWhatDPSAsksForIsTheFloorOfTheNextRequest(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for name, c := range map[string]struct {
		failure DPSFailure
		asked   time.Duration
		lo, hi  time.Duration
	}{
		"throttled":                       {DPSThrottled, m, m, m + 30*s},
		"throttled for a moment":          {DPSThrottled, s, s, 31 * s},
		"throttled until the year 9999":   {DPSThrottled, 70_000 * h, 24 * h, 24*h + 30*s},
		"unavailable":                     {DPSUnavailable, m, m, m + 5*s},
		"unavailable for a moment":        {DPSUnavailable, s, 5 * s, 10 * s},
		"unavailable until the year 9999": {DPSUnavailable, 70_000 * h, 24 * h, 24*h + 5*s},
		"refused for longer":              {DPSRefused, 3 * h, 3 * h, 3 * h},
	} {
		t.Run(name, func(t *testing.T) {
			drawn(t, c.lo, c.hi, func(r Random) time.Duration {
				s := fresh(t).draws(r)
				s.feed(DPSFailed{Failure: c.failure, RetryAfter: c.asked})
				require.Equal(t, min(c.asked, 24*h), s.state.DPS.NotBefore.Sub(s.now))
				return s.dpsIn()
			})
		})
	}
}

func TestTheHubIsUntouchedByWhatDPSAnswers(t *testing.T) {
	s := warm(t)
	s.rejected()
	hub, kept := s.state.Hub, s.state.Hubs
	for _, failure := range []DPSFailure{DPSUnavailable, DPSThrottled, DPSRefused} {
		s.state.DPS.Phase = UnderWay
		s.feed(DPSFailed{Failure: failure, RetryAfter: time.Hour})
		require.Equal(t, hub, s.state.Hub)
		require.Equal(t, kept, s.state.Hubs)
	}
}

func TestAThrottledPollPollsTheSameOperationUntilDPSDoesNotKnowIt(t *testing.T) {
	s := fresh(t)
	s.feed(Progress{Operation: "op-1", RetryAfter: 3 * time.Second})
	s.feed(DPSFailed{Failure: DPSThrottled, RetryAfter: time.Minute, Operation: "op-1"})
	s.waitDPS()
	require.Equal(t, []Action{Register{Operation: "op-1", Reason: ReasonBoot}}, s.actions)
	s.feed(DPSFailed{Failure: DPSUnavailable, Operation: "op-1"})
	s.waitDPS()
	require.Equal(t, []Action{Register{Operation: "op-1", Reason: ReasonBoot}}, s.actions)
	s.feed(DPSFailed{Failure: DPSOperationUnknown})
	s.waitDPS()
	require.Equal(t, []Action{Register{Reason: ReasonBoot}}, s.actions)
	s.feed(DPSFailed{Failure: DPSThrottled, Operation: "op-2"})
	s.state.DPS.Phase = UnderWay
	s.feed(DPSFailed{Failure: DPSRefused, Operation: "op-2"})
	s.waitDPS()
	require.Equal(t, []Action{Register{Reason: ReasonBoot}}, s.actions, "nor one it has refused")
}

func TestAnOperationIsNotPolledForAnotherRequest(t *testing.T) {
	s := fresh(t)
	s.feed(DPSFailed{Failure: DPSThrottled, RetryAfter: time.Second, Operation: "op-1"})
	s.now = s.now.Add(time.Minute)
	s.fire()
	s.feed(DPSFailed{Failure: DPSThrottled, RetryAfter: time.Second, Operation: "op-1"})
	s.now = s.now.Add(6 * time.Second)
	s.feed(Reprovision{})
	require.Equal(t, []Action{Register{Reason: ReasonBoot}}, s.actions)

	s = inOutage(t, 2)
	s.waitDPS()
	s.feed(DPSFailed{Failure: DPSThrottled, Operation: "op-2"})
	s.waitHub()
	require.Equal(t, []string{"Register"}, s.rejected())
	require.Equal(t, []Action{Register{Operation: "op-2", Reason: ReasonRejected}}, s.actions,
		"but for another registration it is")

	s = inOutage(t, 2)
	s.waitDPS()
	s.feed(DPSFailed{Failure: DPSThrottled, Operation: "op-2"})
	s.waitHub()
	s.feed(HubFailure{Class: retry.Untrusted, Dates: true})
	require.Empty(t, s.state.DPS.Operation, "and for a look at the clock it is not")
}

func TestWhatProgressAsksForHoldsForWhoeverAsksNext(t *testing.T) {
	s := fresh(t)
	require.Empty(t, s.feed(Progress{Operation: "op-1", RetryAfter: 100 * time.Hour}))
	require.Equal(t, UnderWay, s.state.DPS.Phase)
	require.Equal(t, "op-1", s.state.DPS.Operation)
	require.Equal(t, 24*time.Hour, s.state.DPS.NotBefore.Sub(s.now))
	s.feed(Progress{Operation: "op-1", RetryAfter: 3 * time.Second})
	require.Empty(t, s.feed(Resume{}))
	require.Equal(t, 3*time.Second, s.dpsIn())

	s.waitDPS()
	s.feed(Progress{Operation: "op-1", RetryAfter: time.Hour})
	s.feed(DPSFailed{Failure: DPSUnavailable, Operation: "op-1"})
	require.Equal(t, time.Hour, s.dpsIn(), "whatever the next response is")

	at := s.state.DPS
	s.feed(Progress{Operation: "op-0", RetryAfter: time.Hour})
	require.Equal(t, at, s.state.DPS, "one that comes late is about nothing")
}

func TestTheFirstAssignmentIsTriedAtOnce(t *testing.T) {
	s := fresh(t)
	require.Equal(t, []string{"Announce", "Remember", "Connect"}, s.assigned("a"))
	require.Equal(t, []Action{
		Announce{Assignment: assignedTo("a"), Moved: true},
		Remember{Candidate: assignedTo("a")},
		Connect{Target: assignedTo("a")},
	}, s.actions)
	s.asksNothing()
	require.Zero(t, s.state.Hubs[1], "there is no old hub")
	require.Equal(t, []string{"Remember"}, s.feed(Connected{}))
}

func TestTheSameAssignmentAfterARejectionIsTriedSoonAndNotAtOnce(t *testing.T) {
	drawn(t, 5*time.Second, 10*time.Second, func(r Random) time.Duration {
		s := warm(t)
		for range 8 {
			s.fails(retry.Server)
			s.waitHub()
		}
		s.rejected()
		require.Equal(t, []string{"Announce", "Remember"}, s.draws(r).assigned("a"))
		require.False(t, s.actions[0].(Announce).Moved)
		require.Zero(t, s.state.Failures(), "its delays begin anew")
		return s.hubIn()
	})
	s := warm(t)
	s.feed(HubFailure{Class: retry.Rejected, RetryAfter: 10 * time.Minute})
	s.assigned("a")
	require.Equal(t, 10*time.Minute, s.hubIn(), "nor before the hub allows it")
}

func TestTheSameAssignmentForAnotherReasonLeavesTheHubsDelaysAlone(t *testing.T) {
	s := warm(t)
	for range 8 {
		s.fails(retry.Server)
		s.waitHub()
	}
	s.fails(retry.Server)
	at := s.state.Hub.At
	s.feed(Reprovision{})
	require.Equal(t, []string{"Announce", "Remember", "ReplyAssigned"}, s.assigned("a"))
	require.Equal(t, at, s.state.Hub.At)
	require.Equal(t, 9, s.state.Failures())
}

func TestDPSsResponseEndsItsFailures(t *testing.T) {
	s := fresh(t)
	for range 5 {
		s.feed(DPSFailed{Failure: DPSRefused})
		s.waitDPS()
	}
	s.assigned("a")
	require.Zero(t, s.state.DPS.Failures)
	require.Zero(t, s.state.Refusals)
	require.Zero(t, s.state.DPS.NotBefore)
}

func TestARefusedDeviceThatWasNeverAssignedAsksSoonFirst(t *testing.T) {
	for _, failure := range []DPSFailure{DPSRefused, DPSNotAssigned} {
		for i, minutes := range []time.Duration{1, 5, 15, 60, 60} {
			gap := minutes * time.Minute
			drawn(t, gap*8/10, gap*12/10, func(r Random) time.Duration {
				s := fresh(t)
				for range i {
					s.feed(DPSFailed{Failure: failure})
					require.Equal(t, "Register", s.waitDPS())
				}
				s.draws(r).feed(DPSFailed{Failure: failure})
				return s.dpsIn()
			})
		}
	}
}

func TestARefusedDeviceThatIsAssignedAsksAfterAnHour(t *testing.T) {
	drawn(t, 48*time.Minute, 72*time.Minute, func(r Random) time.Duration {
		s := warm(t)
		s.rejected()
		s.draws(r).feed(DPSFailed{Failure: DPSRefused})
		return s.dpsIn()
	})
}

func TestALookupThatTellsOfARefusalIsFollowedByARegistration(t *testing.T) {
	s := newScript(t, Boot{Next: retry.Lookup})
	s.feed(DPSFailed{Failure: DPSNotAssigned})
	require.Equal(t, time.Minute, s.dpsIn())
	require.Equal(t, "Register", s.waitDPS())

	s = newScript(t, Boot{Next: retry.Lookup})
	s.feed(DPSFailed{Failure: DPSRefused})
	require.Equal(t, "Lookup", s.waitDPS(), "one that is refused itself is repeated")
}

func TestALookupThatFindsNothingIsFollowedByARegistrationAtOnce(t *testing.T) {
	s := newScript(t, Boot{Next: retry.Lookup}).staggered(time.Hour)
	s.feed(DPSFailed{Failure: DPSUnavailable})
	s.waitDPS()
	require.Equal(t, []string{"Register"}, s.feed(NotRegistered{}))
	require.Equal(t, []Action{Register{Reason: ReasonUnregistered}}, s.actions)
	require.Zero(t, s.state.DPS.Failures)
}

func TestLookupsThatNobodyAnswersGiveWayToARegistrationOverAnotherPort(t *testing.T) {
	s := newScript(t, Boot{Next: retry.Lookup})
	s.state.Settings.LookupElsewhere = true
	for range 2 {
		s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
		require.Equal(t, "Lookup", s.waitDPS())
	}
	s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
	require.Equal(t, "Register", s.waitDPS())
	require.Equal(t, []Action{Register{Reason: ReasonStore}}, s.actions)

	s = newScript(t, Boot{Next: retry.Lookup})
	for range 20 {
		s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
		require.Equal(t, "Lookup", s.waitDPS(), "over the same port it would fare no better")
	}
}

func TestLookupsThatDPSFailsEightTimesGiveWayToARegistration(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		s := newScript(t, Boot{Next: retry.Lookup})
		s.state.Settings.LookupElsewhere = elsewhere
		for range 7 {
			s.feed(DPSFailed{Failure: DPSUnavailable})
			require.Equal(t, "Lookup", s.waitDPS())
		}
		s.feed(DPSFailed{Failure: DPSUnavailable})
		require.Equal(t, "Register", s.waitDPS())
	}
	s := newScript(t, Boot{Next: retry.Lookup})
	for range 20 {
		s.feed(DPSFailed{Failure: DPSThrottled})
		require.Equal(t, "Lookup", s.waitDPS(), "a DPS that throttles is well")
	}
}
