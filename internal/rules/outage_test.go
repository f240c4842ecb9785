// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func TestTheFirstQuestionAboutAnOutageFollowsAfterAQuarterToHalfAnHour(t *testing.T) {
	for _, class := range []retry.Class{retry.Server, retry.Unreachable, retry.Untrusted} {
		drawn(t, 15*time.Minute, 30*time.Minute, func(r Random) time.Duration {
			s := warm(t).draws(r)
			s.fails(class)
			require.Equal(t, s.now, s.state.Outage.Since)
			return s.dpsIn()
		})
		s := warm(t)
		s.fails(class)
		require.Equal(t, "Lookup", s.waitDPS())
		require.Equal(t, []Action{Lookup{Reason: ReasonOutage}}, s.actions)
	}
}

func TestStaggerSpreadsTheQuestionsAboutAnOutage(t *testing.T) {
	drawn(t, 15*time.Minute, 90*time.Minute, func(r Random) time.Duration {
		s := warm(t).staggered(time.Hour).draws(r)
		s.fails(retry.Server)
		return s.dpsIn()
	})
	drawn(t, 24*time.Hour, 25*time.Hour, func(r Random) time.Duration {
		s := warm(t).staggered(time.Hour).draws(r)
		s.throttled(time.Minute)
		return s.dpsIn()
	})
}

func TestLaterFailuresNeitherMoveTheQuestionNorTheOutagesBeginning(t *testing.T) {
	s := warm(t)
	s.fails(retry.Server)
	since, at := s.state.Outage.Since, s.state.DPS.At
	for _, class := range []retry.Class{retry.Unreachable, retry.Server, retry.Untrusted} {
		s.waitHub()
		require.Empty(t, s.fails(class))
		require.Equal(t, since, s.state.Outage.Since)
		require.Equal(t, at, s.state.DPS.At)
	}
}

// inOutage is a device that has asked so often about a hub that is down.
func inOutage(t *testing.T, asked int) *script {
	s := warm(t)
	s.fails(retry.Server)
	for range asked {
		s.waitDPS()
		s.assigned("a")
	}
	require.Equal(t, asked, s.state.Outage.Asked)
	return s
}

func TestTheQuestionsAboutAnOutageDoubleTheirDistanceUpToADay(t *testing.T) {
	const hour = time.Hour
	for asked, lo := range []time.Duration{hour / 4, hour / 2, hour, 2 * hour, 4 * hour, 8 * hour} {
		drawn(t, lo, 2*lo, func(r Random) time.Duration {
			if asked == 0 {
				s := warm(t).draws(r)
				s.fails(retry.Server)
				return s.dpsIn()
			}
			s := inOutage(t, asked-1)
			s.waitDPS()
			s.draws(r).assigned("a")
			return s.dpsIn()
		})
	}
	drawn(t, 16*hour, 24*hour, func(r Random) time.Duration {
		s := inOutage(t, 5)
		s.waitDPS()
		s.draws(r).assigned("a")
		return s.dpsIn()
	})
	for _, asked := range []int{7, 20, 100, 1000} {
		require.Equal(t, 24*hour, inOutage(t, asked).dpsIn())
	}
}

func TestTheThirdQuestionAboutAnOutageIsARegistration(t *testing.T) {
	for asked, want := range []string{"Lookup", "Lookup", "Register", "Register"} {
		require.Equal(t, want, inOutage(t, asked).waitDPS())
	}
}

func TestAnOutageQuestionThatNobodyAnswersCountsAsAsked(t *testing.T) {
	s := warm(t)
	s.fails(retry.Unreachable)
	for asked, want := range []string{"Lookup", "Lookup", "Register", "Register", "Register"} {
		require.Equal(t, 22*time.Minute+30*time.Second, s.dpsIn()>>asked, "twice the distance")
		require.Equal(t, want, s.waitDPS())
		s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
		require.Equal(t, asked+1, s.state.Outage.Asked)
		require.Equal(t, ReasonOutage, s.state.DPS.Reason)
	}
}

func TestAnOutageQuestionThatDPSFailsIsRepeated(t *testing.T) {
	for _, failure := range []DPSFailure{DPSUnavailable, DPSThrottled} {
		for asked, want := range []string{"Lookup", "Lookup", "Register"} {
			s := inOutage(t, asked)
			s.waitDPS()
			for range 7 {
				s.feed(DPSFailed{Failure: failure})
				require.Equal(t, asked, s.state.Outage.Asked)
				require.Equal(t, want, s.waitDPS(), "the same step")
			}
		}
	}
}

