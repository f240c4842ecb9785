package rules

import "time"

// transition is one step under way.
type transition struct {
	State
	draw
	actions []Action
}

func (t *transition) do(a Action) { t.actions = append(t.actions, a) }

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
	every := HubTurn
	if t.Hub.rejected {
		every = RejectedHubTurn
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
		NotBefore: t.DPS.NotBefore, ManualNotBefore: t.DPS.ManualNotBefore,
		Failures: t.DPS.Failures,
	}
}

// startOver: nothing is remembered any more.
func (t *transition) startOver() {
	t.Hub.Phase = Idle
	if !t.DPS.Pending() {
		t.planDPS(t.staggered(t.Settings.Stagger), Registration, ReasonBoot)
	}
}

// forgetFailures starts all counts anew, after a connection that lasted.
func (t *transition) forgetFailures() {
	t.Hub.Failures, t.DPS.Failures, t.Rejections, t.Outages, t.ClockTries = 0, 0, 0, 0, 0
	t.ClockAt = time.Time{}
}

// armOutage sets the next question about a silent hub.
func (t *transition) armOutage() {
	at := t.outage(t.Outages)
	r := StatusLookup
	if t.Outages >= OutageLookups {
		r = Registration // the operator may have moved the fleet off a dead hub
	}
	t.planDPS(at, r, ReasonOutage)
}

func (t *transition) tryHubSoon() {
	t.Hub.Failures = 0
	t.armHub(t.backOff(t.Settings.Hub, 1, 0))
}

// retryAtCap: DPS knows the device's request and refuses it. Asking again soon would not help,
// never asking again would be a truck roll.
func (t *transition) retryAtCap() {
	t.DPS.corrected, t.DPS.refused, t.DPS.Operation = false, false, ""
	t.armDPS(t.spread(DPSCap))
}

// clockStale says that the time has not been checked lately.
func (t *transition) clockStale() bool {
	return t.ClockAt.IsZero() || t.now.Sub(t.ClockAt) >= ClockValid
}

// manualFailed tells who waits for a registration that it has failed, and says whether that is the
// end of it: the old assignment and connection stay as they were, and only a device with nowhere to
// go asks again by itself.
func (t *transition) manualFailed() (over bool) {
	if !t.DPS.Manual {
		return false
	}
	t.DPS.Manual = false
	t.do(ReplyFailed{})
	if !t.Connected && (t.DPS.Reason != ReasonManual || !t.Target().Known()) {
		return false
	}
	t.disarmDPS()
	if !t.Connected && t.Hub.Phase == Idle {
		t.armHub(t.now)
	}
	return true
}
