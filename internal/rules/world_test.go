// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// world is a model of DPS and a few hubs around one device, in virtual time. It performs the
// actions of step as Device does, and checks every request against what the service asked for.
type world struct {
	t     *testing.T
	rnd   *rand.Rand
	now   time.Time
	state State

	hubs    map[string]hubMode
	dpsMode dpsMode
	home    string // where DPS sends the device
	skewed  bool   // the device's clock is wrong, until DPS has told the time

	hubDue, dpsDue time.Time  // when the request under way is answered; zero: none
	target         Assignment // of the attempt under way
	dpsAction      Action
	connectedTo    string
	connectedAt    time.Time
	stable         bool

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
	at    time.Time
	event Event
}

var hubNames = []string{"a.example.net", "b.example.net", "c.example.net"}

func newWorld(t *testing.T, seed uint64, boot Boot) *world {
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		hubs: map[string]hubMode{}, home: hubNames[0], notBefore: map[string]time.Time{},
	}
	s := Defaults()
	s.Tokens = seed%2 == 0
	if seed%3 == 0 {
		s.Stagger = time.Hour
	}
	w.state = State{Settings: s}
	w.feed(boot)
	return w
}

func assignedTo(hub string) Assignment { return Assignment{Hub: hub, DeviceID: "sensor-042"} }

func (w *world) feed(e Event) {
	w.history = append(w.history, pastEvent{w.now, e})
	w.decided(Step(w.state, e, w.now, w.rnd))
}

// tick is a timer that is due.
func (w *world) tick() {
	w.history = append(w.history, pastEvent{at: w.now})
	w.decided(Fire(w.state, w.now, w.rnd))
}

func (w *world) decided(s State, actions []Action) {
	w.state = s
	for _, a := range actions {
		w.perform(a)
	}
	w.check()
}

func (w *world) perform(a Action) {
	switch a := a.(type) {
	case Connect:
		hub := a.Target.Hub
		require.True(w.t, a.Target.Known())
		early := w.notBefore[hub].Sub(w.now)
		require.LessOrEqual(w.t, early, time.Duration(0), "hub tried too early\n%s", w)
		w.target, w.hubDue = a.Target,
			w.now.Add(time.Duration(1+w.rnd.Int64N(int64(5*time.Second))))
		if w.hubs[hub] == hubSilent {
			w.hubDue = w.now.Add(30 * time.Second)
		}
	case CancelConnect:
		w.hubDue = time.Time{}
	case Register:
		w.registers++
		w.asked(a)
	case Lookup:
		w.lookups++
		w.asked(a)
	case CheckClock:
		w.clocks++
		w.asked(a)
	case CancelDPS:
		w.dpsDue = time.Time{}
	case EndSession:
		w.connectedTo = ""
	case ReplyAssigned, ReplyFailed, ReplyTooSoon:
		w.waiting = 0
	}
}

// asked takes a request to DPS.
func (w *world) asked(a Action) {
	early := w.dpsNotBefore.Sub(w.now)
	require.LessOrEqual(w.t, early, time.Duration(0), "dps asked too early\n%s", w)
	asked := w.state.Connected && !w.state.DPS.Manual
	require.False(w.t, asked, "dps asked while connected\n%s", w)
	require.True(w.t, w.dpsDue.IsZero(), "two requests to dps at once\n%s", w)
	w.dpsAction, w.dpsDue = a, w.now.Add(time.Duration(1+w.rnd.Int64N(int64(10*time.Second))))
}

// String is the end of the history.
func (w *world) String() string {
	out := ""
	for _, line := range w.history[max(0, len(w.history)-40):] {
		out += fmt.Sprintf("%v %T %+v\n", line.at.Format(time.DateTime), line.event, line.event)
	}
	return out
}

