// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func TestAnotherHubIsRememberedAndTriedAtOnce(t *testing.T) {
	s := warm(t)
	for range 3 {
		s.fails(retry.Server)
		s.waitHub()
	}
	s.rejected()
	did := s.assigned("b")
	require.Equal(t, []string{"Announce", "Remember", "Connect"}, did)
	require.Equal(t, []Action{
		Announce{Assignment: assignedTo("b"), Moved: true},
		Remember{Confirmed: assignedTo("a"), Candidate: assignedTo("b")},
		Connect{Target: assignedTo("b")},
	}, s.actions)
	s.fails(retry.Server)
	require.Equal(t, 7500*time.Millisecond, s.hubIn(), "its failures are its own")
}

func TestTheAttemptAtTheOldHubGivesWayToTheNewOne(t *testing.T) {
	s := warm(t)
	s.feed(Reprovision{})
	did := s.assigned("b")
	require.Equal(t, []string{
		"Announce", "Remember", "CancelConnect", "ReplyAssigned", "Connect",
	}, did)
	require.Equal(t, "b", s.state.Hub.Tried.Target.Hub)
}

func TestTheOldHubGivesWayForHalfAMinuteToAMinute(t *testing.T) {
	drawn(t, 30*time.Second, time.Minute, func(r Random) time.Duration {
		s := warm(t)
		s.rejected()
		s.state.Hubs[0].At, s.state.Hubs[0].GapAt = time.Time{}, time.Time{}
		s.draws(r).assigned("b")
		return s.state.Kept(assignedTo("a")).At.Sub(s.now)
	})
	s := warm(t)
	s.feed(HubFailure{Class: retry.Server, RetryAfter: 10 * time.Minute})
	s.feed(Reprovision{})
	s.assigned("b")
	s.throttled(time.Hour)
	require.Equal(t, "a", s.waitHub())
	require.GreaterOrEqual(t, s.state.Hub.At.Sub(s.state.Outage.Since), 10*time.Minute,
		"and is left alone for as long as it has asked")
}

func TestANewHubThatFailsSharesTheTurnsWithTheOldOne(t *testing.T) {
	s := warm(t)
	s.rejected()
	s.assigned("b")
	turns := map[string]int{}
	for range 40 {
		turns[s.waitHub()]++
		if s.state.Hub.Tried.Target.Hub == "a" {
			s.rejected()
		} else {
			s.fails(retry.Unreachable)
		}
		require.NotEqual(t, ReasonRejected, s.state.DPS.Reason,
			"the rejection by a hub that DPS does not name any more is no question")
	}
	require.GreaterOrEqual(t, turns["a"], 3)
	require.GreaterOrEqual(t, turns["b"], 20)
	s.state.Hubs = [HubsKept]HubRecord{}
	s.fails(retry.Unreachable)
	for s.waitHub() != "a" {
		s.fails(retry.Unreachable)
	}
	s.feed(Connected{})
	require.Equal(t, assignedTo("b"), s.state.Candidate, "the connection was to the other one")
}

func TestTheRejectionOfTheOldHubWidensItsOwnGap(t *testing.T) {
	drawn(t, 48*time.Second, 72*time.Second, func(r Random) time.Duration {
		s := moved(t)
		s.throttled(time.Hour)
		require.Equal(t, "a", s.waitHub())
		require.Empty(t, s.draws(r).rejected())
		return s.hubIn()
	})
	s := moved(t)
	s.throttled(10 * time.Hour)
	var gaps []time.Duration
	for range 7 {
		require.Equal(t, "a", s.waitHub())
		s.rejected()
		gaps = append(gaps, s.hubIn()/time.Minute)
		require.NotEqual(t, ReasonRejected, s.state.DPS.Reason)
	}
	require.Equal(t, []time.Duration{1, 5, 15, 30, 60, 60, 60}, gaps)
}

// The new hub asks to be left alone for ten hours, while the old one accepts.
func TestTheDeviceStaysAtTheOldHubUntilTheNewOneMayBeTried(t *testing.T) {
	const asked = 10 * time.Hour
	s := warm(t)
	s.rejected()
	s.assigned("b")
	s.throttled(asked)
	free := s.now.Add(asked)
	require.LessOrEqual(t, s.hubIn(), time.Minute)
	require.Equal(t, "a", s.waitHub())
	require.Empty(t, s.feed(Connected{}))

	for range 8 {
		s.now = s.now.Add(time.Hour)
		s.feed(Stable{})
		s.fails(retry.Unreachable)
		require.Equal(t, "a", s.waitHub(), "not before")
		s.feed(Connected{})
		s.feed(Reprovision{})
		require.Equal(t, []string{"Announce", "Remember", "ReplyAssigned"}, s.assigned("b"),
			"DPS names the throttled hub again, and the session goes on")
		require.True(t, s.state.Connected)
	}
	s.now = free.Add(time.Minute)
	s.fire()
	require.True(t, s.state.Connected, "the wait alone ends no session")
	s.fails(retry.Unreachable)
	require.Equal(t, "b", s.waitHub(), "the next connection is to the new one")
	s.feed(Connected{})
	require.Equal(t, assignedTo("b"), s.state.Confirmed)
}

