package provisioning

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// stepWorld is a model of DPS and a few hubs around one device, in virtual time. It performs the actions of step as Device does, and checks
// every request against what the service asked for.
type stepWorld struct {
	t     *testing.T
	rnd   *rand.Rand
	now   time.Time
	state state

	hubs    map[string]hubMode
	dpsMode dpsMode
	home    string // where DPS sends the device
	skewed  bool   // the device's clock is wrong, until DPS has told the time

	hubDue, dpsDue time.Time // when the request under way is answered; zero: none
	hubAction      action
	dpsAction      action
	connectedTo    string
	connectedAt    time.Time

	notBefore    map[string]time.Time // by hub
	dpsNotBefore time.Time
	registers    int
	lookups      int
	clocks       int
	waiting      int // callers of Reprovision without an answer
	history      []pastEvent
}

// pastEvent is printed when a check fails.
type pastEvent struct {
	at time.Time
	event
}

type hubMode int

const (
	hubAccepts hubMode = iota
	hubRejects
	hubThrottles
	hubBreaks
	hubSilent
	hubUntrusted
	hubExpired
	hubGone
	hubModes
)

type dpsMode int

const (
	dpsAssigns dpsMode = iota
	dpsThrottles
	dpsBreaks
	dpsRefuses
	dpsForgetsOperations
	dpsKnowsNothing
	dpsFails401
	dpsModes
)

var stepHubs = []string{"a.example.net", "b.example.net", "c.example.net"}

func newStepWorld(t *testing.T, seed uint64, boot memory) *stepWorld {
	w := &stepWorld{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		hubs: map[string]hubMode{}, home: stepHubs[0], notBefore: map[string]time.Time{},
	}
	r := defaultRules()
	r.token = seed%2 == 0
	if seed%3 == 0 {
		r.stagger = time.Hour
	}
	w.state = state{rules: r}
	w.feed(event{kind: eventBoot, memory: boot})
	return w
}

func assignedTo(hub string, source Source) *known {
	return &known{Assignment: dps.Assignment{Hub: hub, DeviceID: "sensor-042", Status: dps.StatusAssigned}, source: source}
}

func (w *stepWorld) feed(e event) {
	w.history = append(w.history, pastEvent{w.now, e})
	var actions []action
	w.state, actions = step(w.state, e, w.now, w.rnd)
	for _, a := range actions {
		w.perform(a)
	}
	w.check()
}

func (w *stepWorld) perform(a action) {
	switch a.kind {
	case actionConnect:
		require.NotNil(w.t, a.target)
		require.False(w.t, w.now.Before(w.notBefore[a.target.Hub]), "hub tried %v too early\n%s", w.notBefore[a.target.Hub].Sub(w.now), w)
		w.hubAction, w.hubDue = a, w.now.Add(time.Duration(1+w.rnd.Int64N(int64(5*time.Second))))
		if w.hubs[a.target.Hub] == hubSilent {
			w.hubDue = w.now.Add(30 * time.Second)
		}
	case actionCancelConnect:
		w.hubDue = time.Time{}
	case actionRegister, actionLookup, actionCheckClock:
		require.False(w.t, w.now.Before(w.dpsNotBefore), "dps asked %v too early\n%s", w.dpsNotBefore.Sub(w.now), w)
		require.False(w.t, w.state.connected && !w.state.dps.manual, "dps asked while connected\n%s", w)
		require.True(w.t, w.dpsDue.IsZero(), "two requests to dps at once\n%s", w)
		w.dpsAction, w.dpsDue = a, w.now.Add(time.Duration(1+w.rnd.Int64N(int64(10*time.Second))))
		switch a.kind {
		case actionRegister:
			w.registers++
		case actionLookup:
			w.lookups++
		default:
			w.clocks++
		}
	case actionCancelDPS:
		w.dpsDue = time.Time{}
	case actionEndSession:
		w.connectedTo = ""
	case actionReply, actionReplyHeld:
		w.waiting = 0
	}
}

// String is the end of the history.
func (w *stepWorld) String() string {
	out := ""
	for _, line := range w.history[max(0, len(w.history)-40):] {
		out += fmt.Sprintf("%v event %d class %v wait %v\n", line.at.Format(time.DateTime), line.kind, line.class, line.wait)
	}
	return out
}

