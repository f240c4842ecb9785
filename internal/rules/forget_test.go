package rules

import (
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
