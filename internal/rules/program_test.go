// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// connected is a device with a stable connection to its hub.
func connected(t *testing.T) *script {
	s := warm(t)
	s.feed(Connected{})
	s.feed(Stable{})
	return s
}

func TestReprovisionRegistersAtOnceWhileTheConnectionStaysUp(t *testing.T) {
	s := connected(t).staggered(time.Hour)
	require.Equal(t, []string{"Register"}, s.feed(Reprovision{}))
	require.Equal(t, []Action{Register{Reason: ReasonManual}}, s.actions)
	require.True(t, s.state.Connected)
	require.Equal(t, []string{"Announce", "Remember", "ReplyAssigned"}, s.assigned("a"))
	require.Equal(t, []Action{
		Announce{Assignment: assignedTo("a"), Moved: false},
		Remember{Confirmed: assignedTo("a")},
		ReplyAssigned{Assignment: assignedTo("a")},
	}, s.actions)
	require.True(t, s.state.Connected)
	s.asksNothing()
}

func TestReprovisionToAnotherHubEndsTheSession(t *testing.T) {
	s := connected(t)
	s.feed(Reprovision{})
	did := s.feed(Assigned{Assignment: assignedTo("b"), Stable: true})
	require.Equal(t, []string{
		"Announce", "Remember", "EndSession", "ReplyAssigned", "Connect",
	}, did)
	require.Equal(t, ReplyAssigned{Assignment: assignedTo("b")}, s.actions[3])
	require.Equal(t, Candidate, s.state.Hub.Tried.Slot)
}

func TestASessionThatAnAssignmentEndsWasStableOrNot(t *testing.T) {
	for stable, failures := range map[bool]int{true: 0, false: 3} {
		s := warm(t)
		for range 3 {
			s.fails(retry.Server)
			s.waitHub()
		}
		s.feed(Connected{})
		s.feed(Reprovision{})
		s.feed(Assigned{Assignment: assignedTo("b"), Stable: stable})
		require.Equal(t, failures, s.state.Kept(assignedTo("a")).Failures)
		require.Equal(t, stable, s.state.Outage.Since.IsZero())
	}
}

func TestReprovisionJoinsARegistrationThatIsUnderWay(t *testing.T) {
	s := fresh(t)
	require.Empty(t, s.feed(Reprovision{}))
	require.Empty(t, s.feed(Reprovision{}), "several calls share one")
	require.Contains(t, s.assigned("a"), "ReplyAssigned")
	require.NotContains(t, s.feed(Resume{}), "ReplyAssigned")

	s = fresh(t)
	s.feed(DPSFailed{Failure: DPSThrottled, RetryAfter: time.Minute})
	s.waitDPS()
	require.Empty(t, s.feed(Reprovision{}), "one that is under way is too late to refuse")
}

func TestARegistrationThatSomebodyWaitsForGoesOnThroughAConnection(t *testing.T) {
	s := warm(t)
	s.rejected()
	s.feed(Reprovision{})
	s.waitHub()
	require.Empty(t, s.feed(Connected{}))
	require.Equal(t, []string{"Announce", "Remember", "ReplyAssigned"}, s.assigned("a"))
}

func TestReprovisionTakesThePlaceOfAQuestionThatIsUnderWay(t *testing.T) {
	s := newScript(t, Boot{Next: retry.Lookup})
	require.Equal(t, []string{"CancelDPS", "Register"}, s.feed(Reprovision{}))
	require.Equal(t, ReasonStore, s.state.DPS.Reason)
	s = warm(t).withTokens()
	require.Equal(t, []string{"CheckClock"}, s.rejected())
	require.Equal(t, []string{"CancelDPS", "Register"}, s.feed(Reprovision{}))
	require.Equal(t, ReasonRejected, s.state.DPS.Reason)
}

func TestReprovisionKeepsTheReasonOfWhatWasPlannedUnlessThatWasAnOutage(t *testing.T) {
	s := warm(t)
	s.rejected()
	s.feed(DPSFailed{Failure: DPSUnavailable})
	s.now = s.now.Add(6 * time.Second)
	s.feed(Reprovision{})
	require.Equal(t, []Action{Register{Reason: ReasonRejected}}, s.actions)
	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.Equal(t, ReasonRejected, s.state.DPS.Reason, "and goes on asking")
	require.Equal(t, 10*time.Second, s.dpsIn())

	s = warm(t)
	s.fails(retry.Server)
	s.feed(Reprovision{})
	require.Equal(t, []Action{Register{Reason: ReasonManual}}, s.actions)
}