// check holds in every state.
func (w *stepWorld) check() {
	s := &w.state
	_, armed := s.wake()
	require.True(w.t, s.connected || armed || s.hub.busy || s.dps.busy, "nothing will ever happen again\n%s", w)
	require.Equal(w.t, s.hub.busy, !w.hubDue.IsZero(), "hub request: state and world disagree\n%s", w)
	require.Equal(w.t, s.dps.busy, !w.dpsDue.IsZero(), "dps request: state and world disagree\n%s", w)
	require.Equal(w.t, s.connected, w.connectedTo != "", "connection: state and world disagree\n%s", w)
	require.Equal(w.t, s.dps.manual, w.waiting > 0, "who asked for a registration waits for nothing, or nobody waits for it\n%s", w)
	if s.target() != nil && !s.connected {
		require.True(w.t, s.hub.armed || s.hub.busy, "a hub is known and never tried\n%s", w)
	}
}

// advance moves to the next thing that happens, at most to end.
func (w *stepWorld) advance(end time.Time) {
	next, what := end, 0
	consider := func(at time.Time, kind int) {
		if !at.IsZero() && at.Before(next) {
			next, what = at, kind
		}
	}
	consider(w.hubDue, 1)
	consider(w.dpsDue, 2)
	if at, ok := w.state.wake(); ok {
		if at.Before(w.now) {
			at = w.now
		}
		consider(at, 3)
	}
	if next.After(w.now) {
		w.now = next
	}
	switch what {
	case 1:
		w.hubAnswers()
	case 2:
		w.dpsAnswers()
	case 3:
		w.feed(event{kind: eventTick})
	}
}

func (w *stepWorld) retryAfter() time.Duration {
	return []time.Duration{time.Second, 30 * time.Second, 10 * time.Minute, time.Hour}[w.rnd.IntN(4)]
}

func (w *stepWorld) hubAnswers() {
	a := w.hubAction
	w.hubDue = time.Time{}
	hub := a.target.Hub
	e := event{kind: eventHubFailed, slot: a.slot}
	floor := hubFloor
	mode := w.hubs[hub]
	if w.skewed && w.state.rules.token && mode == hubAccepts {
		mode = hubRejects
	}
	switch mode {
	case hubAccepts:
		w.connectedTo, w.connectedAt = hub, w.now
		w.feed(event{kind: eventConnected, slot: a.slot})
		return
	case hubRejects:
		e.class = hubconn.Rejected
	case hubGone:
		e.class, e.gone = hubconn.Rejected, true
	case hubThrottles:
		e.class, e.wait = hubconn.Throttled, w.retryAfter()
		floor = e.wait
	case hubBreaks:
		e.class = hubconn.Server
	case hubSilent:
		e.class = hubconn.Unreachable
	case hubUntrusted, hubExpired:
		e.class, e.wait, e.dates = hubconn.Untrusted, untrustedFloor, mode == hubExpired
		floor = untrustedFloor
	}
	w.notBefore[hub] = w.now.Add(floor)
	w.feed(e)
}

func (w *stepWorld) dpsAnswers() {
	a := w.dpsAction
	w.dpsDue = time.Time{}
	if a.kind == actionCheckClock {
		e := event{kind: eventClock, clock: clockRight}
		switch {
		case w.dpsMode == dpsBreaks && w.skewed:
			e.clock = clockSuspect
		case w.dpsMode == dpsBreaks:
			e.clock = clockUnknown
		case w.skewed:
			e.clock, w.skewed = clockCorrected, false
			w.notBefore = map[string]time.Time{} // once more, with a fresh token
		}
		w.feed(e)
		return
	}
	e := event{kind: eventDPSFailed}
	if w.skewed && w.state.rules.token && w.dpsMode == dpsAssigns {
		w.skewed = false
		w.notBefore = map[string]time.Time{}
		w.feed(event{kind: eventDPSFailed, failure: dpsClockWrong})
		return
	}
	switch w.dpsMode {
	case dpsThrottles:
		e.failure, e.wait, e.operation = dpsThrottled, w.retryAfter(), "op"
		w.dpsNotBefore = w.now.Add(e.wait)
	case dpsBreaks:
		e.failure = dpsUnavailable
	case dpsRefuses:
		e.failure = dpsRefused
	case dpsForgetsOperations:
		e.failure = dpsOperationUnknown
	case dpsFails401:
		e.failure = dpsClockUnknown
	default:
		if w.dpsMode == dpsKnowsNothing && a.kind == actionLookup {
			w.feed(event{kind: eventNotRegistered})
			return
		}
		source := SourceRegistration
		if a.kind == actionLookup {
			source = SourceLookup
		}
		w.feed(event{kind: eventAssigned, assignment: assignedTo(w.home, source)})
		return
	}
	w.feed(e)
}

