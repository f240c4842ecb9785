package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// Rows of the tables that show only in the state: one Event at a time.

// middle draws the middle of every interval.
type middle struct{}

func (middle) Float64() float64 { return 0.5 }

// script feeds events to the rules, at times of its own.
type script struct {
	t     *testing.T
	now   time.Time
	state State
}

func newScript(t *testing.T, b Boot) *script {
	settings := Defaults()
	settings.Tokens = true
	s := &script{
		t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), state: State{Settings: settings},
	}
	s.feed(b)
	return s
}

// warm is a device with a confirmed assignment, whose first attempt at it is under way.
func warm(t *testing.T) *script {
	return newScript(t, Boot{Next: retry.Wait, Confirmed: assignedTo("a")})
}

func (s *script) feed(e Event) (did []string) {
	return s.decided(Step(s.state, e, s.now, middle{}))
}

// tick is a timer that is due.
func (s *script) tick() (did []string) { return s.decided(Fire(s.state, s.now, middle{})) }

func (s *script) decided(state State, actions []Action) (did []string) {
	s.state = state
	for _, a := range actions {
		did = append(did, strings.TrimPrefix(fmt.Sprintf("%T", a), "rules."))
	}
	return did
}

// waitHub lets time pass to the next try at the hub, and leaves DPS out.
func (s *script) waitHub() {
	if s.state.Hub.Phase == UnderWay {
		return
	}
	require.Equal(s.t, Waiting, s.state.Hub.Phase)
	s.now = later(s.now, s.state.Hub.At)
	s.tick()
	require.Equal(s.t, UnderWay, s.state.Hub.Phase)
}

func (s *script) refuse() []string {
	return s.feed(HubFailure{Class: retry.Rejected, NameNotFound: true})
}

func (s *script) assign(hub string) []string {
	return s.feed(Assigned{Assignment: assignedTo(hub)})
}

func TestTheOldHubsRejectionIsNoQuestionWhileThereIsACandidate(t *testing.T) {
	s := newScript(
		t, Boot{Next: retry.Wait, Confirmed: assignedTo("a"), Candidate: assignedTo("b")},
	)
	s.feed(HubFailure{Class: retry.Throttled, RetryAfter: 10 * time.Second})
	s.waitHub()
	require.Equal(t, "a", s.state.Hub.Tried.Host)
	require.Empty(t, s.refuse())
	require.False(t, s.pending())
	var turns []string
	for range 8 {
		s.waitHub()
		turns = append(turns, s.state.Hub.Tried.Host)
		s.feed(HubFailure{Class: retry.Throttled, RetryAfter: 10 * time.Second})
	}
	require.Equal(
		t, []string{"b", "a", "b", "b", "b", "a", "b", "b"}, turns,
		"every fourth turn is left to the hub that refused",
	)

	for s.state.Hub.Tried.Host != "a" {
		s.waitHub()
		if s.state.Hub.Tried.Host == "b" {
			s.feed(HubFailure{Class: retry.Throttled, RetryAfter: 10 * time.Second})
		}
	}
	s.feed(Connected{})
	require.True(t, s.state.Candidate.Known(), "the connection was to the other one")
	require.Equal(t, "a", s.state.Confirmed.Hub)
	s.feed(Lost{HubFailure: HubFailure{Class: retry.Unreachable}})
	turns = nil
	for range 4 {
		s.waitHub()
		turns = append(turns, s.state.Hub.Tried.Host)
		s.feed(HubFailure{Class: retry.Throttled, RetryAfter: 10 * time.Second})
	}
	require.Subset(t, turns, []string{"a", "b"})
	require.NotEqual(t, turns[0], turns[1], "a hub that has accepted again has every second turn")
	require.NotEqual(t, turns[1], turns[2])
}

func TestARejectedDeviceProbesTheHubAtItsCap(t *testing.T) {
	s := warm(t)
	require.Contains(t, s.refuse(), "Register")
	require.Equal(t, HubFloor+HubCap/2, s.state.Hub.At.Sub(s.now))
}