// check holds in every state.
func (w *world) check() {
	s := &w.state
	_, armed := s.Wake()
	hubBusy, dpsBusy := s.Hub.Phase == UnderWay, s.DPS.Phase == UnderWay
	alive := s.Connected || armed || hubBusy || dpsBusy
	require.True(w.t, alive, "nothing will ever happen again\n%s", w)
	require.Equal(w.t, hubBusy, !w.hubDue.IsZero(), "hub request: state and world disagree\n%s", w)
	require.Equal(w.t, dpsBusy, !w.dpsDue.IsZero(), "dps request: state and world disagree\n%s", w)
	require.Equal(
		w.t, s.Connected, w.connectedTo != "", "connection: state and world disagree\n%s", w,
	)
	require.True(w.t, !s.Connected || !s.Confirmed.Known() || s.Confirmed.SameAs(s.InUse()),
		"connected, but not to the confirmed hub\n%s", w)
	require.Equal(w.t, s.DPS.Manual, w.waiting > 0,
		"who asked for a registration waits for nothing, or nobody waits for it\n%s", w)
	for _, a := range []Assignment{s.Confirmed, s.Candidate} {
		tried := !a.Known() || a.Incompatible || s.Connected || s.Hub.Phase != Idle
		require.True(w.t, tried, "a hub is known and never tried\n%s", w)
	}
}

// advance moves to the next thing that happens, at most to end.
func (w *world) advance(end time.Time) {
	next, what := end, 0
	consider := func(at time.Time, kind int) {
		if !at.IsZero() && at.Before(next) {
			next, what = at, kind
		}
	}
	if w.connectedTo != "" && !w.stable {
		consider(w.connectedAt.Add(30*time.Second), 4)
	}
	consider(w.hubDue, 1)
	consider(w.dpsDue, 2)
	if at, ok := w.state.Wake(); ok {
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
		w.tick()
	case 4:
		w.stable = true
		w.feed(Stable{})
	}
}

// disturb changes the world, or the device's place in it.
func (w *world) disturb() {
	switch w.rnd.IntN(12) {
	case 0, 1, 2:
		w.hubs[hubNames[w.rnd.IntN(len(hubNames))]] = hubMode(w.rnd.IntN(int(hubModes)))
	case 3, 4:
		w.dpsMode = dpsMode(w.rnd.IntN(int(dpsModes)))
	case 5:
		w.home = hubNames[w.rnd.IntN(len(hubNames))]
	case 6:
		w.waiting++
		w.feed(Reprovision{})
	case 7:
		w.drop(retry.Class(w.rnd.IntN(5)))
	case 8:
		if w.rnd.IntN(20) == 0 {
			w.feed(Forget{})
		} else if w.state.Connected {
			w.connectedTo = ""
			w.feed(Closed{})
		}
	case 9:
		w.skewed = w.rnd.IntN(10) == 0
	case 10:
		w.feed(Nudge{})
	case 11:
		w.restart()
	}
}

// restart kills the process, and starts it anew some time later.
func (w *world) restart() {
	if w.waiting > 0 {
		return // who waits would be gone
	}
	waits := w.state.Waits(w.now)
	boot := Boot{
		Next: retry.Wait, Confirmed: w.state.Confirmed, Candidate: w.state.Candidate,
	}
	if !w.state.Target().Known() {
		boot.Next = retry.Register
	}
	asleep := time.Duration(w.rnd.Int64N(int64(time.Hour)))
	w.now = w.now.Add(asleep)
	w.connectedTo, w.hubDue, w.dpsDue = "", time.Time{}, time.Time{}
	boot.Waits = waits.After(asleep)
	w.state = State{Settings: w.state.Settings}
	w.feed(boot)
}

func (w *world) drop(class retry.Class) {
	if w.connectedTo == "" {
		return
	}
	e := Lost{HubFailure: HubFailure{Class: class}, Stable: w.stable}
	floor := HubFloor
	switch class {
	case retry.Throttled:
		e.RetryAfter = w.retryAfter()
		floor = e.RetryAfter
	case retry.Untrusted:
		floor = UntrustedFloor
	}
	w.notBefore[w.connectedTo] = w.now.Add(floor)
	w.connectedTo = ""
	w.feed(e)
}
