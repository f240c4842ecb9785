// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func TestANudgeBringsTheNextTryForwardWhereNobodyAnsweredTheLast(t *testing.T) {
	drawn(t, 0, 5*time.Second, func(r Random) time.Duration {
		s := silentHub(t)
		state, actions := Apply(s.state, Nudge{}, s.now, r)
		require.Empty(t, actions)
		return state.Hub.At.Sub(s.now)
	})
	drawn(t, 0, 5*time.Second, func(r Random) time.Duration {
		s := fresh(t).dpsStaysSilent()
		state, actions := Apply(s.state, Nudge{}, s.now, r)
		require.Empty(t, actions)
		return state.DPS.At.Sub(s.now)
	})
	s := fresh(t)
	s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
	for range 10 {
		require.Empty(t, s.draws(lowest).feed(Nudge{}))
	}
	require.Equal(t, DPSFloor, s.dpsIn(), "however often it is nudged")
	s = warm(t).draws(highest)
	s.fails(retry.Unreachable)
	s.draws(lowest).feed(Nudge{})
	require.Equal(t, 5*time.Second, s.hubIn(), "after one failure as after many")
}

func TestANudgeMovesNothingThatSomebodyAskedForOrThatIsDrawn(t *testing.T) {
	for name, s := range map[string]*script{
		"floor": func() *script {
			s := warm(t).draws(lowest)
			s.fails(retry.Unreachable)
			return s
		}(),
		"server": func() *script {
			s := warm(t)
			s.fails(retry.Server)
			s.waitHub()
			s.fails(retry.Server)
			s.now = s.now.Add(6 * time.Second)
			return s
		}(),
		"throttled": func() *script { s := warm(t); s.throttled(time.Hour); return s }(),
		"gap": func() *script {
			s := rejectedFor(t, 2)
			s.feed(DPSFailed{Failure: DPSRefused})
			return s
		}(),
		"Stagger": func() *script {
			s := warm(t).staggered(3 * time.Hour)
			s.rejected()
			s.state.Hubs[0].GapAt = s.now
			return s
		}(),
		"outage": inOutage(t, 1),
		"outage, silent": func() *script {
			s := inOutage(t, 1)
			s.waitDPS()
			s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
			return s
		}(),
		"dps": func() *script {
			s := fresh(t)
			s.feed(DPSFailed{Failure: DPSUnavailable})
			return s
		}(),
	} {
		hub, dps := s.state.Hub, s.state.DPS
		require.Empty(t, s.draws(lowest).feed(Nudge{}), name)
		require.Equal(t, hub, s.state.Hub, name)
		require.Equal(t, dps, s.state.DPS, name)
	}
	s := fresh(t)
	s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
	at := s.state.DPS.At
	s.now = at.Add(-time.Second)
	require.Empty(t, s.feed(Nudge{}))
	require.Equal(t, at, s.state.DPS.At, "what is due sooner stays so")
	s.waitDPS()
	require.Empty(t, s.feed(Nudge{}), "what is under way is left to end")
}

func TestANudgeKeepsTheJitterAboveWhatWasAskedFor(t *testing.T) {
	drawn(t, time.Hour, time.Hour+5*time.Second, func(r Random) time.Duration {
		s := fresh(t)
		for range 9 {
			s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
			s.waitDPS()
		}
		s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true, RetryAfter: time.Hour})
		s.draws(r).feed(Nudge{})
		return s.dpsIn()
	})
	drawn(t, 5*time.Second, 10*time.Second, func(r Random) time.Duration {
		s := warm(t)
		for range 9 {
			s.fails(retry.Unreachable)
			s.waitHub()
		}
		s.fails(retry.Unreachable)
		s.draws(r).feed(Nudge{})
		return s.hubIn()
	})
}

func TestANudgeShortensNoSpreadThatNoFailureCalledFor(t *testing.T) {
	b := boots()[0]
	b.WaitsUnknown = true
	s := newScriptWith(t, Defaults(), b, highest)
	at := s.state.Hub.At
	require.Empty(t, s.draws(lowest).feed(Nudge{}))
	require.Equal(t, at, s.state.Hub.At)
}

func TestResumeTakesUpWhatWasUnderWay(t *testing.T) {
	s := warm(t)
	s.rejected()
	s.waitHub()
	require.Equal(t, []string{"Connect", "Register"}, s.feed(Resume{}))
	require.Equal(t, []Action{
		Connect{Target: assignedTo("a")}, Register{Reason: ReasonRejected},
	}, s.actions)
	require.Equal(t, 1, s.state.Failures(), "nothing has failed")

	s = warm(t)
	s.throttled(time.Hour)
	hub, dps := s.state.Hub, s.state.DPS
	require.Empty(t, s.feed(Resume{}))
	require.Equal(t, hub, s.state.Hub)
	require.Equal(t, dps, s.state.DPS)
}

func TestResumeDropsARegistrationThatNobodyWaitsForAnyMore(t *testing.T) {
	s := warm(t)
	s.throttled(time.Hour)
	s.feed(Reprovision{})
	s.feed(Progress{Operation: "op-1", RetryAfter: time.Minute})
	s.state.DPS.Failures = 3
	require.Empty(t, s.feed(Resume{}))
	s.asksNothing()
	require.False(t, s.state.DPS.Manual)
	require.Equal(t, 3, s.state.DPS.Failures)
	require.Equal(t, time.Minute, s.state.DPS.NotBefore.Sub(s.now))

	s = fresh(t)
	s.feed(Reprovision{})
	require.Equal(t, []string{"Register"}, s.feed(Resume{}), "unless the device has nowhere to go")
	require.Equal(t, ReasonBoot, s.state.DPS.Reason)
	require.False(t, s.state.DPS.Manual)

	s = connected(t)
	s.feed(Forget{})
	s.feed(Reprovision{})
	require.Empty(t, s.feed(Resume{}), "or is connected")
	s.asksNothing()
	s.feed(Reprovision{})
	s.feed(Closed{})
	require.Equal(t, []string{"Register"}, s.feed(Resume{}))
	require.Equal(t, []Action{Register{Reason: ReasonBoot}}, s.actions)

	s = connected(t)
	s.feed(Reprovision{})
	s.feed(Closed{})
	require.Equal(t, []string{"Connect"}, s.feed(Resume{}))
	s.asksNothing()
}

func TestEveryReasonHasItsWords(t *testing.T) {
	seen := map[string]bool{}
	for r := ReasonNone; r < reasons; r++ {
		require.False(t, seen[r.String()], "%d", r)
		require.Equal(t, r == ReasonNone, r.String() == "")
		seen[r.String()] = true
	}
}
