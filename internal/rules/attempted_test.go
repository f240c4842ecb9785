// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// tries applies what the program has to say of an assignment that it has tried itself.
func (s *script) tries(hub string, outcome Event) (actions []Action) {
	s.state, actions = Apply(s.state, Attempted{Assignment: assignedTo(hub)}, s.now, s.random)
	require.Empty(s.t, actions)
	s.state, actions = Apply(s.state, outcome, s.now, s.random)
	return actions
}

// between is a device between two hubs that tries neither.
func between(t *testing.T) *script {
	s := moved(t)
	s.feed(Resume{})
	s.state.Hub.Phase = Idle
	return s
}

func TestAnAttemptOfTheProgramIsThatOfItsSlot(t *testing.T) {
	s := between(t)
	require.Contains(t, s.tries("b", Connected{}), Remember{Confirmed: assignedTo("b")})
	require.Equal(t, assignedTo("b"), s.state.Confirmed)
	require.False(t, s.state.Candidate.Known())

	s = between(t)
	require.Empty(t, s.tries("a", Connected{}), "the new one stays a candidate")
	require.Equal(t, assignedTo("a"), s.state.Confirmed)
	require.Equal(t, assignedTo("b"), s.state.Candidate)
	require.Equal(t, assignedTo("a"), s.state.Hub.Tried.Target)
}

func TestAFailureOfTheProgramsAttemptIsKeptForItsHub(t *testing.T) {
	s := between(t)
	s.tries("b", HubFailure{Class: retry.Server})
	require.Equal(t, 1, s.state.Kept(assignedTo("b")).Failures)
	require.Zero(t, s.state.Kept(assignedTo("a")).Failures)
	require.Equal(t, Confirmed, s.state.Hub.Next, "that has its turn first")
}

func TestAnAttemptAtAHubThatTheDeviceDoesNotHoldChangesNothing(t *testing.T) {
	s := between(t)
	before := s.state
	s.state, _ = Apply(s.state, Attempted{Assignment: assignedTo("c")}, s.now, s.random)
	require.Equal(t, before.Hub.Tried, s.state.Hub.Tried)
	require.NotEqual(t, UnderWay, s.state.Hub.Phase)
}
