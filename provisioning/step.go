package provisioning

import (
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/retry"
)

// random is the only source of chance: uniform in [0, 1).
type random interface{ Float64() float64 }

// step is the whole of the decision: what a device does next, given what it knows and what just happened. It holds no network, file,
// goroutine or clock, so that the rules can be read, explored by a property test and driven by a fleet simulation exactly as a device runs
// them. The state that it is given is not changed; the actions are to be performed in order, and their results come back as events. The files
// step_*.go hold its parts: what follows from the hub's answers, from DPS's, and from what the program asks.
func step(s state, e event, now time.Time, rnd random) (state, []action) {
	t := transition{state: s, now: now, rnd: rnd}
	switch e.kind {
	case eventBoot:
		t.boot(e.memory)
	case eventTick:
	case eventConnected:
		t.connect(e.slot)
	case eventHubFailed:
		t.hub.busy = false
		t.hubFailed(e)
	case eventLost:
		t.lost(e)
	case eventClosed:
		t.closed(e)
	case eventAssigned:
		t.assigned(e)
	case eventNotRegistered:
		t.notRegistered()
	case eventDPSFailed:
		t.dpsFailed(e)
	case eventClock:
		t.clockAnswered(e.clock)
	case eventReprovision:
		t.reprovision()
	case eventForget:
		t.forget()
	case eventResume:
		t.resume()
	}
	if !e.still {
		t.fire()
	}
	return t.state, t.actions
}

// transition is one step under way.
type transition struct {
	state
	now     time.Time
	rnd     random
	actions []action
}

func (t *transition) do(a action) { t.actions = append(t.actions, a) }

func (t *transition) uniform(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(t.rnd.Float64()*float64(hi-lo))
}

func (t *transition) staggered() time.Time {
	return t.now.Add(t.uniform(0, t.rules.stagger))
}

// fire starts whatever is due.
func (t *transition) fire() {
	if t.hub.armed && !t.hub.busy && !t.hub.at.After(t.now) {
		k := t.inSlot(t.hub.slot)
		t.hub.armed, t.hub.busy, t.hub.host = false, true, k.Hub
		t.do(action{kind: actionConnect, slot: t.hub.slot, target: k})
	}
	if t.dps.armed && !t.dps.busy && !t.dps.at.After(t.now) {
		t.dps.armed, t.dps.busy = false, true
		if t.dps.reason == reasonOutage && t.hub.class == hubconn.Untrusted && !t.dps.unknown {
			t.dps.request = requestLookup // a captive portal is never a reason to register
		}
		switch {
		case t.dps.clock != clockForNone:
			t.do(action{kind: actionCheckClock})
		case t.dps.request == requestLookup:
			t.do(action{kind: actionLookup})
		default:
			t.do(action{kind: actionRegister, operation: t.dps.operation})
		}
	}
}

func (t *transition) boot(m memory) {
	t.confirmed, t.candidate = m.confirmed, m.candidate
	switch {
	case m.verdict == retry.Wait && t.target() != nil:
		t.armHub(t.now)
	case m.verdict == retry.Lookup:
		t.askDPS(t.staggered(), requestLookup, reasonStore)
	default:
		t.askDPS(t.staggered(), requestRegister, reasonBoot)
	}
}

// armHub sets H, for the assignment whose turn it is, and never before what that hub asked for.
func (t *transition) armHub(at time.Time) {
	t.hub.slot = t.nextSlot()
	k := t.inSlot(t.hub.slot)
	if k == nil {
		t.hub.armed = false
		return
	}
	if hold := t.hub.held(k.Hub); at.Before(hold) {
		at = hold
	}
	t.hub.armed, t.hub.at = true, at
}

func (t *transition) nextSlot() slot {
	switch {
	case t.candidate == nil:
		return slotConfirmed
	case t.confirmed == nil:
		return slotCandidate
	}
	t.hub.turns++
	every := 2
	if t.hub.oldRefused {
		every = oldHubTurn
	}
	if t.hub.turns%every == 0 {
		return slotConfirmed
	}
	return slotCandidate
}

// askDPS sets D, never before what DPS asked for.
func (t *transition) askDPS(at time.Time, r request, why reason) {
	if t.dps.request != r || r != requestRegister {
		t.dps.operation = ""
	}
	t.dps.request, t.dps.reason, t.dps.clock = r, why, clockForNone
	t.dps.corrected, t.dps.refused, t.dps.unknown = false, false, false
	t.armDPS(at)
}

func (t *transition) armDPS(at time.Time) {
	if at.Before(t.dps.hold) {
		at = t.dps.hold
	}
	t.dps.armed, t.dps.busy, t.dps.at = true, false, at
}

func (t *transition) disarmDPS() {
	if t.dps.busy {
		t.do(action{kind: actionCancelDPS})
	}
	t.dps = dpsTimer{hold: t.dps.hold, quiet: t.dps.quiet, n: t.dps.n}
}

func (t *transition) dpsPending() bool { return t.dps.armed || t.dps.busy }

func (t *transition) connect(which slot) {
	t.connected = true
	t.hub.armed, t.hub.busy, t.hub.slot = false, false, which
	t.hub.hold(t.hub.host, time.Time{})
	if which == slotCandidate && t.candidate != nil {
		t.confirmed, t.candidate = t.candidate, nil
		t.hub.slot = slotConfirmed
		t.do(action{kind: actionRemember})
	}
	t.hub.oldRefused = false
	if !t.dps.manual {
		t.disarmDPS()
	}
}

func (t *transition) lost(e event) {
	t.connected = false
	if e.stable {
		t.settle()
	}
	if t.target() == nil {
		t.hub.hold(t.hub.host, t.now.Add(t.rules.floorOf(e)))
		t.startOver()
		return
	}
	t.hubFailed(e)
}

// closed: the program ended a good connection itself. Nothing is wrong, so nothing waits.
func (t *transition) closed(e event) {
	t.connected = false
	if e.stable {
		t.settle()
	}
	if t.target() == nil {
		t.startOver()
		return
	}
	t.armHub(t.now)
}
