// SPDX-License-Identifier: Apache-2.0

package rules

import "time"

// Step is the whole of the decision: what follows from an event, and what is due now. The actions
// are to be performed in order.
func Step(s State, e Event, now time.Time, random Random) (State, []Action) {
	t := transition{State: s, draw: draw{now, random}}
	t.apply(e)
	t.fire()
	return t.State, t.actions
}

// Apply says what follows from an event and starts nothing that is due: for a caller who has
// another event, or nobody to perform what would be started.
func Apply(s State, e Event, now time.Time, random Random) (State, []Action) {
	t := transition{State: s, draw: draw{now, random}}
	t.apply(e)
	return t.State, t.actions
}

// Fire starts whatever is due. Call it when a timer is: see [State.Wake].
func Fire(s State, now time.Time, random Random) (State, []Action) {
	t := transition{State: s, draw: draw{now, random}}
	t.fire()
	return t.State, t.actions
}

// apply takes in an event. R and H follow from what is kept for the certificate and for each hub,
// whatever has happened; where every hub that is known speaks another protocol, DPS has to name
// another one.
func (t *transition) apply(e Event) {
	e.apply(t)
	t.planRenewal()
	t.planHub()
	if !t.Connected && t.Hub.Phase == Idle && t.dpsFree() && t.Target().Known() {
		t.planDPS(t.incompatibleUntil(), Registration, ReasonIncompatible)
	}
}

func (t *transition) due(p Phase, at time.Time) bool { return p == Waiting && !at.After(t.now) }

// fire starts whatever is due.
func (t *transition) fire() {
	if t.due(t.Renewal.Phase, t.Renewal.At) {
		t.startRenewal()
	}
	if t.due(t.Hub.Phase, t.Hub.At) {
		target := t.inSlot(t.Hub.Next)
		t.Hub.Phase, t.Hub.Tried = UnderWay, Attempt{Slot: t.Hub.Next, Target: target}
		t.do(Connect{Target: target})
	}
	if t.due(t.DPS.Phase, t.DPS.At) && !t.held() {
		t.DPS.Phase, t.DPS.BehindHub = UnderWay, time.Time{}
		t.attemptBegins()
		t.do(t.dpsRequest())
	}
}

// dpsRequest is what to send now that D is due.
func (t *transition) dpsRequest() Action {
	d := &t.DPS
	switch {
	case d.Clock != ClockForNone:
		return CheckClock{Reason: d.Reason}
	case d.Request == StatusLookup:
		return Lookup{Reason: d.Reason}
	}
	return Register{Operation: d.Operation, Reason: d.Reason}
}
