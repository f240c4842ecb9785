// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func TestARejectedDeviceRegistersAtOnce(t *testing.T) {
	for _, class := range []retry.Class{retry.Rejected, retry.Caller} {
		s := warm(t)
		require.Equal(t, []string{"Register"}, s.fails(class))
		require.Equal(t, []Action{Register{Reason: ReasonRejected}}, s.actions)
	}
}

func TestStaggerSpreadsTheRegistrationAfterARejection(t *testing.T) {
	drawn(t, 0, time.Hour, func(r Random) time.Duration {
		s := warm(t).staggered(time.Hour)
		state, _ := Apply(s.state, HubFailure{Class: retry.Rejected}, s.now, r)
		require.Equal(t, ReasonRejected, state.DPS.Reason)
		return state.DPS.At.Sub(s.now)
	})
}

// rejectedFor is a device that asks DPS because its hub has rejected it, for the n-th time: each
// time before, DPS has sent it back there.
func rejectedFor(t *testing.T, times int) *script {
	s := warm(t)
	for range times - 1 {
		s.rejected()
		require.Equal(t, UnderWay, s.state.DPS.Phase)
		s.assigned("a")
		s.rejectedUntilTheGap()
	}
	require.Equal(t, []string{"Register"}, s.rejected())
	return s
}

// rejectedUntilTheGap leads from DPS's response to the next try at a gap's end.
func (s *script) rejectedUntilTheGap() {
	for s.waitHub(); s.now.Before(s.state.Kept(s.state.Confirmed).GapAt); s.waitHub() {
		require.Empty(s.t, s.rejected(), "the hub may lag behind DPS")
	}
}

func TestTheGapsAfterRejectionsGrowToAnHour(t *testing.T) {
	for i, minutes := range []time.Duration{1, 5, 15, 30, 60, 60, 60} {
		gap := minutes * time.Minute
		drawn(t, gap*8/10, gap*12/10, func(r Random) time.Duration {
			s := rejectedFor(t, i+1)
			s.draws(r).assigned("a")
			at := s.now
			s.draws(lowest).rejectedUntilTheGap()
			require.Equal(t, []string{"Register"}, s.rejected(), "the hub once, then DPS")
			return s.now.Sub(at)
		})
	}
}

func TestTheHubIsTriedAtItsNextGapThoughDPSDoesNotAnswer(t *testing.T) {
	for i, minutes := range []time.Duration{1, 5, 15, 30, 60, 60} {
		gap := minutes * time.Minute
		drawn(t, gap*8/10, gap*12/10, func(r Random) time.Duration {
			s := warm(t)
			if i > 0 {
				s = rejectedFor(t, i)
				s.assigned("a")
				s.rejectedUntilTheGap()
			}
			require.Equal(t, []string{"Register"}, s.draws(r).rejected())
			return s.hubIn()
		})
	}
}

func TestAHubThatMayLagHasThreeQuickRetriesAndThenOneAtEachGap(t *testing.T) {
	s := rejectedFor(t, 1)
	s.assigned("a")
	at := s.now
	for _, milliseconds := range []time.Duration{7_500, 7_500, 10_000, 15_000} {
		require.Equal(t, milliseconds*time.Millisecond, s.hubIn())
		s.waitHub()
		require.Empty(t, s.rejected())
		s.asksNothing()
	}
	require.Equal(t, time.Minute, s.now.Add(s.hubIn()).Sub(at), "then at the gap's end")
	s.waitHub()
	require.Equal(t, []string{"Register"}, s.rejected())

	s.assigned("a")
	at = s.now
	require.Equal(t, 7_500*time.Millisecond, s.hubIn())
	s.waitHub()
	require.Empty(t, s.rejected(), "and one after DPS's response")
	require.Equal(t, 5*time.Minute, s.now.Add(s.hubIn()).Sub(at))
	s.waitHub()
	require.Equal(t, []string{"Register"}, s.rejected())
}

func TestQuickRetriesThatWereNotUsedAreLost(t *testing.T) {
	s := rejectedFor(t, 1)
	s.assigned("a")
	gap := s.state.Kept(assignedTo("a")).GapAt
	for s.waitHub(); s.now.Before(gap); s.waitHub() {
		s.fails(retry.Server)
	}
	require.Equal(t, []string{"Register"}, s.rejected())
	s.assigned("a")
	s.waitHub()
	require.Empty(t, s.rejected())
	require.Greater(t, s.hubIn(), 4*time.Minute)
}

func TestTheQuickRetriesAreDrawnFromDoublingWindows(t *testing.T) {
	for i, width := range []time.Duration{5, 10, 20} {
		drawn(t, 5*time.Second, (5+width)*time.Second, func(r Random) time.Duration {
			s := rejectedFor(t, 1).draws(lowest)
			s.assigned("a")
			for range i {
				s.waitHub()
				s.rejected()
			}
			s.waitHub()
			s.draws(r).rejected()
			return s.hubIn()
		})
	}
	s := rejectedFor(t, 1)
	s.assigned("a")
	s.now = s.now.Add(55 * time.Second)
	s.fire()
	s.rejected()
	require.Equal(t, 5*time.Second, s.hubIn(), "and never later than the gap's end")
}

