// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func TestARejectionOfATokenIsALookAtTheClockFirst(t *testing.T) {
	s := warm(t).withTokens()
	require.Equal(t, []string{"CheckClock"}, s.rejected())
	require.Equal(t, []Action{CheckClock{Reason: ReasonRejected}}, s.actions)
	require.Equal(t, []string{"Register"}, s.feed(ClockAnswered{Clock: ClockRight}))
	require.Equal(t, []Action{Register{Reason: ReasonRejected}}, s.actions)
	require.Equal(t, s.now, s.state.Clock.ToldAt)

	s = warm(t).withTokens()
	require.Equal(t, []string{"Register"}, s.fails(retry.Caller), "no other failure is one")
}

func TestStaggerSpreadsLooksAtTheClockOverTenMinutesAtMost(t *testing.T) {
	for stagger, window := range map[time.Duration]time.Duration{
		time.Hour: 10 * time.Minute, 11 * time.Minute: 10 * time.Minute, time.Minute: time.Minute,
	} {
		drawn(t, 0, window, func(r Random) time.Duration {
			s := warm(t).withTokens().staggered(stagger)
			state, _ := Apply(s.state, HubFailure{Class: retry.Rejected}, s.now, r)
			require.Equal(t, ClockForHub, state.DPS.Clock)
			return state.DPS.At.Sub(s.now)
		})
		drawn(t, 0, window, func(r Random) time.Duration {
			s := warm(t).staggered(stagger)
			e := HubFailure{Class: retry.Untrusted, Dates: true}
			state, _ := Apply(s.state, e, s.now, r)
			require.Equal(t, ClockForHub, state.DPS.Clock)
			return state.DPS.At.Sub(s.now)
		})
	}
}

func TestStaggerSpreadsTheRegistrationAfterALookAtTheClock(t *testing.T) {
	for _, verdict := range []ClockVerdict{ClockRight, ClockUnknown} {
		drawn(t, 0, time.Hour, func(r Random) time.Duration {
			s := warm(t).withTokens().staggered(time.Hour)
			s.rejected()
			s.waitDPS()
			for range 9 {
				if verdict == ClockUnknown {
					s.feed(ClockAnswered{})
					s.waitDPS()
				}
			}
			s.state.DPS.Failures = 3
			state, _ := Apply(s.state, ClockAnswered{Clock: verdict}, s.now, r)
			require.Equal(t, ClockForNone, state.DPS.Clock)
			require.Zero(t, state.DPS.Failures, "earlier ones were of other questions")
			return state.DPS.At.Sub(s.now)
		})
	}
}

func TestNothingShortensStaggerAfterALookAtTheClock(t *testing.T) {
	for name, shorten := range map[string]func(s *script){
		"nudge": func(s *script) { s.feed(Nudge{}) }, "restart": func(s *script) { s.restarts(0) },
	} {
		s := warm(t).withTokens().staggered(time.Hour)
		s.rejected()
		s.waitDPS()
		s.feed(ClockAnswered{})
		s.waitDPS()
		s.feed(ClockAnswered{Clock: ClockRight})
		require.Equal(t, 30*time.Minute, s.dpsIn())
		shorten(s)
		require.Equal(t, 30*time.Minute, s.dpsIn(), name)
	}
}

func TestAClockThatWasWrongIsAnotherTryAtOnceAndNoRegistration(t *testing.T) {
	for _, class := range []retry.Class{retry.Rejected, retry.Untrusted} {
		s := warm(t).withTokens()
		require.Equal(t, []string{"CheckClock"}, s.feed(HubFailure{Class: class, Dates: true}))
		s.state.DPS.Failures = 3
		did := s.feed(ClockAnswered{Clock: ClockCorrected})
		require.Equal(t, []string{"Connect"}, did)
		s.asksNothing()
		require.Zero(t, s.state.DPS.Failures)
		require.Equal(t, []string{"Register"}, s.rejected(), "the clock is right now")
		require.Equal(t, time.Minute, s.hubIn(), "and the gaps begin anew")
	}
}

