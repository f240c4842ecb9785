// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// A refusal by DPS may be the fault of a clock that nobody has told the time, and a process that
// began since then may know the time no more.

// refusedWithoutTheTime is a device whose token DPS has refused while nobody told the time.
func refusedWithoutTheTime(t *testing.T) *script {
	s := fresh(t).withTokens()
	s.state.Refusals = len(RefusalGaps) // so that it waits for an hour
	s.feed(DPSFailed{Failure: DPSClockUnknown})
	for range MaxClockTries - 1 {
		s.feed(ClockAnswered{Clock: ClockUnknown})
		require.Equal(t, "CheckClock", s.waitDPS())
	}
	return s
}

func TestWhereNobodyTellsTheTimeItIsAskedForWhileDPSRefuses(t *testing.T) {
	s := refusedWithoutTheTime(t)
	s.feed(ClockAnswered{Clock: ClockUnknown})
	until := s.state.DPS.RefusedUntil
	require.Equal(t, time.Hour, until.Sub(s.now))
	asked := 0
	for question := s.waitDPS(); question == "CheckClock"; question = s.waitDPS() {
		require.True(t, s.now.Before(until))
		s.feed(ClockAnswered{Clock: ClockUnknown})
		asked++
	}
	require.Positive(t, asked)
	require.Equal(t, until, s.now, "a registration is not earlier than the refusal allows")
}

func TestATimeThatIsToldAfterARefusalRegistersAtOnceIfItWasWrong(t *testing.T) {
	s := refusedWithoutTheTime(t)
	s.feed(ClockAnswered{Clock: ClockUnknown})
	require.Equal(t, "CheckClock", s.waitDPS())
	require.Equal(t, []string{"Register"}, s.feed(ClockAnswered{Clock: ClockCorrected}))
	require.Zero(t, s.state.DPS.RefusedUntil)

	s = refusedWithoutTheTime(t)
	s.feed(ClockAnswered{Clock: ClockUnknown})
	until := s.state.DPS.RefusedUntil
	require.Equal(t, "CheckClock", s.waitDPS())
	require.Empty(t, s.feed(ClockAnswered{Clock: ClockRight}))
	require.Equal(t, until, s.state.DPS.At, "the clock was not to blame")
}

func TestATimeThatIsToldAfterTheRefusalsWaitIsNoSecondRefusal(t *testing.T) {
	s := refusedWithoutTheTime(t)
	s.feed(ClockAnswered{Clock: ClockUnknown})
	require.Equal(t, "CheckClock", s.waitDPS())
	refusals := s.state.Refusals
	s.now = s.state.DPS.RefusedUntil
	s.feed(ClockAnswered{Clock: ClockRight})
	require.Equal(t, refusals, s.state.Refusals)
	require.Equal(t, ClockForNone, s.state.DPS.Clock)
	require.LessOrEqual(t, s.dpsIn(), 15*time.Second)
}

// refusedAfterRejection is a device that its hub rejects and DPS refuses, after a restart.
func refusedAfterRejection(t *testing.T) *script {
	s := warm(t).withTokens()
	s.fails(retry.Rejected)
	s.feed(ClockAnswered{Clock: ClockRight})
	s.feed(DPSFailed{Failure: DPSRefused})
	s.restarts(time.Minute)
	s.waitHub()
	return s
}

func TestAProcessThatBeganAfterARefusalChecksItsClock(t *testing.T) {
	s := refusedAfterRejection(t)
	until := s.state.DPS.RefusedUntil
	require.Equal(t, []string{"CheckClock"}, s.fails(retry.Rejected))
	require.Equal(t, []string{"Connect"}, s.feed(ClockAnswered{Clock: ClockCorrected}))

	s = refusedAfterRejection(t)
	s.fails(retry.Rejected)
	require.Empty(t, s.feed(ClockAnswered{Clock: ClockRight}))
	require.Equal(t, until, s.state.DPS.At, "DPS is asked no sooner for that")
	s.waitHub()
	require.Empty(t, s.fails(retry.Rejected), "and for the time once")
	s.state.Clock.ToldAt = s.now.Add(-ClockValid)
	s.waitHub()
	require.Empty(t, s.fails(retry.Rejected))

	s = refusedAfterRejection(t).staggered(time.Hour)
	require.Empty(t, s.fails(retry.Rejected))
	require.Equal(t, ClockStagger/2, s.dpsIn(), "devices that began together are spread")
}

func TestTheProgramMayRegisterWhileDPSRefuses(t *testing.T) {
	s := refusedAfterRejection(t)
	s.now = s.now.Add(time.Minute)
	require.Equal(t, []string{"Register"}, s.feed(Reprovision{}))
}

func TestADeviceThatWasNotToldTheTimeWaitsNoLongerForDPSThanItWasAway(t *testing.T) {
	s := warm(t).withTokens().draws(highest)
	s.state.Settings.LookupElsewhere = true
	s.fails(retry.Rejected)
	for range MaxClockTriesElsewhere - 1 {
		s.feed(ClockAnswered{Clock: ClockUnknown})
		s.waitDPS()
	}
	require.Equal(t, []string{"Register"}, s.feed(ClockAnswered{Clock: ClockUnknown}))
	since := s.state.Clock.SilentSince
	s.state.DPS.Failures = 12
	s.feed(DPSFailed{Silent: true})
	require.InDelta(t, max(s.now.Sub(since), ClockPatience), s.dpsIn(), float64(time.Millisecond))
}

func TestARefusalOfAnotherQuestionDoesNotKeepARejectedDeviceFromTheTime(t *testing.T) {
	s := inOutage(t, 0).withTokens()
	s.waitDPS()
	s.feed(DPSFailed{Failure: DPSRefused})
	until := s.state.DPS.RefusedUntil
	require.Equal(t, ReasonOutage, s.state.DPS.Reason)
	s.waitHub()
	require.Equal(t, []string{"CheckClock"}, s.fails(retry.Rejected))
	require.Empty(t, s.feed(ClockAnswered{Clock: ClockRight}))
	require.Equal(t, until, s.state.DPS.At, "nothing but the time is asked before")
}
