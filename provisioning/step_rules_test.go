package provisioning

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/retry"
)

// Rows of the tables that show only in the state: what step decides, one event at a time.

// middle draws the middle of every interval.
type middle struct{}

func (middle) Float64() float64 { return 0.5 }

// script feeds events to step, at times of its own.
type script struct {
	t     *testing.T
	now   time.Time
	state state
}

func newScript(t *testing.T, m memory) *script {
	r := defaultRules()
	r.token = true
	s := &script{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), state: state{rules: r}}
	s.feed(event{kind: eventBoot, memory: m})
	return s
}

// warm is a device with a confirmed assignment, whose first attempt at it is under way.
func warm(t *testing.T) *script {
	return newScript(t, memory{verdict: retry.Wait, confirmed: assignedTo("a", SourceStore)})
}

func (s *script) feed(e event) (did []actionKind) {
	var actions []action
	s.state, actions = step(s.state, e, s.now, middle{})
	for _, a := range actions {
		did = append(did, a.kind)
	}
	return did
}

// waitHub lets time pass to the next try at the hub, and leaves DPS out.
func (s *script) waitHub() {
	if s.state.hub.busy {
		return
	}
	require.True(s.t, s.state.hub.armed)
	s.now = later(s.now, s.state.hub.at)
	s.feed(event{kind: eventTick})
	require.True(s.t, s.state.hub.busy)
}

func (s *script) refuse() []actionKind {
	return s.feed(event{kind: eventHubFailed, class: hubconn.Rejected, gone: true})
}

func (s *script) assign(hub string) []actionKind {
	return s.feed(event{kind: eventAssigned, assignment: assignedTo(hub, SourceRegistration)})
}

func TestTheOldHubsRejectionIsNoQuestionWhileThereIsACandidate(t *testing.T) {
	s := newScript(t, memory{verdict: retry.Wait, confirmed: assignedTo("a", SourceStore), candidate: assignedTo("b", SourceStore)})
	s.feed(event{kind: eventHubFailed, class: hubconn.Throttled, wait: 10 * time.Second})
	s.waitHub()
	require.Equal(t, "a", s.state.hub.host)
	require.Empty(t, s.refuse())
	require.False(t, s.pending())
	var turns []string
	for range 8 {
		s.waitHub()
		turns = append(turns, s.state.hub.host)
		s.feed(event{kind: eventHubFailed, class: hubconn.Throttled, wait: 10 * time.Second})
	}
	require.Equal(t, []string{"b", "a", "b", "b", "b", "a", "b", "b"}, turns, "every fourth turn is left to the hub that refused")

	for s.state.hub.host != "a" {
		s.waitHub()
		if s.state.hub.host == "b" {
			s.feed(event{kind: eventHubFailed, class: hubconn.Throttled, wait: 10 * time.Second})
		}
	}
	s.feed(event{kind: eventConnected, slot: slotConfirmed})
	require.NotNil(t, s.state.candidate, "the connection was to the other one")
	require.Equal(t, "a", s.state.confirmed.Hub)
	s.feed(event{kind: eventLost, class: hubconn.Unreachable})
	turns = nil
	for range 4 {
		s.waitHub()
		turns = append(turns, s.state.hub.host)
		s.feed(event{kind: eventHubFailed, class: hubconn.Throttled, wait: 10 * time.Second})
	}
	require.Subset(t, turns, []string{"a", "b"})
	require.NotEqual(t, turns[0], turns[1], "a hub that has accepted again has every second turn")
	require.NotEqual(t, turns[1], turns[2])
}

func TestARejectedDeviceProbesTheHubAtItsCap(t *testing.T) {
	s := warm(t)
	require.Contains(t, s.refuse(), actionRegister)
	require.Equal(t, hubFloor+hubCap/2, s.state.hub.at.Sub(s.now))
}

func TestAnAnswerOfDPSMakesTheHubWorthATry(t *testing.T) {
	s := warm(t)
	s.refuse()
	s.assign("a")
	require.Equal(t, hubFloor+hubFloor/2, s.state.hub.at.Sub(s.now), "the hub may lag behind")
	for range 4 {
		s.waitHub()
		s.feed(event{kind: eventHubFailed, class: hubconn.Server})
	}
	s.feed(event{kind: eventReprovision})
	s.assign("b")
	require.True(t, s.state.hub.busy, "another hub is tried at once")
	s.feed(event{kind: eventHubFailed, class: hubconn.Server})
	require.Equal(t, hubFloor+hubFloor/2, s.state.hub.at.Sub(s.now), "and its failures are its own")
}