// disturb changes the world, or the device's place in it.
func (w *stepWorld) disturb() {
	switch w.rnd.IntN(10) {
	case 0, 1, 2:
		w.hubs[stepHubs[w.rnd.IntN(len(stepHubs))]] = hubMode(w.rnd.IntN(int(hubModes)))
	case 3, 4:
		w.dpsMode = dpsMode(w.rnd.IntN(int(dpsModes)))
	case 5:
		w.home = stepHubs[w.rnd.IntN(len(stepHubs))]
	case 6:
		w.waiting++
		w.feed(event{kind: eventReprovision})
	case 7:
		w.drop(hubconn.Class(w.rnd.IntN(5)))
	case 8:
		if w.rnd.IntN(20) == 0 {
			w.feed(event{kind: eventForget})
		} else if w.state.connected {
			w.connectedTo = ""
			w.feed(event{kind: eventClosed})
		}
	case 9:
		w.skewed = w.rnd.IntN(10) == 0
	}
}

func (w *stepWorld) drop(class hubconn.Class) {
	if w.connectedTo == "" {
		return
	}
	e := event{kind: eventLost, class: class, stable: w.now.Sub(w.connectedAt) >= stableAfter}
	floor := hubFloor
	switch class {
	case hubconn.Throttled:
		e.wait = w.retryAfter()
		floor = e.wait
	case hubconn.Untrusted:
		floor = untrustedFloor
	}
	w.notBefore[w.connectedTo] = w.now.Add(floor)
	w.connectedTo = ""
	w.feed(e)
}

func bootMemories() []memory {
	return []memory{
		{verdict: retry.Wait, confirmed: assignedTo(stepHubs[0], SourceStore)},
		{verdict: retry.Wait, confirmed: assignedTo(stepHubs[0], SourceStore), candidate: assignedTo(stepHubs[1], SourceStore)},
		{verdict: retry.Wait, candidate: assignedTo(stepHubs[1], SourceStore)},
		{verdict: retry.Register},
		{verdict: retry.Lookup},
	}
}

func TestFromAnyHistoryTheDeviceConnectsOnceServicesAnswer(t *testing.T) {
	const events = 10_000
	for seed := range uint64(15) {
		w := newStepWorld(t, seed, bootMemories()[seed%5])
		for fed := 0; fed < events; fed++ {
			if w.rnd.IntN(4) == 0 {
				w.disturb()
			}
			w.advance(w.now.Add(time.Duration(w.rnd.Int64N(int64(20 * time.Minute)))))
		}
		clear(w.hubs)
		w.dpsMode, w.home = dpsAssigns, stepHubs[w.rnd.IntN(len(stepHubs))]
		if w.connectedTo != "" {
			w.drop(hubconn.Unreachable)
		}
		for deadline := w.now.Add(30 * time.Hour); w.connectedTo == "" && w.now.Before(deadline); {
			w.advance(deadline)
		}
		require.NotEmpty(t, w.connectedTo, "seed %d: not connected a day after everything works again\n%s", seed, w)
	}
}

func TestNoRequestToDPSWhileTheConfirmedHubAccepts(t *testing.T) {
	for seed := range uint64(20) {
		w := newStepWorld(t, seed, memory{verdict: retry.Wait, confirmed: assignedTo(stepHubs[0], SourceStore)})
		for range 2_000 {
			switch w.rnd.IntN(3) {
			case 0:
				w.drop(hubconn.Unreachable)
			case 1:
				w.drop(hubconn.Server)
			}
			w.advance(w.now.Add(time.Duration(w.rnd.Int64N(int64(3 * time.Minute)))))
		}
		require.Zero(t, w.registers+w.lookups+w.clocks, "seed %d", seed)
	}
}

func TestStepLeavesItsArgumentAlone(t *testing.T) {
	w := newStepWorld(t, 4, memory{verdict: retry.Wait, confirmed: assignedTo(stepHubs[0], SourceStore)})
	before := w.state
	same := before
	_, _ = step(before, event{kind: eventHubFailed, class: hubconn.Rejected}, w.now, w.rnd)
	require.Equal(t, same, before)
}