func TestAHubThatDPSHasJustNamedMayLag(t *testing.T) {
	for name, s := range map[string]*script{
		"the first assignment": fresh(t), "another hub": rejectedFor(t, 1),
	} {
		s.assigned("b")
		require.Empty(t, s.rejected(), name)
		s.asksNothing()
		require.Equal(t, time.Minute, s.state.Kept(assignedTo("b")).GapAt.Sub(s.now), name)
		require.LessOrEqual(t, s.state.Kept(assignedTo("b")).At.Sub(s.now), 10*time.Second, name)
	}
}

func TestTheCandidateThatDPSNamesAgainMayLag(t *testing.T) {
	s := moved(t)
	require.Equal(t, []string{"Connect", "Register"}, s.rejected(), "who knows when it was named")
	require.Equal(t, Connect{Target: assignedTo("a")}, s.actions[0], "the old one has its turn")
	s.fails(retry.Unreachable)
	require.Equal(t, []string{"Announce", "Remember"}, s.assigned("b"))
	require.Equal(t, []Action{
		Announce{Assignment: assignedTo("b"), Moved: false},
		Remember{Confirmed: assignedTo("a"), Candidate: assignedTo("b")},
	}, s.actions)
	require.Equal(t, 7500*time.Millisecond, s.hubIn())
	require.Equal(t, time.Minute, s.state.Kept(assignedTo("b")).GapAt.Sub(s.now))
	require.Equal(t, "b", s.waitHub(), "of two at once, what DPS said last")
	s.rejected()
	s.asksNothing()
	require.Equal(t, 7500*time.Millisecond, s.state.Kept(assignedTo("b")).At.Sub(s.now))
}

func TestARejectionByAHubThatHadAcceptedGoesToDPSAtOnceButOnlyOnce(t *testing.T) {
	s := rejectedFor(t, 3)
	s.assigned("a")
	s.waitHub()
	s.feed(Connected{})
	require.Equal(t, []string{"Register"}, s.rejected(), "it does not lag")
	require.Equal(t, 30*time.Minute, s.state.Kept(assignedTo("a")).GapAt.Sub(s.now))
	s.assigned("a")
	s.waitHub()
	s.feed(Connected{})
	require.Empty(t, s.rejected(), "once")
	require.Greater(t, s.hubIn(), 29*time.Minute)

	s.waitHub()
	s.feed(Connected{})
	s.feed(Stable{})
	require.Equal(t, []string{"Register"}, s.rejected(), "until a stable connection")
	s.assigned("a")
	s.waitHub()
	s.feed(Connected{})
	require.Equal(t, []string{"Register"}, s.rejected())
}

func TestARejectionThatDPSHasNotAnsweredIsNotTheNextUrgentOne(t *testing.T) {
	s := connected(t)
	require.Equal(t, []string{"Register"}, s.rejected())
	s.feed(DPSFailed{Failure: DPSRefused})
	s.waitHub()
	require.Empty(t, s.rejected())
	s.waitDPS()
	s.assigned("a")
	s.waitHub()
	s.feed(Connected{})
	require.Equal(t, []string{"Register"}, s.rejected())
}

func TestAHubThatAcceptedBeforeDPSsLastResponseMayLag(t *testing.T) {
	s := rejectedFor(t, 1)
	s.assigned("a")
	s.waitHub()
	s.feed(Connected{})
	s.fails(retry.Unreachable)
	s.feed(Reprovision{})
	s.assigned("a")
	s.waitHub()
	require.Empty(t, s.rejected())
	s.asksNothing()
}

func TestARejectionWhileDPSIsAskedIsNoSecondQuestion(t *testing.T) {
	s := rejectedFor(t, 1)
	for _, gap := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute} {
		require.Equal(t, gap, s.hubIn())
		s.waitHub()
		require.Empty(t, s.rejected())
	}
	s.feed(DPSFailed{Failure: DPSUnavailable})
	s.now = s.now.Add(time.Second)
	at := s.state.DPS.At
	s.state.Hubs[0].GapAt = s.now
	s.state.Hub.Phase = UnderWay
	require.Empty(t, s.rejected())
	require.Equal(t, at, s.state.DPS.At, "nor does it bring the planned one forward")
}

func TestARejectionTakesThePlaceOfAQuestionAboutAnOutage(t *testing.T) {
	s := warm(t)
	s.fails(retry.Server)
	require.Equal(t, ReasonOutage, s.state.DPS.Reason)
	s.waitHub()
	require.Equal(t, []string{"Register"}, s.rejected())

	s = warm(t)
	s.fails(retry.Server)
	s.waitDPS()
	s.waitHub()
	require.Empty(t, s.rejected(), "unless that is under way")
}
