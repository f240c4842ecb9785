// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheClockIsToldOnceBeforeDPSsRefusalIsBelieved(t *testing.T) {
	s := fresh(t)
	require.Equal(t, []string{"Register"}, s.feed(DPSFailed{Failure: DPSClockWrong}), "at once")
	require.Equal(t, s.now, s.state.Clock.ToldAt)
	require.Empty(t, s.feed(DPSFailed{Failure: DPSClockWrong}))
	require.Equal(t, time.Minute, s.dpsIn())
	s.waitDPS()
	require.Equal(t, []string{"Register"}, s.feed(DPSFailed{Failure: DPSClockWrong}),
		"the next request may be mended again")
}

func TestARefusalWithoutADateIsALookAtTheClock(t *testing.T) {
	s := fresh(t)
	require.Equal(t, []string{"CheckClock"}, s.feed(DPSFailed{Failure: DPSClockUnknown}))
	require.Equal(t, []Action{CheckClock{Reason: ReasonBoot}}, s.actions)
	require.Empty(t, s.feed(ClockAnswered{Clock: ClockRight}))
	require.Equal(t, time.Minute, s.dpsIn(), "it was a refusal")
	require.Equal(t, 1, s.state.Refusals)
	require.Equal(t, "Register", s.waitDPS())
	require.Empty(t, s.feed(DPSFailed{Failure: DPSClockUnknown}), "the clock is right")
	require.Equal(t, 5*time.Minute, s.dpsIn())

	s = fresh(t)
	s.feed(DPSFailed{Failure: DPSClockUnknown})
	s.feed(ClockAnswered{Clock: ClockCorrected})
	s.now = s.now.Add(time.Hour)
	did := s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true, Dates: true})
	require.Equal(t, []string{"CheckClock"}, did)
	require.Empty(t, s.feed(ClockAnswered{Clock: ClockRight}))
	require.Equal(t, 10*time.Second, s.dpsIn(), "this time nobody has refused")

	s = fresh(t)
	s.feed(DPSFailed{Failure: DPSClockUnknown})
	s.feed(ClockAnswered{Clock: ClockRight})
	s.waitDPS()
	s.now = s.now.Add(time.Hour)
	s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true, Dates: true})
	s.feed(ClockAnswered{Clock: ClockRight})
	require.Equal(t, 10*time.Second, s.dpsIn())

	s = fresh(t)
	s.feed(DPSFailed{Failure: DPSClockUnknown})
	require.Equal(t, []string{"Register"}, s.feed(ClockAnswered{Clock: ClockCorrected}))
	s.state.Clock = Clock{}
	require.Empty(t, s.feed(DPSFailed{Failure: DPSClockUnknown}), "once")
	require.Equal(t, time.Minute, s.dpsIn())
}

func TestDPSsCertificateOutOfDateIsALookAtTheClock(t *testing.T) {
	expired := DPSFailed{Failure: DPSUnavailable, Silent: true, Dates: true}
	s := fresh(t)
	require.Equal(t, []string{"CheckClock"}, s.feed(expired))
	require.Empty(t, s.feed(ClockAnswered{Clock: ClockRight}))
	require.Equal(t, 7500*time.Millisecond, s.dpsIn(), "no refusal, but a failure")
	require.Equal(t, "Register", s.waitDPS())
	require.Empty(t, s.feed(expired), "the time was told")
	require.Equal(t, 10*time.Second, s.dpsIn())

	s = inOutage(t, 0)
	s.waitDPS()
	require.Equal(t, []string{"CheckClock"}, s.feed(expired))
	require.Empty(t, s.feed(ClockAnswered{Clock: ClockRight}))
	require.Equal(t, 7500*time.Millisecond, s.dpsIn(), "the question is repeated")

	s = fresh(t)
	s.feed(expired)
	require.Equal(t, []string{"Register"}, s.feed(ClockAnswered{Clock: ClockCorrected}))
	require.Equal(t, Registration, s.state.DPS.Request)
}
