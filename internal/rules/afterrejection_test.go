// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func TestAProbingDeviceTriesTheHubAtTheSameGapsAndAsksNothing(t *testing.T) {
	s := warm(t)
	s.state.Settings.AfterRejection = KeepProbing
	for _, minutes := range []time.Duration{1, 5, 15, 30, 60, 60} {
		require.Empty(t, s.rejected())
		s.asksNothing()
		require.Equal(t, minutes*time.Minute, s.hubIn())
		require.Equal(t, "a", s.waitHub())
	}
	s.fails(retry.Server)
	require.Equal(t, ReasonOutage, s.state.DPS.Reason, "a hub that rejects is meant, no other")

	s = warm(t).withTokens()
	s.state.Settings.AfterRejection = KeepProbing
	require.Equal(t, []string{"CheckClock"}, s.rejected())
	require.Empty(t, s.feed(ClockAnswered{Clock: ClockRight}))
	s.asksNothing()
	require.Equal(t, time.Minute, s.hubIn())
	s.waitHub()
	require.Empty(t, s.rejected())
}

func TestADeviceThatIsToGiveUpEndsWithTheRejection(t *testing.T) {
	s := warm(t)
	s.state.Settings.AfterRejection = GiveUpRejected
	require.Equal(t, []string{"GiveUp"}, s.rejected())
	s.asksNothing()
	s = warm(t)
	s.state.Settings.AfterRejection = GiveUpRejected
	require.Empty(t, s.fails(retry.Server), "no other failure is a reason")
}

func TestADeviceThatIsToGiveUpLooksAtTheClockFirst(t *testing.T) {
	for verdict, want := range map[ClockVerdict][]string{
		ClockRight: {"GiveUp"}, ClockCorrected: {"Connect"},
	} {
		s := warm(t).withTokens()
		s.state.Settings.AfterRejection = GiveUpRejected
		require.Equal(t, []string{"CheckClock"}, s.rejected())
		require.Equal(t, want, s.feed(ClockAnswered{Clock: verdict}))
		s.asksNothing()
		if verdict == ClockCorrected {
			require.Equal(t, []string{"GiveUp"}, s.rejected())
		}
	}
	s := warm(t).withTokens()
	s.state.Settings.AfterRejection = GiveUpRejected
	s.feed(HubFailure{Class: retry.Untrusted, Dates: true})
	require.Empty(t, s.feed(ClockAnswered{Clock: ClockRight}), "which is no rejection by itself")
	require.Equal(t, ReasonOutage, s.state.DPS.Reason)
}

func TestAFailedReprovisionLeavesDPSAloneWhereARejectionIsNoQuestion(t *testing.T) {
	for _, setting := range []AfterRejection{KeepProbing, GiveUpRejected} {
		s := warm(t).withTokens()
		s.state.Settings.AfterRejection = setting
		s.rejected()
		require.Equal(t, UnderWay, s.state.DPS.Phase)
		require.Contains(t, s.feed(Reprovision{}), "Register")
		s.feed(DPSFailed{Failure: DPSUnavailable})
		s.asksNothing()
	}
}

func TestTheDeviceEndsWithARejectionAndWithNothingElse(t *testing.T) {
	s := warm(t).withTokens()
	s.state.Settings.AfterRejection = GiveUpRejected
	s.rejected()
	s.waitHub()
	s.fails(retry.Unreachable)
	require.NotContains(t, s.feed(ClockAnswered{Clock: ClockRight}), "GiveUp")

	s = warm(t).withTokens()
	s.state.Settings.AfterRejection = GiveUpRejected
	s.rejected()
	s.restarts(time.Second)
	s.asksNothing() // the hub has to say it again
	require.Equal(t, Waiting, s.state.Hub.Phase)
}

func TestWhatFollowsARejectionLeavesOtherQuestionsAsTheyAre(t *testing.T) {
	for _, after := range []AfterRejection{KeepProbing, GiveUpRejected} {
		s := fresh(t)
		s.state.Settings.AfterRejection = after
		s.feed(DPSFailed{Failure: DPSUnavailable})
		s.now = s.now.Add(6 * time.Second)
		s.feed(Reprovision{})
		require.Equal(t, []Action{Register{Reason: ReasonBoot}}, s.actions)

		s = warm(t)
		s.state.Settings.AfterRejection = after
		s.fails(retry.Server)
		at := s.state.DPS.At
		s.restarts(time.Second)
		require.Equal(t, ReasonOutage, s.state.DPS.Reason)
		require.Equal(t, at, s.state.DPS.At)
	}
}

func TestWhatFollowsARejectionIsNoMatterForDPSsRefusals(t *testing.T) {
	for _, after := range []AfterRejection{KeepProbing, GiveUpRejected} {
		s := fresh(t)
		s.state.Settings.AfterRejection = after
		s.feed(DPSFailed{Failure: DPSClockUnknown})
		require.Empty(t, s.feed(ClockAnswered{Clock: ClockRight}))
		require.Equal(t, time.Minute, s.dpsIn())
	}
}

func TestAHubThatIsGoneCallsForARegistrationWhateverARejectionDoes(t *testing.T) {
	for _, after := range []AfterRejection{Reregister, KeepProbing, GiveUpRejected} {
		s := warm(t).withTokens()
		s.state.Settings.AfterRejection = after
		require.Equal(t, []string{"Register"}, goneFor(s, 3, time.Minute))
	}
}

// goneFor ends so many tries, each after so long, with a name that does not exist.
func goneFor(s *script, tries int, each time.Duration) (did []string) {
	for i := range tries {
		if i > 0 {
			s.now = s.now.Add(each)
			s.fire()
		}
		s.waitHub()
		did = s.feed(HubFailure{Class: retry.Unreachable, NameNotFound: true})
	}
	return did
}

func TestANameIsGoneAfterThreeTriesOverTwoMinutes(t *testing.T) {
	s := warm(t)
	require.Empty(t, goneFor(s, 2, 10*time.Minute), "two are not enough")
	require.Equal(t, retry.Unreachable, s.state.Class())
	require.Equal(t, ReasonOutage, s.state.DPS.Reason)

	s = warm(t)
	require.Empty(t, goneFor(s, 4, 39*time.Second), "two minutes less three seconds")
	require.Equal(t, retry.Unreachable, s.state.Class())

	s = warm(t)
	require.Equal(t, []string{"Register"}, goneFor(s, 3, time.Minute))
	require.Equal(t, retry.Rejected, s.state.Class())
	require.Equal(t, ReasonRejected, s.state.DPS.Reason)
}

func TestAnyOtherEndStartsTheCountOfMissingNamesAnew(t *testing.T) {
	for name, other := range map[string]func(s *script){
		"no answer":  func(s *script) { s.fails(retry.Unreachable) },
		"connection": func(s *script) { s.feed(Connected{}); s.feed(Closed{}) },
	} {
		s := warm(t)
		goneFor(s, 2, time.Hour)
		s.now = s.now.Add(time.Hour)
		s.fire()
		other(s)
		s.feed(Reprovision{})
		s.feed(DPSFailed{Failure: DPSUnavailable})
		require.Empty(t, goneFor(s, 3, 59*time.Second), name)
		s.now = s.now.Add(2 * time.Second)
		require.Equal(t, []string{"Register"}, goneFor(s, 1, 0), name)
	}
}