func TestTheClocksCorrectionLiftsNothingThatTheHubHasAskedForSince(t *testing.T) {
	s := warm(t).withTokens()
	s.rejected()
	s.waitHub()
	s.throttled(time.Hour)
	require.Empty(t, s.feed(ClockAnswered{Clock: ClockCorrected}))
	require.Equal(t, time.Hour, s.state.NotBefore("a").Sub(s.now))
	require.Greater(t, s.hubIn(), time.Hour)
}

func TestAnAttemptWithTheWrongTimeIsGivenUp(t *testing.T) {
	s := warm(t).withTokens()
	s.rejected()
	s.waitHub()
	did := s.feed(ClockAnswered{Clock: ClockCorrected})
	require.Equal(t, []string{"CancelConnect", "Connect"}, did)
}

func TestTheClocksCorrectionIsForTheHubThatRejectedAlone(t *testing.T) {
	s := moved(t).withTokens()
	require.Equal(t, []string{"Connect", "CheckClock"}, s.rejected())
	require.Equal(t, assignedTo("b"), s.state.DPS.Rejecting)
	s.fails(retry.Untrusted)
	require.Equal(t, []string{"Connect"}, s.feed(ClockAnswered{Clock: ClockCorrected}))
	require.Equal(t, []Action{Connect{Target: assignedTo("b")}}, s.actions)
	require.Equal(t, time.Minute, s.state.NotBefore("a").Sub(s.now))
}

func TestTheTimeThatDPSToldIsRightForAnHour(t *testing.T) {
	for name, told := range map[string]func(s *script){
		"a look at the clock": func(s *script) {
			s.rejected()
			s.feed(ClockAnswered{Clock: ClockRight})
			s.assigned("a")
		},
		"an assignment": func(s *script) {
			s.feed(Reprovision{})
			s.feed(Assigned{Assignment: assignedTo("a"), Dated: true})
			s.rejected()
			s.waitHub()
			s.rejected()
		},
		"a failure": func(s *script) {
			s.rejected()
			s.feed(ClockAnswered{Clock: ClockCorrected})
			s.rejected()
			s.state.Clock = Clock{}
			s.feed(DPSFailed{Failure: DPSUnavailable, Dated: true})
			s.state.DPS.Phase = UnderWay
			s.assigned("a")
		},
	} {
		for wait, want := range map[time.Duration]ClockPurpose{
			time.Hour - time.Nanosecond: ClockForNone, time.Hour: ClockForHub,
		} {
			s := warm(t).withTokens()
			told(s)
			s.waitHub()
			s.now = s.state.Clock.ToldAt.Add(wait)
			s.rejected()
			require.Equal(t, ReasonRejected, s.state.DPS.Reason, name)
			require.Equal(t, want, s.state.DPS.Clock, "%s, %v later", name, wait)
		}
	}
	s := warm(t).withTokens()
	s.feed(Reprovision{})
	s.assigned("a")
	require.Zero(t, s.state.Clock, "a response without a date tells nothing")
	s.feed(Reprovision{})
	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.Zero(t, s.state.Clock)
}

func TestUnansweredQuestionsForTheTimeBackOffForNoLongerThanDPSWasAway(t *testing.T) {
	// The first eight windows grow as any other's; an hour is never reached.
	most := []time.Duration{5, 10, 20, 40, 80, 160, 320, 595, 595}
	for i, width := range most {
		drawn(t, 5*time.Second, (5+width)*time.Second, func(r Random) time.Duration {
			s := warm(t).withTokens().draws(lowest)
			s.rejected()
			for range i {
				require.Empty(t, s.feed(ClockAnswered{}))
				require.Equal(t, "CheckClock", s.waitDPS())
			}
			s.draws(r).feed(ClockAnswered{})
			return s.dpsIn()
		})
	}
	s := warm(t).withTokens()
	s.rejected()
	s.feed(ClockAnswered{})
	first := s.now
	for range 7 {
		s.waitDPS()
		s.feed(ClockAnswered{})
	}
	s.state.DPS.Phase = UnderWay
	s.now = first.Add(20 * time.Minute)
	s.draws(highest).feed(ClockAnswered{})
	require.InDelta(t, 20*time.Minute, s.dpsIn(), float64(time.Second), "DPS is away for as long")
	require.True(t, s.state.DPS.Silent)
}

