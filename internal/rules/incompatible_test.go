// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func incompatible(hub string) Assignment {
	return Assignment{Hub: hub, DeviceID: "sensor-042", Incompatible: true}
}

func TestAHubOfAnotherProtocolIsLeftAloneAndDPSAskedAfterAnHour(t *testing.T) {
	drawn(t, time.Hour, 72*time.Minute, func(r Random) time.Duration {
		s := warm(t).draws(r)
		require.Empty(t, s.fails(retry.Incompatible))
		require.Equal(t, 10*time.Minute, s.hubIn()-s.dpsIn(), "the hub after DPS")
		return s.dpsIn()
	})
	s := warm(t)
	s.fails(retry.Incompatible)
	require.Equal(t, "Register", s.waitDPS())
	require.Equal(t, []Action{Register{Reason: ReasonIncompatible}}, s.actions)
	s.assigned("a")
	require.Equal(t, 7500*time.Millisecond, s.hubIn(), "it may speak ours now")
}

func TestAHubOfAnotherProtocolIsTriedThoughDPSDoesNotAnswer(t *testing.T) {
	s := warm(t)
	s.fails(retry.Incompatible)
	s.waitDPS()
	s.feed(DPSFailed{Failure: DPSRefused})
	require.Equal(t, 10*time.Minute, s.hubIn())
	at := s.state.DPS.At
	s.waitHub()
	s.fails(retry.Incompatible)
	require.Equal(t, at, s.state.DPS.At, "and is no second question")
}

func TestAHubOfAnotherProtocolTakesThePlaceOfAQuestionAboutAnOutage(t *testing.T) {
	s := warm(t)
	s.fails(retry.Server)
	s.waitHub()
	s.fails(retry.Incompatible)
	require.Equal(t, ReasonIncompatible, s.state.DPS.Reason)
	require.Equal(t, 66*time.Minute, s.dpsIn())

	s = warm(t)
	s.rejected()
	s.waitHub()
	s.fails(retry.Incompatible)
	require.Equal(t, ReasonRejected, s.state.DPS.Reason, "and of no other")
}

func TestAnAssignmentToAHubOfAnotherProtocolIsNeverTried(t *testing.T) {
	drawn(t, time.Hour, 72*time.Minute, func(r Random) time.Duration {
		s := fresh(t).draws(r)
		did := s.feed(Assigned{Assignment: incompatible("a")})
		require.Equal(t, []string{"Announce", "Remember"}, did)
		require.Equal(t, Remember{Candidate: incompatible("a")}, s.actions[1])
		require.Equal(t, Idle, s.state.Hub.Phase)
		require.Equal(t, Registration, s.state.DPS.Request)
		require.Equal(t, ReasonIncompatible, s.state.DPS.Reason)
		return s.dpsIn()
	})
	s := fresh(t)
	s.feed(Assigned{Assignment: incompatible("a")})
	at := s.state.DPS.At
	require.Empty(t, s.pass(10*time.Minute))
	require.Empty(t, s.feed(Nudge{}))
	require.Equal(t, at, s.state.DPS.At, "whatever happens meanwhile")
	for range 5 {
		s.waitDPS()
		require.Empty(t, s.feed(Progress{Operation: "op-1"}))
		require.Equal(t, UnderWay, s.state.DPS.Phase)
		s.feed(Assigned{Assignment: incompatible("a")})
		require.Equal(t, Idle, s.state.Hub.Phase)
	}
	s.waitDPS()
	require.Contains(t, s.assigned("b"), "Connect")
}

func TestAnOlderAssignmentKeepsItsTurnsBesideAnIncompatibleOne(t *testing.T) {
	s := warm(t)
	s.rejected()
	did := s.feed(Assigned{Assignment: incompatible("b")})
	require.Equal(t, []string{"Announce", "Remember"}, did)
	at := s.state.DPS.At
	turns := 0
	for s.state.Hub.At.Before(at) {
		require.Equal(t, "a", s.waitHub())
		require.Empty(t, s.rejected())
		turns++
	}
	require.Equal(t, 4, turns, "after 1, 5, 15 and 30 minutes")
	require.Equal(t, at, s.state.DPS.At)
	s.waitHub()
	s.fails(retry.Server)
	require.Equal(t, at, s.state.DPS.At)
	require.Equal(t, ReasonIncompatible, s.state.DPS.Reason)
	s.waitHub()
	s.feed(Connected{})
	s.asksNothing()
	require.Equal(t, incompatible("b"), s.state.Candidate)
	s.feed(Stable{})
	require.Equal(t, []string{"Register"}, s.rejected(), "its rejection is a question")
}