func TestARejectionRightAfterAnAnswerWaitsAMinute(t *testing.T) {
	s := newScript(t, memory{verdict: retry.Register})
	s.assign("a")
	s.refuse()
	require.Equal(t, time.Minute, s.state.dps.at.Sub(s.now))
}

func TestAThrottledHubCallsForNoQuestionAboutAnOutage(t *testing.T) {
	s := warm(t)
	s.feed(event{kind: eventHubFailed, class: hubconn.Server})
	require.True(t, s.state.dps.armed)
	s.waitHub()
	s.feed(event{kind: eventHubFailed, class: hubconn.Throttled, wait: time.Hour})
	require.False(t, s.state.dps.armed)
	require.True(t, s.state.hub.armed)
}

func TestAStableConnectionForgetsEveryCount(t *testing.T) {
	for _, kind := range []eventKind{eventLost, eventClosed} {
		s := warm(t)
		for range 3 {
			s.feed(event{kind: eventHubFailed, class: hubconn.Server})
			s.now = s.state.dps.at
			s.feed(event{kind: eventTick})
			s.feed(event{kind: eventHubFailed, class: hubconn.Server})
			s.assign("a")
			s.waitHub()
		}
		require.Positive(t, s.state.outages)
		require.Positive(t, s.state.gap)
		s.feed(event{kind: eventConnected})
		s.feed(event{kind: kind, stable: false})
		require.Positive(t, s.state.outages)
		s.waitHub()
		s.feed(event{kind: eventConnected})
		s.feed(event{kind: kind, stable: true})
		require.Zero(t, s.state.outages)
		require.Zero(t, s.state.gap)
		require.LessOrEqual(t, s.state.hub.n, 1)
	}
	s := warm(t)
	s.refuse()
	s.assign("a")
	s.waitHub()
	s.refuse()
	s.waitHub()
	s.feed(event{kind: eventConnected})
	s.feed(event{kind: eventReprovision})
	s.feed(event{kind: eventAssigned, assignment: assignedTo("b", SourceRegistration), stable: true})
	s.refuse()
	require.Equal(t, time.Minute, s.state.dps.at.Sub(s.now), "so does one that a registration ends")
}

func TestAClockThatIsCorrectedTwiceIsNotToBlame(t *testing.T) {
	s := newScript(t, memory{verdict: retry.Register})
	require.Equal(t, []actionKind{actionRegister}, s.feed(event{kind: eventDPSFailed, failure: dpsClockWrong}), "once more, at once")
	require.Empty(t, s.feed(event{kind: eventDPSFailed, failure: dpsClockWrong}))
	require.Equal(t, dpsCap, s.state.dps.at.Sub(s.now))
}

func TestASuspectClockIsAskedForThreeTimes(t *testing.T) {
	s := warm(t)
	require.Equal(t, []actionKind{actionCheckClock}, s.feed(event{kind: eventHubFailed, class: hubconn.Rejected}))
	for range clockPatience - 1 {
		require.Empty(t, s.feed(event{kind: eventClock, clock: clockSuspect}))
		require.GreaterOrEqual(t, s.state.dps.at.Sub(s.now), hubFloor)
		s.now = s.state.dps.at
		require.Contains(t, s.feed(event{kind: eventTick}), actionCheckClock)
	}
	require.Contains(t, s.feed(event{kind: eventClock, clock: clockSuspect}), actionRegister)
}

func TestACorrectedClockLetsTheHubBeTriedAtOnce(t *testing.T) {
	s := warm(t)
	s.feed(event{kind: eventHubFailed, class: hubconn.Rejected})
	require.Equal(t, []actionKind{actionConnect}, s.feed(event{kind: eventClock, clock: clockCorrected}))
	require.False(t, s.pending())
	require.Equal(t, []actionKind{actionRegister}, s.feed(event{kind: eventHubFailed, class: hubconn.Rejected}), "the clock is right now")
	s.assign("a")
	s.now = s.now.Add(clockValid)
	s.feed(event{kind: eventTick})
	s.feed(event{kind: eventHubFailed, class: hubconn.Rejected})
	require.Equal(t, clockForHub, s.state.dps.clock, "an hour later it may be wrong again")
}