func TestADeviceGoesOnAfterTenUnansweredQuestionsForTheTime(t *testing.T) {
	for elsewhere, most := range map[bool]int{false: 10, true: 3} {
		s := warm(t).withTokens()
		s.state.Settings.LookupElsewhere = elsewhere
		s.rejected()
		for range most - 1 {
			require.Empty(t, s.feed(ClockAnswered{}))
			require.Equal(t, "CheckClock", s.waitDPS())
		}
		require.Equal(t, []string{"Register"}, s.feed(ClockAnswered{}))
		require.Equal(t, s.now, s.state.Clock.ToldAt, "and does not ask again for a while")
		require.True(t, s.state.Clock.GivenUp, "but by a DPS that shows that it is there")
	}
}

func TestAProcessThatLivesShortlyGoesOnWithoutTheTimeToo(t *testing.T) {
	s := warm(t).withTokens()
	s.state.Settings.LookupElsewhere = true
	s.rejected()
	for range 2 {
		s.feed(ClockAnswered{})
		s.restarts(time.Second)
		require.Equal(t, "CheckClock", s.waitDPS())
	}
	require.Contains(t, s.feed(ClockAnswered{}), "Register")
	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.Zero(t, s.state.Waits(s.now).DPS.ClockTries)
}

func TestAnAnswerStartsTheCountOfUnansweredQuestionsAnew(t *testing.T) {
	s := warm(t).withTokens()
	s.rejected()
	s.feed(ClockAnswered{})
	require.Equal(t, 1, s.state.Clock.Tries)
	require.Equal(t, s.now, s.state.Clock.SilentSince)
	s.waitDPS()
	s.feed(ClockAnswered{Clock: ClockRight})
	require.Equal(t, Clock{ToldAt: s.now}, s.state.Clock)
}

func TestACertificateOutOfDateIsALookAtTheClock(t *testing.T) {
	s := warm(t)
	expired := HubFailure{Class: retry.Untrusted, Dates: true}
	require.Equal(t, []string{"CheckClock"}, s.feed(expired))
	require.Equal(t, []Action{CheckClock{Reason: ReasonOutage}}, s.actions)
	require.Empty(t, s.feed(ClockAnswered{Clock: ClockRight}))
	require.Equal(t, 22*time.Minute+30*time.Second, s.dpsIn(), "then as any silent hub")
	require.Equal(t, StatusLookup, s.state.DPS.Request)
	s.waitHub()
	require.Empty(t, s.feed(expired))
	require.Equal(t, ClockForNone, s.state.DPS.Clock, "it was told")
	s.waitDPS()
	s.assigned("a")
	s.now = s.state.Clock.ToldAt.Add(61 * time.Minute)
	s.fire()
	require.Equal(t, UnderWay, s.state.Hub.Phase)
	s.feed(expired)
	require.Equal(t, ClockForNone, s.state.DPS.Clock, "once until a stable connection")
	require.Equal(t, Waiting, s.state.DPS.Phase)

	s = warm(t)
	require.Empty(t, s.feed(HubFailure{Class: retry.Untrusted}), "nothing but its dates")
}

func TestAQuestionAboutAnOutageGivesWayToALookAtTheClock(t *testing.T) {
	s := warm(t)
	s.fails(retry.Unreachable)
	require.Equal(t, ReasonOutage, s.state.DPS.Reason)
	s.waitHub()
	expired := HubFailure{Class: retry.Untrusted, Dates: true}
	require.Equal(t, []string{"CheckClock"}, s.feed(expired))
	s.feed(ClockAnswered{})
	at := s.state.DPS.At
	s.state.Hub.Phase = UnderWay
	require.Empty(t, s.feed(expired))
	require.Equal(t, at, s.state.DPS.At, "which is not begun anew")

	s = inOutage(t, 0)
	s.waitDPS()
	s.waitHub()
	require.Empty(t, s.feed(expired), "one that is under way does not")
	require.Equal(t, ClockForNone, s.state.DPS.Clock)

	s = warm(t)
	first := s.now
	s.feed(expired)
	for range 10 {
		s.feed(ClockAnswered{})
		if s.state.DPS.Clock == ClockForHub {
			s.waitDPS()
		}
	}
	require.Equal(
		t, first.Add(22*time.Minute+30*time.Second), s.state.DPS.At,
		"nobody told the time, which puts the question off by nothing",
	)
}

