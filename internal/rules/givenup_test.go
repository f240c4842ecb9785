// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// untold is the clock of a device that has given up asking DPS for the time, after so long.
func untold(now time.Time, away time.Duration) Clock {
	return Clock{ToldAt: now, SilentSince: now.Add(-away), Tries: 10, GivenUp: true}
}

func TestAClockThatNobodyToldIsAskedForAgainAfterAsLongAsDPSWasAway(t *testing.T) {
	for away, wait := range map[time.Duration]time.Duration{
		time.Minute: 10 * time.Minute, 20 * time.Minute: 20 * time.Minute, 5 * time.Hour: time.Hour,
	} {
		for early, want := range map[time.Duration]ClockPurpose{
			0: ClockForHub, time.Nanosecond: ClockForNone,
		} {
			s := warm(t).withTokens()
			s.state.Clock = untold(s.now, away)
			s.now = s.now.Add(wait - early)
			s.rejected()
			require.Equal(t, want, s.state.DPS.Clock, "away for %v", away)

			s = warm(t)
			s.fails(retry.Server)
			s.state.Clock = untold(s.now, away)
			s.now = s.now.Add(wait - early)
			s.state.Hub.Phase = UnderWay
			s.feed(HubFailure{Class: retry.Untrusted, Dates: true})
			require.Equal(t, want, s.state.DPS.Clock, "away for %v", away)
		}
	}
}

func TestADPSThatIsThereIsAskedForTheTimeThoughItWasGivenUp(t *testing.T) {
	for _, e := range []DPSFailed{
		{Failure: DPSClockUnknown}, {Failure: DPSUnavailable, Silent: true, Dates: true},
	} {
		s := fresh(t)
		s.state.Clock = untold(s.now, time.Hour)
		require.Equal(t, []string{"CheckClock"}, s.feed(e))
	}
}

func TestAQuestionAboutAnOutageIsNoReasonToGiveTheClockUpSooner(t *testing.T) {
	s := warm(t)
	s.state.Settings.LookupElsewhere = true
	s.feed(HubFailure{Class: retry.Untrusted, Dates: true})
	for range 9 {
		require.Empty(t, s.feed(ClockAnswered{}))
		require.Equal(t, "CheckClock", s.waitDPS())
	}
	s.feed(ClockAnswered{})
	require.Equal(t, ClockForNone, s.state.DPS.Clock)
	require.Equal(t, ReasonOutage, s.state.DPS.Reason)
}

// rejectedUntold is a device whose token was rejected, and that registers since nobody tells the
// time.
func rejectedUntold(t *testing.T) *script {
	s := warm(t).withTokens()
	s.state.Settings.LookupElsewhere = true
	s.rejected()
	for range 2 {
		s.feed(ClockAnswered{})
		s.waitDPS()
	}
	require.Contains(t, s.feed(ClockAnswered{}), "Register")
	s.state.Hub.Phase = Waiting
	s.state.DPS.Failures = 3
	return s
}

func TestAClockThatDPSCorrectsLaterExplainsTheHubsRejectionToo(t *testing.T) {
	s := rejectedUntold(t)
	require.Equal(t, []string{"Connect"}, s.feed(DPSFailed{Failure: DPSClockWrong}))
	s.asksNothing()
	require.Zero(t, s.state.DPS.Failures)
	require.Equal(t, Clock{ToldAt: s.now}, s.state.Clock)

	s = rejectedUntold(t)
	require.Contains(t, s.feed(DPSFailed{Failure: DPSClockUnknown}), "CheckClock")
	require.Equal(t, []string{"Connect"}, s.feed(ClockAnswered{Clock: ClockCorrected}))
	s.asksNothing()

	s = rejectedUntold(t)
	s.feed(Reprovision{})
	require.Equal(t, []string{"Register"}, s.feed(DPSFailed{Failure: DPSClockWrong}),
		"but who waits for a registration gets one")

	s = warm(t)
	s.rejected()
	require.Equal(t, []string{"Register"}, s.feed(DPSFailed{Failure: DPSClockWrong}),
		"and a certificate is not rejected for the time")
}

func TestACorrectedClockIsNoAnswerAboutAHubThatHasChangedItsMind(t *testing.T) {
	s := warm(t).withTokens()
	s.rejected()
	s.waitHub()
	s.fails(retry.Server)
	at := s.state.Hub.At
	require.Empty(t, s.feed(ClockAnswered{Clock: ClockCorrected}))
	require.Equal(t, at, s.state.Hub.At)
	require.Equal(t, ReasonOutage, s.state.DPS.Reason)
	require.Equal(t, 22*time.Minute+30*time.Second, s.dpsIn())

	s = warm(t).withTokens()
	s.rejected()
	s.waitHub()
	s.throttled(time.Minute)
	s.feed(ClockAnswered{Clock: ClockCorrected})
	require.Equal(t, s.state.Outage.Since.Add(24*time.Hour), s.state.DPS.At)
}

func TestAQuestionAboutAnOutageKeepsItsTimeThroughOthers(t *testing.T) {
	s := warm(t)
	s.fails(retry.Server)
	at := s.state.DPS.At
	s.now = s.now.Add(10 * time.Minute)
	s.fire()
	require.Equal(t, []string{"CheckClock"},
		s.feed(HubFailure{Class: retry.Untrusted, Dates: true}))
	s.feed(ClockAnswered{Clock: ClockRight})
	require.Equal(t, at, s.state.DPS.At, "a look at the clock")

	s.feed(Reprovision{})
	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.Equal(t, at, s.state.DPS.At, "a registration that fails")

	s.now = s.now.Add(6 * time.Second)
	s.feed(Reprovision{})
	s.now = at
	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.Equal(t, 22*time.Minute+30*time.Second, s.dpsIn(),
		"one that is overdue was asked by it")

	s.now = s.now.Add(6 * time.Second)
	s.feed(Reprovision{})
	s.assigned("a")
	s.asksNothing()
	require.Zero(t, s.state.Outage.AskAt)
	s.waitHub()
	s.fails(retry.Server)
	require.Equal(t, 22*time.Minute+30*time.Second, s.dpsIn(), "and so was any that DPS answers")

	s = warm(t)
	s.fails(retry.Server)
	at = s.state.DPS.At
	s.waitHub()
	s.rejected()
	s.waitHub()
	s.fails(retry.Server)
	require.Equal(t, at, s.state.Outage.AskAt)
}