func TestDPSNamesTheNewHubAgainAfterItsWaitAndTheSessionMoves(t *testing.T) {
	s := moved(t)
	s.throttled(time.Hour)
	s.waitHub()
	s.feed(Connected{})
	s.now = s.now.Add(time.Hour)
	s.feed(Reprovision{})
	did := s.assigned("b")
	require.Equal(t, []string{
		"Announce", "Remember", "EndSession", "ReplyAssigned", "Connect",
	}, did)
	require.False(t, s.state.Connected)
	require.Equal(t, "b", s.state.Hub.Tried.Target.Hub)
}

func TestAHubThatAskedToBeLeftAloneIsSoUnderAnyDeviceID(t *testing.T) {
	s := warm(t)
	s.throttled(time.Hour)
	s.feed(Reprovision{})
	other := Assignment{Hub: "A", DeviceID: "other"}
	require.NotContains(t, s.feed(Assigned{Assignment: other}), "Connect")
	require.Equal(t, time.Hour, s.hubIn(), "and then where DPS said last")
	s.waitHub()
	require.Equal(t, other, s.state.Hub.Tried.Target)
}

func TestADeviceThatIsThrottledOnTheWayToANewHubKeepsItsAttemptAtTheOldOne(t *testing.T) {
	s := moved(t)
	s.throttled(time.Hour)
	s.waitHub()
	s.feed(Reprovision{})
	require.Equal(t, []string{"Announce", "Remember", "ReplyAssigned"}, s.assigned("b"))
	require.Equal(t, UnderWay, s.state.Hub.Phase)
	require.Equal(t, "a", s.state.Hub.Tried.Target.Hub)

	s = moved(t)
	s.throttled(time.Hour)
	s.waitHub()
	s.feed(Reprovision{})
	s.assigned("a")
	s.feed(Reprovision{})
	require.Equal(t, []string{"Announce", "Remember", "ReplyAssigned"}, s.assigned("b"))
	require.Equal(t, UnderWay, s.state.Hub.Phase)
}

func TestTheOldHubThatDPSNamesAgainIsTriedSoon(t *testing.T) {
	s := moved(t)
	for range 12 {
		s.waitHub()
		s.fails(retry.Server)
	}
	require.Greater(t, s.hubIn(), 20*time.Second)
	s.now = s.now.Add(5 * time.Second)
	s.feed(Reprovision{})
	require.Equal(t, []string{"Announce", "Remember", "ReplyAssigned"}, s.assigned("a"))
	require.Equal(t, Remember{Confirmed: assignedTo("a")}, s.actions[1])
	require.LessOrEqual(t, s.hubIn(), 10*time.Second)
	require.Equal(t, "a", s.waitHub())
	s.fails(retry.Server)
	require.Equal(t, 7500*time.Millisecond, s.hubIn(), "its delays begin anew")
}

func TestTheOldHubThatAnOutageQuestionNamesAgainIsTriedSoon(t *testing.T) {
	drawn(t, 5*time.Second, 10*time.Second, func(r Random) time.Duration {
		s := moved(t)
		s.throttled(time.Hour)
		for range 12 {
			s.waitHub()
			s.fails(retry.Server)
		}
		s.state.DPS.At = s.now.Add(5 * time.Second)
		require.Equal(t, "Lookup", s.waitDPS())
		s.draws(r).assigned("a")
		require.Equal(t, 1, s.state.Outage.Asked)
		require.Equal(t, 12, s.state.Failures(), "it may be what is down")
		return s.hubIn()
	})
	s := moved(t)
	s.throttled(time.Hour)
	s.waitHub()
	s.fails(retry.Server)
	at := s.state.Hub.At
	s.state.DPS.At = s.now
	s.fire()
	s.draws(highest).assigned("a")
	require.Equal(t, at, s.state.Hub.At, "and not later than it would be")
}

func TestAHubThatDPSNamesAnewBeginsAnew(t *testing.T) {
	s := moved(t)
	for range 8 {
		for s.waitHub() != "b" {
			s.fails(retry.Unreachable)
		}
		s.fails(retry.Server)
	}
	s.now = s.now.Add(5 * time.Second)
	s.feed(Reprovision{})
	s.assigned("a")
	require.Equal(t, 8, s.state.Kept(assignedTo("b")).Failures)
	s.feed(Reprovision{})
	require.Contains(t, s.assigned("b"), "Connect")
	require.Zero(t, s.state.Failures())
}

func TestWhatDPSNamesAgainReplacesWhatWasRemembered(t *testing.T) {
	renewed := Assignment{Hub: "A", DeviceID: "sensor-042", Record: "renewed"}
	s := warm(t)
	s.rejected()
	s.feed(Assigned{Assignment: renewed})
	require.Equal(t, renewed, s.state.Confirmed)
	require.Equal(t, Remember{Confirmed: renewed}, s.actions[1])

	s = moved(t)
	s.rejected()
	renewed.Hub = "B"
	s.feed(Assigned{Assignment: renewed})
	require.Equal(t, renewed, s.state.Candidate)
	require.Equal(t, Remember{Confirmed: assignedTo("a"), Candidate: renewed}, s.actions[1])

	s = connected(t)
	s.feed(Reprovision{})
	renewed.Hub = "A"
	s.feed(Assigned{Assignment: renewed})
	require.Equal(t, renewed, s.state.Confirmed)
	require.Equal(t, renewed, s.state.InUse())
}