func TestReprovisionIsTooSoonWhereDPSHasAskedForPeace(t *testing.T) {
	s := fresh(t)
	s.feed(DPSFailed{Failure: DPSThrottled, RetryAfter: time.Hour})
	at := s.state.DPS.NotBefore
	require.Equal(t, []string{"ReplyTooSoon"}, s.feed(Reprovision{}))
	require.Equal(t, []Action{ReplyTooSoon{NotBefore: at}}, s.actions)
	s.now = at.Add(-time.Nanosecond)
	require.Equal(t, []string{"ReplyTooSoon"}, s.feed(Reprovision{}))
	s.now = at
	require.Equal(t, []string{"Register"}, s.feed(Reprovision{}))
}

func TestReprovisionIsTooSoonForFiveSecondsAfterAFailure(t *testing.T) {
	for _, failure := range []DPSFailure{DPSUnavailable, DPSRefused, DPSThrottled} {
		s := connected(t)
		s.feed(Reprovision{})
		require.Equal(t, []string{"ReplyFailed"}, s.feed(DPSFailed{Failure: failure}))
		s.asksNothing()
		s.now = s.now.Add(5*time.Second - time.Nanosecond)
		require.Equal(t, []string{"ReplyTooSoon"}, s.feed(Reprovision{}))
		s.now = s.now.Add(time.Nanosecond)
		require.Equal(t, []string{"Register"}, s.feed(Reprovision{}))
	}
}

func TestAFailedReprovisionLeavesADeviceWithAHubAsItWas(t *testing.T) {
	s := warm(t)
	s.feed(Reprovision{})
	require.Equal(t, []string{"ReplyFailed"}, s.feed(DPSFailed{Failure: DPSUnavailable}))
	s.asksNothing()
	require.Equal(t, UnderWay, s.state.Hub.Phase)
	require.Equal(t, assignedTo("a"), s.state.Confirmed)

	s = connected(t)
	s.feed(Reprovision{})
	s.feed(DPSFailed{Failure: DPSRefused})
	require.Zero(t, s.state.Refusals, "nothing else is to be made of it")
	require.True(t, s.state.Connected)

	s = fresh(t)
	s.feed(Reprovision{})
	require.Equal(t, []string{"ReplyFailed"}, s.feed(DPSFailed{Failure: DPSUnavailable}))
	require.Equal(t, 7500*time.Millisecond, s.dpsIn(), "one without asks again by itself")
	require.False(t, s.state.DPS.Manual)

	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.Empty(t, s.actions, "who was told once is not told again")
}

func TestAPlannedQuestionAboutAnOutageComesBackAfterAFailedReprovision(t *testing.T) {
	s := inOutage(t, 1)
	s.now = s.now.Add(6 * time.Second)
	s.feed(Reprovision{})
	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.Equal(t, ReasonOutage, s.state.DPS.Reason)
	require.Equal(t, 45*time.Minute-6*time.Second, s.dpsIn(), "at its time")

	s = warm(t)
	s.fails(retry.Server)
	s.feed(Reprovision{})
	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.Equal(t, 22*time.Minute+30*time.Second, s.dpsIn())

	s = inOutage(t, 1)
	s.waitHub()
	s.throttled(time.Hour)
	s.feed(Reprovision{})
	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.Equal(t, 45*time.Minute, s.dpsIn())

	s = warm(t)
	s.throttled(time.Hour)
	s.feed(Reprovision{})
	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.Equal(t, ReasonOutage, s.state.DPS.Reason)
	require.Equal(t, 24*time.Hour, s.dpsIn(), "that about a hub that throttles after a day")

	s = warm(t)
	s.fails(retry.Server)
	s.waitHub()
	s.feed(Connected{})
	s.feed(Reprovision{})
	s.feed(DPSFailed{Failure: DPSUnavailable})
	s.asksNothing()
	s.fails(retry.Server)
	require.Equal(
		t, 22*time.Minute+22500*time.Millisecond, s.dpsIn(), "or when the connection is lost",
	)
}