func TestALookAtTheClockLeavesNothingBehindForTheQuestionAfterIt(t *testing.T) {
	expired := HubFailure{Class: retry.Untrusted, Dates: true}
	s := warm(t)
	s.feed(expired)
	s.feed(ClockAnswered{Clock: ClockRight})
	s.waitDPS()
	require.Equal(t, []string{"Lookup"}, s.feed(DPSFailed{Failure: DPSClockWrong}),
		"no hub has rejected the device")

	s = inOutage(t, 0)
	s.waitDPS()
	s.feed(NotRegistered{})
	s.feed(DPSFailed{Failure: DPSUnavailable})
	s.waitHub()
	require.Equal(t, []string{"CheckClock"}, s.feed(expired))
	require.Equal(t, []string{"Lookup"}, s.feed(ClockAnswered{Clock: ClockRight}))
	s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
	require.Equal(t, 1, s.state.Outage.Asked)
}

func TestACertificateOutOfDateLeavesOtherQuestionsAlone(t *testing.T) {
	expired := HubFailure{Class: retry.Untrusted, Dates: true}
	s := warm(t).staggered(3 * time.Hour)
	s.rejected()
	at := s.state.DPS.At
	s.waitHub()
	require.Empty(t, s.feed(expired))
	require.Equal(t, ReasonRejected, s.state.DPS.Reason)
	require.Equal(t, at, s.state.DPS.At)

	s = warm(t).withTokens()
	s.state.Settings.AfterRejection = KeepProbing
	s.rejected()
	s.feed(ClockAnswered{Clock: ClockRight})
	s.asksNothing()
	s.waitHub()
	require.Empty(t, s.feed(expired))
	require.Equal(t, ClockForNone, s.state.DPS.Clock, "the time was told a minute ago")
	require.Equal(t, 22*time.Minute+30*time.Second, s.dpsIn())
}

func TestAnAnswerThatTellsTheTimeIsLeftAloneLikeAnyOther(t *testing.T) {
	for name, answer := range map[string]ClockAnswered{
		"429": {Throttled: true, RetryAfter: time.Minute},
		"5xx": {Unavailable: true}, "5xx with a wait": {Unavailable: true, RetryAfter: time.Hour},
		"a year": {Throttled: true, RetryAfter: 365 * 24 * time.Hour},
	} {
		least := max(min(answer.RetryAfter, retry.LongestHonoured), 5*time.Second)
		for _, verdict := range []ClockVerdict{ClockRight, ClockUnknown, ClockCorrected} {
			answer.Clock = verdict
			s := warm(t).withTokens()
			s.rejected()
			did := s.feed(answer)
			require.NotContains(t, did, "Register", name)
			require.GreaterOrEqual(t, s.state.DPS.NotBefore.Sub(s.now), least, name)
			if verdict == ClockCorrected {
				require.Equal(t, []string{"Connect"}, did, "the hub has nothing to do with it")
				s.asksNothing()
				continue
			}
			require.GreaterOrEqual(t, s.dpsIn(), least, name)
			require.Equal(t, []string{"ReplyTooSoon"}, s.feed(Reprovision{}), name)
		}
	}
	drawn(t, 5*time.Second, 10*time.Second, func(r Random) time.Duration {
		s := warm(t).withTokens()
		s.rejected()
		state, _ := Apply(s.state, ClockAnswered{Clock: ClockRight, Unavailable: true}, s.now, r)
		return state.DPS.At.Sub(s.now)
	})
}