func TestTheLiveHubThatDPSNamesAgainLeavesNoCandidate(t *testing.T) {
	s := moved(t)
	s.throttled(time.Hour)
	s.waitHub()
	s.feed(Connected{})
	s.feed(Reprovision{})
	s.assigned("a")
	require.Equal(t, Remember{Confirmed: assignedTo("a")}, s.actions[1])
	require.False(t, s.state.Candidate.Known())
}

func TestACandidateThatIsNamedAgainForNoReasonKeepsItsDelays(t *testing.T) {
	s := moved(t)
	for range 12 {
		s.waitHub()
		s.fails(retry.Server)
	}
	at, failures := s.state.Kept(assignedTo("b")).At, s.state.Kept(assignedTo("b")).Failures
	s.now = s.now.Add(5 * time.Second)
	s.feed(Reprovision{})
	s.assigned("b")
	require.Equal(t, at, s.state.Kept(assignedTo("b")).At)
	require.Equal(t, failures, s.state.Kept(assignedTo("b")).Failures)
}

func TestTheAttemptAtAHubThatDPSDoesNotNameAnyMoreIsGivenUp(t *testing.T) {
	s := moved(t)
	s.feed(Reprovision{})
	require.Equal(t, []string{"Announce", "CancelConnect", "Remember", "ReplyAssigned"},
		s.assigned("a"))
	require.LessOrEqual(t, s.hubIn(), 10*time.Second)

	s = warm(t)
	s.rejected()
	s.assigned("c")
	s.throttled(time.Hour)
	s.feed(Reprovision{})
	s.assigned("b")
	require.Equal(t, "b", s.waitHub())
	s.feed(Reprovision{})
	require.Equal(t, []string{"Announce", "Remember", "CancelConnect", "ReplyAssigned"},
		s.assigned("c"), "also where the new one is to be left alone")
	require.Equal(t, "a", s.waitHub())

	s = moved(t)
	s.throttled(time.Hour)
	s.waitHub()
	s.feed(Reprovision{})
	require.Equal(t, []string{"Announce", "Remember", "ReplyAssigned"}, s.assigned("a"),
		"one at the hub that it does name goes on")
	require.Equal(t, UnderWay, s.state.Hub.Phase)
}

func TestTheHubToMakeRoomIsOneThatTheDeviceDoesNotHoldAndMayBeTriedFirst(t *testing.T) {
	s := warm(t)
	s.throttled(3 * time.Hour)
	for _, c := range []struct {
		hub   string
		asked time.Duration
	}{{"b", 20 * time.Hour}, {"c", 18 * time.Hour}, {"d", 19 * time.Hour}} {
		s.feed(Reprovision{})
		s.assigned(c.hub)
		require.Equal(t, c.hub, s.waitHub())
		s.throttled(c.asked)
	}
	s.feed(Reprovision{})
	s.assigned("e")
	s.throttled(time.Hour)
	require.NotZero(t, s.state.NotBefore("a"), "the confirmed one is kept")
	require.NotZero(t, s.state.NotBefore("b"), "it is to be left alone for longer")
	require.Zero(t, s.state.NotBefore("c"))
	require.NotZero(t, s.state.NotBefore("d"))
	require.NotZero(t, s.state.NotBefore("e"))

	b := Boot{Next: retry.Wait, Confirmed: assignedTo("a"), Candidate: assignedTo("b")}
	for i, hub := range []string{"b", "c", "d", "e"} {
		b.Waits.Hubs = append(b.Waits.Hubs, HubWait{
			Hub: hub, DeviceID: "sensor-042", Asked: time.Duration(1+i) * time.Hour,
		})
	}
	s = newScript(t, b)
	require.Equal(t, "a", s.waitHub())
	s.fails(retry.Server)
	require.NotZero(t, s.state.NotBefore("b"), "and so is the candidate")
	require.Zero(t, s.state.NotBefore("c"))
}

// A device that was moved and is moved back at once: the hub that gave way is the one to go to, as
// soon as the floor of its lost connection allows, and the other one gives way now.
func TestAHubThatGaveWayGoesFirstWhenDPSNamesItAgain(t *testing.T) {
	s := warm(t)
	s.feed(Connected{})
	s.feed(Lost{HubFailure: HubFailure{Class: retry.Unreachable}, Stable: true})
	s.feed(Reprovision{})
	s.assigned("b")
	s.feed(Connected{})
	s.feed(Stable{})
	s.pass(time.Second)
	s.feed(Lost{HubFailure: HubFailure{Class: retry.Rejected}, Stable: true})
	s.assigned("a")
	require.LessOrEqual(t, s.hubIn(), 5*time.Second)
	require.Equal(t, "a", s.waitHub())
}
