package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// Step is the whole of the decision: what follows from an event, and what is due now. The actions
// are to be performed in order.
func Step(s State, e Event, now time.Time, random Random) (State, []Action) {
	t := transition{State: s, draw: draw{now, random}}
	e.apply(&t)
	t.fire()
	return t.State, t.actions
}

// Apply says what follows from an event and starts nothing that is due: for a caller who has
// another event, or nobody to perform what would be started.
func Apply(s State, e Event, now time.Time, random Random) (State, []Action) {
	t := transition{State: s, draw: draw{now, random}}
	e.apply(&t)
	return t.State, t.actions
}

// Fire starts whatever is due. Call it when a timer is: see [State.Wake].
func Fire(s State, now time.Time, random Random) (State, []Action) {
	t := transition{State: s, draw: draw{now, random}}
	t.fire()
	return t.State, t.actions
}

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

// dpsRequest is what to send now that D is due.
func (t *transition) dpsRequest() Action {
	d := &t.DPS
	if d.Reason == ReasonOutage && t.Hub.Class == retry.Untrusted && !d.notFound {
		d.Request = StatusLookup // a captive portal is never a reason to register
	}
	switch {
	case d.Clock != ClockForNone:
		return CheckClock{Reason: d.Reason}
	case d.Request == StatusLookup:
		return Lookup{Reason: d.Reason}
	}
	return Register{Operation: d.Operation, Reason: d.Reason}
}
