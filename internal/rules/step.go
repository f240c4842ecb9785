package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// Random is the only source of chance: uniform in [0, 1).
type Random interface{ Float64() float64 }

// Step is the whole of the decision: what follows from an event, and what is due now. The actions are
// to be performed in order.
func Step(s State, e Event, now time.Time, random Random) (State, []Action) {
	t := transition{State: s, now: now, random: random}
	e.apply(&t)
	t.fire()
	return t.State, t.actions
}

// Apply says what follows from an event and starts nothing that is due: for a caller who has another
// event, or nobody to perform what would be started.
func Apply(s State, e Event, now time.Time, random Random) (State, []Action) {
	t := transition{State: s, now: now, random: random}
	e.apply(&t)
	return t.State, t.actions
}

// Fire starts whatever is due. Call it when a timer is: see [State.Wake].
func Fire(s State, now time.Time, random Random) (State, []Action) {
	t := transition{State: s, now: now, random: random}
	t.fire()
	return t.State, t.actions
}

// transition is one step under way.
type transition struct {
	State
	now     time.Time
	random  Random
	actions []Action
}

func (t *transition) do(a Action) { t.actions = append(t.actions, a) }

func (t *transition) due(p Phase, at time.Time) bool { return p == Waiting && !at.After(t.now) }

// fire starts whatever is due.
func (t *transition) fire() {
	if t.due(t.Hub.Phase, t.Hub.At) {
		target := t.inSlot(t.Hub.Next)
		t.Hub.Phase, t.Hub.Tried = UnderWay, Attempt{Slot: t.Hub.Next, Host: target.Hub}
		t.do(Connect{Target: target})
	}
	if t.due(t.DPS.Phase, t.DPS.At) {
		t.DPS.Phase = UnderWay
		t.do(t.dpsRequest())
	}
}

// armHub sets H, for the assignment whose turn it is, and never before what that hub asked for.
func (t *transition) armHub(at time.Time) {
	t.Hub.Next = t.nextSlot()
	target := t.inSlot(t.Hub.Next)
	if !target.Known() {
		t.Hub.Phase = Idle
		return
	}
	t.Hub.Phase, t.Hub.At = Waiting, later(at, t.Hub.NotBefore(target.Hub))
}

func (t *transition) nextSlot() Slot {
	switch {
	case !t.Candidate.Known():
		return Confirmed
	case !t.Confirmed.Known():
		return Candidate
	}
	t.Hub.Turns++
	every := 2
	if t.Hub.rejected {
		every = rejectedHubTurn
	}
	if t.Hub.Turns%every == 0 {
		return Confirmed
	}
	return Candidate
}

// planDPS sets D for a request, never before what DPS asked for.
func (t *transition) planDPS(at time.Time, r Request, why Reason) {
	if t.DPS.Request != r || r != Registration {
		t.DPS.Operation = ""
	}
	t.DPS.Request, t.DPS.Reason, t.DPS.Clock = r, why, ClockForNone
	t.DPS.corrected, t.DPS.refused, t.DPS.notFound = false, false, false
	t.armDPS(at)
}

func (t *transition) armDPS(at time.Time) {
	t.DPS.Phase, t.DPS.At = Waiting, later(at, t.DPS.NotBefore)
}

func (t *transition) disarmDPS() {
	if t.DPS.Phase == UnderWay {
		t.do(CancelDPS{})
	}
	t.DPS = DPSTimer{
		NotBefore: t.DPS.NotBefore, ManualNotBefore: t.DPS.ManualNotBefore, Failures: t.DPS.Failures,
	}
}

// apply: at the start a connection to a remembered hub needs no request to DPS at all.
func (e Boot) apply(t *transition) {
	t.Confirmed, t.Candidate = e.Confirmed, e.Candidate
	switch {
	case e.Next == retry.Wait && t.Target().Known():
		t.armHub(t.now)
	case e.Next == retry.Lookup:
		t.planDPS(t.staggered(), StatusLookup, ReasonStore)
	default:
		t.planDPS(t.staggered(), Registration, ReasonBoot)
	}
}

// startOver: nothing is remembered any more.
func (t *transition) startOver() {
	t.Hub.Phase = Idle
	if !t.DPS.Pending() {
		t.planDPS(t.staggered(), Registration, ReasonBoot)
	}
}

// forgetFailures starts all counts anew, after a connection that lasted.
func (t *transition) forgetFailures() {
	t.Hub.Failures, t.DPS.Failures, t.Rejections, t.Outages, t.ClockTries = 0, 0, 0, 0, 0
	t.ClockAt = time.Time{}
}