func TestAReprovisionWhoseClockWasWrongIsRepeatedBeforeAnybodyIsTold(t *testing.T) {
	s := connected(t)
	s.feed(Reprovision{})
	require.Equal(t, []string{"Register"}, s.feed(DPSFailed{Failure: DPSClockWrong}))
	require.True(t, s.state.DPS.Manual)
	require.False(t, s.state.DPS.ManualNotBefore.After(s.now))
	require.Equal(t, []string{"ReplyFailed"}, s.feed(DPSFailed{Failure: DPSClockWrong}))

	for verdict, want := range map[ClockVerdict][]string{
		ClockCorrected: {"Register"}, ClockRight: {"ReplyFailed"}, ClockUnknown: {"ReplyFailed"},
	} {
		for _, e := range []DPSFailed{
			{Failure: DPSClockUnknown}, {Failure: DPSUnavailable, Silent: true, Dates: true},
		} {
			s := connected(t)
			s.feed(Reprovision{})
			require.Equal(t, []string{"CheckClock"}, s.feed(e))
			require.Equal(t, want, s.feed(ClockAnswered{Clock: verdict}))
			require.Equal(t, verdict == ClockCorrected, s.state.DPS.Pending())
		}
	}

	s = connected(t)
	s.state.Clock.ToldAt = s.now
	for _, e := range []DPSFailed{
		{Failure: DPSClockUnknown}, {Failure: DPSUnavailable, Silent: true, Dates: true},
		{Failure: DPSRefused, Dates: true},
	} {
		s.feed(Reprovision{})
		require.Equal(t, []string{"ReplyFailed"}, s.feed(e), "the time is known")
		s.now = s.now.Add(5 * time.Second)
	}

	s = connected(t)
	s.feed(Reprovision{})
	s.feed(DPSFailed{Failure: DPSClockUnknown})
	s.feed(ClockAnswered{Clock: ClockCorrected})
	s.state.Clock = Clock{}
	require.Equal(t, []string{"ReplyFailed"}, s.feed(DPSFailed{Failure: DPSClockUnknown}), "once")
}

func TestAReprovisionStartsAnewWhatIsKnownOfARequest(t *testing.T) {
	s := fresh(t)
	s.feed(DPSFailed{Failure: DPSClockWrong})
	s.feed(DPSFailed{Failure: DPSUnavailable})
	s.now = s.now.Add(6 * time.Second)
	s.feed(Reprovision{})
	require.Equal(t, []string{"Register"}, s.feed(DPSFailed{Failure: DPSClockWrong}),
		"its clock may be corrected once more")

	s = fresh(t)
	s.feed(DPSFailed{Failure: DPSClockUnknown})
	require.Equal(t, []string{"CancelDPS", "Register"}, s.feed(Reprovision{}))
	s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true, Dates: true})
	require.Equal(t, []string{"ReplyFailed"}, s.feed(ClockAnswered{Clock: ClockRight}))
	require.Zero(t, s.state.Refusals, "it was not refused")
}

func TestAReprovisionThatHasToWaitOutlivesAStableConnection(t *testing.T) {
	s := warm(t)
	s.feed(Connected{})
	s.feed(Reprovision{})
	require.Empty(t, s.feed(DPSFailed{Failure: DPSClockWrong, RetryAfter: time.Minute}))
	require.Empty(t, s.feed(Stable{}))
	require.Equal(t, time.Minute, s.dpsIn())
	require.Equal(t, "Register", s.waitDPS())
}

func TestAFailedReprovisionEndsTheQuestionItJoinedOnceTheDeviceIsConnected(t *testing.T) {
	s := warm(t)
	s.rejected()
	s.feed(Reprovision{})
	s.waitHub()
	s.feed(Connected{})
	require.Equal(t, []string{"ReplyFailed"}, s.feed(DPSFailed{Failure: DPSUnavailable}))
	s.asksNothing()

	s = connected(t)
	s.feed(Forget{})
	s.feed(Reprovision{})
	s.feed(DPSFailed{Failure: DPSUnavailable})
	s.asksNothing()
}

func TestARefusedReprovisionOfADeviceWithNowhereToGoIsARefusal(t *testing.T) {
	s := fresh(t)
	s.feed(Reprovision{})
	s.feed(DPSFailed{Failure: DPSClockUnknown})
	require.Equal(t, []string{"ReplyFailed"}, s.feed(ClockAnswered{Clock: ClockRight}))
	require.Equal(t, time.Minute, s.dpsIn())
	require.Equal(t, 1, s.state.Refusals)
}