func TestAnUntrustedHubIsLeftAloneForAMinuteWhateverItAsks(t *testing.T) {
	s := warm(t)
	s.feed(event{kind: eventHubFailed, class: hubconn.Untrusted, wait: time.Second})
	require.GreaterOrEqual(t, s.state.hub.at.Sub(s.now), time.Minute)
}

func TestAFailedReprovisionLeavesADeviceWithAHubToItsHub(t *testing.T) {
	s := warm(t)
	s.feed(event{kind: eventHubFailed, class: hubconn.Server})
	require.Equal(t, []actionKind{actionRegister}, s.feed(event{kind: eventReprovision}))
	require.Equal(t, []actionKind{actionReply}, s.feed(event{kind: eventDPSFailed, failure: dpsUnavailable}))
	require.False(t, s.pending())
	require.True(t, s.state.hub.armed)

	s = newScript(t, memory{verdict: retry.Register})
	s.feed(event{kind: eventReprovision})
	s.feed(event{kind: eventDPSFailed, failure: dpsUnavailable})
	require.True(t, s.state.dps.armed, "one without asks again by itself")
}

func TestAnOperationIsNotPolledForAnotherRequest(t *testing.T) {
	s := newScript(t, memory{verdict: retry.Register})
	s.feed(event{kind: eventDPSFailed, failure: dpsThrottled, wait: time.Second, operation: "op-1"})
	s.now = s.state.dps.at
	var actions []action
	s.state, actions = step(s.state, event{kind: eventTick}, s.now, middle{})
	require.Equal(t, "op-1", actions[0].operation)
	s.feed(event{kind: eventDPSFailed, failure: dpsThrottled, wait: time.Second, operation: "op-1"})
	s.now = s.now.Add(time.Minute)
	s.state, actions = step(s.state, event{kind: eventReprovision}, s.now, middle{})
	require.Empty(t, actions[0].operation)
}

func TestARequestNobodyWaitsForAnyMoreIsDropped(t *testing.T) {
	s := warm(t)
	s.feed(event{kind: eventReprovision})
	s.feed(event{kind: eventResume})
	require.False(t, s.pending())
	s = newScript(t, memory{verdict: retry.Register})
	s.feed(event{kind: eventReprovision})
	require.Contains(t, s.feed(event{kind: eventResume}), actionRegister, "unless the device has nowhere to go")
}

func TestWhoWaitsForARunThatGivesUpGoesOn(t *testing.T) {
	c, err := newCore(&Device{IDScope: "0ne00ABCDEF", Attestation: testKey("sensor-042")})
	require.NoError(t, err)
	c.want(1)
	wait := c.take(holderHelper)
	require.NotNil(t, wait)
	c.want(-1)
	select {
	case <-wait:
	default:
		t.Fatal("it would wait for ever")
	}
	require.Nil(t, c.take(holderHelper))
	c.release()
}

func (s *script) pending() bool { return s.state.dps.armed || s.state.dps.busy }

func TestTheOldHubThatDPSNamesAgainIsTriedSoon(t *testing.T) {
	s := newScript(t, memory{verdict: retry.Wait, confirmed: assignedTo("a", SourceStore), candidate: assignedTo("b", SourceStore)})
	for range 12 {
		s.waitHub()
		s.feed(event{kind: eventHubFailed, class: hubconn.Server})
	}
	require.Greater(t, s.state.hub.at.Sub(s.now), time.Minute)
	s.now = s.now.Add(hubFloor)
	s.feed(event{kind: eventReprovision})
	s.assign("a")
	require.Nil(t, s.state.candidate)
	require.LessOrEqual(t, s.state.hub.at.Sub(s.now), 2*hubFloor)
	s.waitHub()
	require.Equal(t, "a", s.state.hub.host)
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
	s.feed(event{kind: eventHubFailed, class: hubconn.Server})
	require.Equal(t, hubFloor+hubFloor/2, s.state.hub.at.Sub(s.now))
}

func TestTheClockIsNotAskedForAgainWithinTheHour(t *testing.T) {
	s := warm(t)
	s.feed(event{kind: eventHubFailed, class: hubconn.Rejected})
	s.feed(event{kind: eventClock, clock: clockRight})
	s.assign("a")
	s.waitHub()
	s.now = s.now.Add(30 * time.Minute)
	s.feed(event{kind: eventHubFailed, class: hubconn.Rejected})
	require.True(t, s.pending())
	require.Equal(t, clockForNone, s.state.dps.clock)
}