func TestAnAnswerOfDPSMakesTheHubWorthATry(t *testing.T) {
	s := warm(t)
	s.refuse()
	s.assign("a")
	require.Equal(t, HubFloor+HubFloor/2, s.state.Hub.At.Sub(s.now), "the hub may lag behind")
	for range 4 {
		s.waitHub()
		s.feed(HubFailure{Class: retry.Server})
	}
	s.feed(Reprovision{})
	s.assign("b")
	require.Equal(t, UnderWay, s.state.Hub.Phase, "another hub is tried at once")
	s.feed(HubFailure{Class: retry.Server})
	require.Equal(t, HubFloor+HubFloor/2, s.state.Hub.At.Sub(s.now), "and its failures are its own")
}

func TestARejectionRightAfterAnAnswerWaitsAMinute(t *testing.T) {
	s := newScript(t, Boot{Next: retry.Register})
	s.assign("a")
	s.refuse()
	require.Equal(t, time.Minute, s.state.DPS.At.Sub(s.now))
}

func TestAThrottledHubCallsForNoQuestionAboutAnOutage(t *testing.T) {
	s := warm(t)
	s.feed(HubFailure{Class: retry.Server})
	require.Equal(t, Waiting, s.state.DPS.Phase)
	s.waitHub()
	s.feed(HubFailure{Class: retry.Throttled, RetryAfter: time.Hour})
	require.NotEqual(t, Waiting, s.state.DPS.Phase)
	require.Equal(t, Waiting, s.state.Hub.Phase)
}

func TestAStableConnectionForgetsEveryCount(t *testing.T) {
	for _, end := range []func(stable bool) Event{
		func(stable bool) Event { return Lost{Stable: stable} },
		func(stable bool) Event { return Closed{Stable: stable} },
	} {
		s := warm(t)
		for range 3 {
			s.feed(HubFailure{Class: retry.Server})
			s.now = s.state.DPS.At
			s.tick()
			s.feed(HubFailure{Class: retry.Server})
			s.assign("a")
			s.waitHub()
		}
		require.Positive(t, s.state.Outages)
		require.Positive(t, s.state.Rejections)
		s.feed(Connected{})
		s.feed(end(false))
		require.Positive(t, s.state.Outages)
		s.waitHub()
		s.feed(Connected{})
		s.feed(end(true))
		require.Zero(t, s.state.Outages)
		require.Zero(t, s.state.Rejections)
		require.LessOrEqual(t, s.state.Hub.Failures, 1)
	}
	s := warm(t)
	s.refuse()
	s.assign("a")
	s.waitHub()
	s.refuse()
	s.waitHub()
	s.feed(Connected{})
	s.feed(Reprovision{})
	s.feed(Assigned{Assignment: assignedTo("b"), Stable: true})
	s.refuse()
	require.Equal(t, time.Minute, s.state.DPS.At.Sub(s.now), "so does one that a registration ends")
}

func TestAClockThatIsCorrectedTwiceIsNotToBlame(t *testing.T) {
	s := newScript(t, Boot{Next: retry.Register})
	require.Equal(
		t, []string{"Register"}, s.feed(DPSFailed{Failure: DPSClockWrong}), "once more, at once",
	)
	require.Empty(t, s.feed(DPSFailed{Failure: DPSClockWrong}))
	require.Equal(t, DPSCap, s.state.DPS.At.Sub(s.now))
}

func TestASuspectClockIsAskedForThreeTimes(t *testing.T) {
	s := warm(t)
	require.Equal(t, []string{"CheckClock"}, s.feed(HubFailure{Class: retry.Rejected}))
	for range MaxClockTries - 1 {
		require.Empty(t, s.feed(ClockAnswered{Clock: ClockSuspect}))
		require.GreaterOrEqual(t, s.state.DPS.At.Sub(s.now), HubFloor)
		s.now = s.state.DPS.At
		require.Contains(t, s.tick(), "CheckClock")
	}
	require.Contains(t, s.feed(ClockAnswered{Clock: ClockSuspect}), "Register")
}

func TestACorrectedClockLetsTheHubBeTriedAtOnce(t *testing.T) {
	s := warm(t)
	s.feed(HubFailure{Class: retry.Rejected})
	require.Equal(t, []string{"Connect"}, s.feed(ClockAnswered{Clock: ClockCorrected}))
	require.False(t, s.pending())
	require.Equal(
		t, []string{"Register"}, s.feed(HubFailure{Class: retry.Rejected}),
		"the clock is right now",
	)
	s.assign("a")
	s.now = s.now.Add(ClockValid)
	s.tick()
	s.feed(HubFailure{Class: retry.Rejected})
	require.Equal(t, ClockForHub, s.state.DPS.Clock, "an hour later it may be wrong again")
}