func TestALookupThatFindsNothingLeadsToARegistrationUntilThatSucceeds(t *testing.T) {
	s := inOutage(t, 0)
	s.waitDPS()
	s.feed(DPSFailed{Failure: DPSUnavailable})
	s.waitDPS()
	require.Equal(t, []string{"Register"}, s.feed(NotRegistered{}))
	require.Equal(t, []Action{Register{Reason: ReasonOutage}}, s.actions)
	require.Zero(t, s.state.DPS.Failures)
	s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
	require.Zero(t, s.state.Outage.Asked, "it is known not to be registered: only that helps")
	require.Equal(t, 7500*time.Millisecond, s.dpsIn())
	require.Equal(t, "Register", s.waitDPS())
	s.assigned("a")
	require.Equal(t, 1, s.state.Outage.Asked)
	require.Equal(t, "Lookup", s.waitDPS())
}

func TestTheAnswerToAnOutageQuestionLeavesTheHubsDelaysAlone(t *testing.T) {
	s := warm(t)
	for range 8 {
		s.fails(retry.Server)
		s.waitHub()
	}
	s.fails(retry.Server)
	at := s.state.Hub.At
	s.state.DPS.At = s.now
	require.Equal(t, []string{"Lookup"}, s.fire())
	s.assigned("a")
	require.Equal(t, at, s.state.Hub.At)
	require.Equal(t, 9, s.state.Failures())
}

func TestAnOutageQuestionAboutTheCandidateCountsToo(t *testing.T) {
	s := moved(t)
	s.fails(retry.Server)
	s.waitDPS()
	s.waitHub()
	at := s.state.Kept(assignedTo("b")).At
	s.assigned("b")
	require.Equal(t, 1, s.state.Outage.Asked)
	require.Equal(t, ReasonOutage, s.state.DPS.Reason)
	require.Equal(t, at, s.state.Kept(assignedTo("b")).At)
}

func TestTheNewHubOfAnOutageIsAskedAboutInItsTurn(t *testing.T) {
	s := inOutage(t, 1)
	s.waitDPS()
	require.Contains(t, s.assigned("b"), "Connect")
	s.asksNothing()
	s.fails(retry.Server)
	require.Equal(t, 45*time.Minute, s.dpsIn(), "the outage goes on")
}

// Every connection succeeds, and none lasts.
func TestAHubThatAcceptsAndDropsEveryConnectionIsAnOutage(t *testing.T) {
	s := warm(t)
	asked := 0
	for end := s.now.Add(3 * time.Hour); s.now.Before(end); {
		s.feed(Connected{})
		s.now = s.now.Add(time.Second)
		require.Empty(t, s.fire(), "no question while connected")
		_, armed := s.state.Wake()
		require.False(t, armed)
		s.fails(retry.Unreachable)
		if s.state.DPS.Phase == UnderWay {
			asked++
			s.assigned("a")
		}
		s.waitHub()
		if s.state.DPS.Phase == UnderWay {
			asked++
			s.assigned("a")
		}
	}
	require.GreaterOrEqual(t, asked, 3)
	require.LessOrEqual(t, asked, 4)
	s.feed(Connected{})
	require.Equal(t, Waiting, s.state.DPS.Phase, "held")
	s.feed(Stable{})
	s.asksNothing()
	require.Zero(t, s.state.Outage)
}

func TestAnOutageQuestionUnderWayGoesOnThroughAConnection(t *testing.T) {
	s := inOutage(t, 0)
	s.waitDPS()
	s.waitHub()
	require.Empty(t, s.feed(Connected{}))
	require.Equal(t, []string{"Announce", "Remember"}, s.assigned("a"))
	require.Equal(t, 1, s.state.Outage.Asked)
	require.Equal(t, 45*time.Minute, s.dpsIn(), "for when the connection is lost before it lasts")
	require.Empty(t, s.pass(time.Hour))
	require.Equal(t, []string{"Lookup"}, s.fails(retry.Unreachable))

	s = warm(t)
	s.fails(retry.Server)
	s.waitHub()
	s.feed(Connected{})
	s.feed(Reprovision{})
	s.assigned("a")
	require.Zero(t, s.state.Outage.Asked, "a registration for another reason is no question")
	s.asksNothing()

	s = inOutage(t, 0)
	s.waitDPS()
	s.waitHub()
	s.feed(Connected{})
	require.Empty(t, s.feed(Stable{}))
	s.feed(Assigned{Assignment: assignedTo("a"), Stable: true})
	s.asksNothing()
	require.Zero(t, s.state.Outage, "once it has lasted there is none any more")
}
