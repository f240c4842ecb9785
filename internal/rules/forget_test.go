// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func TestForgetLeavesOfTheHubsOnlyWhatTheyHaveAskedFor(t *testing.T) {
	s := inOutage(t, 3)
	s.waitHub()
	s.fails(retry.Unreachable)
	s.now = s.now.Add(10 * time.Second)
	s.state.Refusals, s.state.Urgent = 2, true
	s.feed(Forget{})
	require.Equal(t, [HubsKept]HubRecord{}, s.state.Hubs)
	require.Zero(t, s.state.Outage)
	require.Zero(t, s.state.Refusals)
	require.False(t, s.state.Urgent)

	s = warm(t)
	s.throttled(time.Hour)
	s.feed(Forget{})
	require.Equal(t, time.Hour, s.state.NotBefore("a").Sub(s.now))
	require.Zero(t, s.state.Kept(assignedTo("a")).Failures)

	s = warm(t)
	s.rejected()
	s.assigned("a")
	s.waitHub()
	s.feed(Connected{})
	s.feed(Forget{})
	require.True(t, s.state.Kept(assignedTo("a")).Accepted, "a live connection is not touched")
}

func TestForgetDropsEverythingButALiveConnection(t *testing.T) {
	s := moved(t).staggered(time.Hour)
	require.Equal(t, []string{"CancelConnect"}, s.feed(Forget{}))
	require.False(t, s.state.Target().Known())
	require.Equal(t, ReasonBoot, s.state.DPS.Reason)
	require.Equal(t, 30*time.Minute, s.dpsIn())
	require.Equal(t, Idle, s.state.Hub.Phase)
	require.Equal(t, []string{"CancelConnect", "Register"}, moved(t).feed(Forget{}))

	s = inOutage(t, 1)
	require.Contains(t, s.feed(Forget{}), "Register")
	require.Equal(t, ReasonBoot, s.state.DPS.Reason)

	s = warm(t)
	s.rejected()
	require.Equal(t, []string{"CancelDPS", "Register"}, s.feed(Forget{}))
	require.Equal(t, []Action{CancelDPS{}, Register{Reason: ReasonBoot}}, s.actions)

	for name, end := range map[string]Event{
		"lost":   Lost{HubFailure: HubFailure{Class: retry.Throttled, RetryAfter: time.Hour}},
		"closed": Closed{},
	} {
		s = connected(t)
		require.Empty(t, s.feed(Forget{}))
		require.True(t, s.state.Connected)
		s.asksNothing()
		require.Equal(t, []string{"Register"}, s.feed(end), name)
		require.Equal(t, []Action{Register{Reason: ReasonBoot}}, s.actions)
		require.Equal(t, Idle, s.state.Hub.Phase)
		require.Zero(t, s.state.Outage)
		if did := s.assigned("a"); name == "closed" {
			require.Contains(t, did, "Connect")
		} else {
			require.Equal(t, time.Hour, s.hubIn(), "the hub asked for it as the connection ended")
		}
	}
}

func TestADeviceThatForgotInAnOutageRegistersWhenTheConnectionEnds(t *testing.T) {
	s := inOutage(t, 1)
	s.waitHub()
	s.feed(Connected{})
	s.feed(Forget{})
	require.Equal(t, []string{"Register"}, s.fails(retry.Unreachable))
	require.Equal(t, []Action{Register{Reason: ReasonBoot}}, s.actions)
}

func TestForgetLeavesTheRegistrationToThoseWhoWaitForIt(t *testing.T) {
	for name, s := range map[string]*script{"offline": warm(t), "connected": connected(t)} {
		s.feed(Reprovision{})
		did := s.feed(Forget{})
		require.NotContains(t, did, "CancelDPS", name)
		require.Equal(t, !s.state.Connected, slices.Contains(did, "CancelConnect"), name)
		require.True(t, s.state.DPS.Manual)
		require.Equal(t, ReasonManual, s.state.DPS.Reason)
		require.Equal(t, UnderWay, s.state.DPS.Phase)
		require.NotContains(t, s.feed(Closed{}), "Register", name)
		require.Contains(t, s.assigned("a"), "ReplyAssigned", name)
	}
}

func TestForgetThenReprovisionToTheSameHubKeepsTheSession(t *testing.T) {
	s := connected(t)
	s.feed(Forget{})
	s.feed(Reprovision{})
	require.Equal(t, []string{"Announce", "Remember", "ReplyAssigned"}, s.assigned("a"))
	require.Equal(t, []Action{
		Announce{Assignment: assignedTo("a"), Moved: false},
		Remember{Confirmed: assignedTo("a")},
		ReplyAssigned{Assignment: assignedTo("a")},
	}, s.actions)
	require.True(t, s.state.Connected)
	require.Equal(t, Attempt{Slot: Confirmed, Target: assignedTo("a")}, s.state.Hub.Tried)
}

func TestAFailedReprovisionOfADeviceThatForgotIsRepeated(t *testing.T) {
	s := warm(t)
	s.feed(Reprovision{})
	s.feed(Forget{})
	require.Equal(t, []string{"ReplyFailed"}, s.feed(DPSFailed{Failure: DPSUnavailable}))
	require.Equal(t, 7500*time.Millisecond, s.dpsIn())
}