func TestAnUntrustedHubIsLeftAloneForAMinuteWhateverItAsks(t *testing.T) {
	s := warm(t)
	s.feed(HubFailure{Class: retry.Untrusted, RetryAfter: time.Second})
	require.GreaterOrEqual(t, s.state.Hub.At.Sub(s.now), time.Minute)
}

func TestAFailedReprovisionLeavesADeviceWithAHubToItsHub(t *testing.T) {
	s := warm(t)
	s.feed(HubFailure{Class: retry.Server})
	require.Equal(t, []string{"Register"}, s.feed(Reprovision{}))
	require.Equal(t, []string{"ReplyFailed"}, s.feed(DPSFailed{Failure: DPSUnavailable}))
	require.False(t, s.pending())
	require.Equal(t, Waiting, s.state.Hub.Phase)

	s = newScript(t, Boot{Next: retry.Register})
	s.feed(Reprovision{})
	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.Equal(t, Waiting, s.state.DPS.Phase, "one without asks again by itself")
}

func TestAnOperationIsNotPolledForAnotherRequest(t *testing.T) {
	s := newScript(t, Boot{Next: retry.Register})
	s.feed(DPSFailed{Failure: DPSThrottled, RetryAfter: time.Second, Operation: "op-1"})
	s.now = s.state.DPS.At
	var actions []Action
	s.state, actions = Fire(s.state, s.now, middle{})
	require.Equal(t, "op-1", actions[0].(Register).Operation)
	s.feed(DPSFailed{Failure: DPSThrottled, RetryAfter: time.Second, Operation: "op-1"})
	s.now = s.now.Add(time.Minute)
	s.state, actions = Step(s.state, Reprovision{}, s.now, middle{})
	require.Empty(t, actions[0].(Register).Operation)
}

func TestARequestNobodyWaitsForAnyMoreIsDropped(t *testing.T) {
	s := warm(t)
	s.feed(Reprovision{})
	s.feed(Resume{})
	require.False(t, s.pending())
	s = newScript(t, Boot{Next: retry.Register})
	s.feed(Reprovision{})
	require.Contains(t, s.feed(Resume{}), "Register", "unless the device has nowhere to go")
}

func (s *script) pending() bool { return s.state.DPS.Pending() }

func TestTheOldHubThatDPSNamesAgainIsTriedSoon(t *testing.T) {
	s := newScript(
		t, Boot{Next: retry.Wait, Confirmed: assignedTo("a"), Candidate: assignedTo("b")},
	)
	for range 12 {
		s.waitHub()
		s.feed(HubFailure{Class: retry.Server})
	}
	require.Greater(t, s.state.Hub.At.Sub(s.now), time.Minute)
	s.now = s.now.Add(HubFloor)
	s.feed(Reprovision{})
	s.assign("a")
	require.False(t, s.state.Candidate.Known())
	require.LessOrEqual(t, s.state.Hub.At.Sub(s.now), 2*HubFloor)
	s.waitHub()
	require.Equal(t, "a", s.state.Hub.Tried.Host)
}

func TestAnAnswerAfterManyRejectionsStartsTheHubsDelaysAnew(t *testing.T) {
	s := warm(t)
	s.refuse()
	for range 6 {
		s.waitHub()
		s.refuse()
	}
	s.assign("a")
	s.waitHub()
	s.feed(HubFailure{Class: retry.Server})
	require.Equal(t, HubFloor+HubFloor/2, s.state.Hub.At.Sub(s.now))
}

func TestTheClockIsNotAskedForAgainWithinTheHour(t *testing.T) {
	s := warm(t)
	s.feed(HubFailure{Class: retry.Rejected})
	s.feed(ClockAnswered{Clock: ClockRight})
	s.assign("a")
	s.waitHub()
	s.now = s.now.Add(30 * time.Minute)
	s.feed(HubFailure{Class: retry.Rejected})
	require.True(t, s.pending())
	require.Equal(t, ClockForNone, s.state.DPS.Clock)
}