func TestAnOlderHubThatFailsDoesNotBringTheQuestionAboutAnIncompatibleOneForward(t *testing.T) {
	s := warm(t)
	s.feed(Reprovision{})
	s.feed(Assigned{Assignment: incompatible("b")})
	s.fails(retry.Server)
	require.Equal(t, ReasonIncompatible, s.state.DPS.Reason)
	require.Equal(t, 66*time.Minute, s.dpsIn())
}

func TestAnAssignmentThatTurnsIncompatibleIsNotTriedAnyMore(t *testing.T) {
	s := moved(t)
	s.feed(Reprovision{})
	did := s.feed(Assigned{Assignment: incompatible("a")})
	require.Equal(t, []string{"Announce", "CancelConnect", "Remember", "ReplyAssigned"}, did)
	require.Equal(t, Remember{Confirmed: incompatible("a")}, s.actions[2])
	require.Equal(t, Idle, s.state.Hub.Phase)

	s = warm(t)
	s.feed(Reprovision{})
	did = s.feed(Assigned{Assignment: incompatible("a")})
	require.Equal(t, []string{"Announce", "CancelConnect", "Remember", "ReplyAssigned"}, did)

	s = moved(t)
	s.feed(Reprovision{})
	did = s.feed(Assigned{Assignment: incompatible("c")})
	require.Equal(t, []string{
		"Announce", "CancelConnect", "Remember", "ReplyAssigned", "Connect",
	}, did, "nor the candidate before it")
	require.Equal(t, Connect{Target: assignedTo("a")}, s.actions[4])

	s = warm(t)
	s.feed(Reprovision{})
	did = s.feed(Assigned{Assignment: incompatible("b")})
	require.Equal(t, []string{"Announce", "Remember", "ReplyAssigned"}, did)
	require.Equal(t, UnderWay, s.state.Hub.Phase, "the attempt at another hub goes on")
}

func TestAConnectionGoesOnWhateverProtocolDPSSaysItsHubSpeaks(t *testing.T) {
	s := warm(t)
	s.feed(Connected{})
	s.feed(Reprovision{})
	did := s.feed(Assigned{Assignment: incompatible("a")})
	require.Equal(t, []string{"Announce", "Remember", "ReplyAssigned"}, did)
	require.Equal(t, Remember{Confirmed: assignedTo("a")}, s.actions[1])

	s.feed(Reprovision{})
	did = s.feed(Assigned{Assignment: incompatible("b")})
	require.Equal(t, []string{"Announce", "Remember", "ReplyAssigned"}, did)
	s.asksNothing()
	require.True(t, s.state.Connected)
	s.fails(retry.Unreachable)
	require.Equal(t, "a", s.waitHub())
}

func TestADeviceWithNothingButIncompatibleAssignmentsAsksAgain(t *testing.T) {
	lost := func() *script {
		s := connected(t)
		s.feed(Forget{})
		s.feed(Reprovision{})
		s.feed(Assigned{Assignment: incompatible("b")})
		return s
	}
	for name, e := range map[string]Event{
		"closed": Closed{}, "lost": Lost{HubFailure: HubFailure{Class: retry.Server}},
		"throttled": Lost{HubFailure: HubFailure{Class: retry.Throttled, RetryAfter: time.Hour}},
	} {
		s := lost()
		require.Empty(t, s.feed(e), name)
		require.Equal(t, ReasonIncompatible, s.state.DPS.Reason, name)
		require.Equal(t, Registration, s.state.DPS.Request, name)
		require.Equal(t, 66*time.Minute, s.dpsIn(), name)
	}

	s := lost()
	s.feed(Reprovision{})
	s.feed(Closed{})
	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.Equal(t, ReasonIncompatible, s.state.DPS.Reason)
	require.Equal(t, 66*time.Minute, s.dpsIn())
}

func TestABootWithNothingButIncompatibleAssignmentsAsksAfterAnHour(t *testing.T) {
	drawn(t, time.Hour, 72*time.Minute, func(r Random) time.Duration {
		boot := Boot{Next: retry.Wait, Candidate: incompatible("a")}
		s := newScriptWith(t, Defaults(), boot, r)
		require.Equal(t, Idle, s.state.Hub.Phase)
		require.Equal(t, Registration, s.state.DPS.Request)
		require.Equal(t, ReasonIncompatible, s.state.DPS.Reason)
		return s.dpsIn()
	})
	s := newScript(
		t, Boot{Next: retry.Wait, Confirmed: assignedTo("a"), Candidate: incompatible("b")},
	)
	require.Equal(t, "a", s.waitHub())
	s.asksNothing()
}
