package provisioning

import (
	"time"
)

func (t *transition) assigned(e event) {
	k, why, manual := e.assignment, t.dps.reason, t.dps.manual
	if e.stable {
		t.settle()
	}
	t.dps.armed, t.dps.busy, t.dps.manual = false, false, false
	t.dps.n, t.dps.operation, t.dps.corrected = 0, "", false
	if why == reasonRejected {
		t.gap++
	} else {
		t.gap = max(t.gap, 1) // the hub may lag behind DPS: a rejection right after an answer is no reason to ask again at once
	}
	switch {
	case t.confirmed.matches(&k.Assignment):
		t.confirmed = k
		t.dropCandidate()
		t.do(action{kind: actionRemember})
		t.confirmedAgain(why)
	case t.candidate.matches(&k.Assignment) && !t.connected:
		t.candidate = k
		t.do(action{kind: actionRemember})
		t.confirmedAgain(why)
	default:
		t.moveTo(k)
	}
	if manual {
		t.do(action{kind: actionReply, target: k}) // last: who asked may rely on what is remembered
	}
}

func (t *transition) dropCandidate() {
	if t.candidate == nil {
		return
	}
	t.candidate = nil
	if t.connected || t.hub.busy && t.hub.slot != slotCandidate {
		return
	}
	t.hub.slot = slotConfirmed
	if t.hub.busy {
		t.hub.busy = false
		t.do(action{kind: actionCancelConnect})
	}
	// Whatever the candidate's delay has grown to, the old hub is tried soon.
	t.hub.n = 0
	t.armHub(t.now.Add(t.rules.hub.Delay(1, 0, t.rnd.Float64())))
}

// confirmedAgain: DPS named the hub that is known already.
func (t *transition) confirmedAgain(why reason) {
	switch {
	case t.connected:
	case why == reasonOutage:
		t.outages++
		t.armOutage()
	case t.hub.busy:
	case why == reasonRejected:
		// The hub may lag behind DPS: try it again, soon but not at once.
		t.hub.n = 0
		t.armHub(t.now.Add(t.rules.hub.Delay(1, 0, t.rnd.Float64())))
	case t.hub.n == 0:
		t.armHub(t.now)
	}
}

// moveTo: DPS named another hub or device ID. It is remembered at once, and tried at once; the old one is kept until it works.
func (t *transition) moveTo(k *known) {
	t.candidate = k
	t.do(action{kind: actionRemember})
	if t.connected {
		t.connected = false
		t.do(action{kind: actionEndSession})
	}
	if t.hub.busy {
		t.do(action{kind: actionCancelConnect})
	}
	t.hub.n, t.hub.turns = 0, 1
	t.hub.slot = slotCandidate
	t.hub.armed, t.hub.busy, t.hub.at = true, false, later(t.now, t.hub.held(k.Hub))
}

// notRegistered: a status lookup found no assignment.
func (t *transition) notRegistered() {
	t.dps.n = 0
	why := t.dps.reason
	if why == reasonStore {
		why = reasonUnregistered
	}
	t.askDPS(t.now, requestRegister, why)
	t.dps.unknown = true
}

func (t *transition) dpsFailed(e event) {
	t.dps.busy = false
	if e.wait > 0 {
		t.dps.hold = t.now.Add(e.wait)
	}
	if !t.clockMayMend(e) {
		t.dps.quiet = t.now.Add(t.rules.dps.MinDelay)
		if t.manualFailed() {
			return
		}
	}
	t.dps.n++
	t.dps.operation = e.operation
	backoff := func(floor time.Duration) time.Time {
		return t.now.Add(t.rules.dps.Delay(t.dps.n, floor, t.rnd.Float64()))
	}
	switch e.failure {
	case dpsThrottled:
		t.armDPS(backoff(e.wait))
	case dpsClockWrong:
		t.clockAt = t.now
		if t.dps.corrected {
			t.atCap()
			return
		}
		t.dps.corrected = true
		t.armDPS(t.now)
	case dpsClockUnknown:
		if t.dps.corrected || !t.clockStale() {
			t.atCap()
			return
		}
		t.dps.clock, t.dps.refused = clockForDPS, true
		t.armDPS(t.now)
	case dpsRefused:
		t.atCap()
	case dpsNotAssigned:
		t.dps.request = requestRegister
		t.atCap()
	default:
		if e.dates && t.clockStale() {
			t.dps.clock = clockForDPS
			t.armDPS(t.now)
			return
		}
		if e.silent && t.dps.request == requestLookup && t.rules.lookupElsewhere && t.target() == nil && t.dps.n >= lookupPatience {
			t.dps.request = requestRegister // port 443 may be closed for good, and registering does not need it
		}
		t.armDPS(backoff(max(e.wait, t.rules.dps.MinDelay)))
	}
}

// clockMayMend says that the request is repeated at once, after a look at the clock or after its correction.
func (t *transition) clockMayMend(e event) bool {
	switch e.failure {
	case dpsClockWrong:
		return !t.dps.corrected
	case dpsClockUnknown:
		return !t.dps.corrected && t.clockStale()
	}
	return e.failure == dpsUnavailable && e.dates && t.clockStale()
}

// manualFailed tells who waits for a registration that it has failed, and says whether that is the end of it: the old assignment and
// connection stay as they were, and only a device with nowhere to go asks again by itself.
func (t *transition) manualFailed() (over bool) {
	if !t.dps.manual {
		return false
	}
	t.dps.manual = false
	t.do(action{kind: actionReply})
	if !t.connected && (t.dps.reason != reasonManual || t.target() == nil) {
		return false
	}
	t.disarmDPS()
	if !t.connected && !t.hub.armed && !t.hub.busy {
		t.armHub(t.now)
	}
	return true
}

// atCap: DPS knows the device's request and refuses it. Asking again soon would not help, never asking again would be a truck roll.
func (t *transition) atCap() {
	t.dps.corrected, t.dps.refused, t.dps.operation = false, false, ""
	t.armDPS(t.now.Add(t.uniform(dpsCap*8/10, dpsCap*12/10)))
}

func (t *transition) clockAnswered(answer clockAnswer) {
	onBehalf, why := t.dps.clock, t.dps.reason
	t.dps.busy = false
	switch answer {
	case clockRight, clockCorrected:
		t.clockAt, t.clockTries = t.now, 0
	default:
		t.clockTries++
		if t.manualFailed() {
			return
		}
		if answer == clockSuspect && t.clockTries < clockPatience {
			t.dps.n++
			t.armDPS(t.now.Add(t.rules.dps.Delay(t.dps.n, 0, t.rnd.Float64())))
			return
		}
		// Nobody tells the time: not asked again for a while, or a device that cannot reach the clock would never get to DPS.
		t.clockAt = t.now
	}
	t.dps.clock = clockForNone
	switch {
	case onBehalf == clockForHub && answer == clockCorrected:
		// The rejection was the clock's fault: once more, with a fresh token.
		t.disarmDPS()
		t.hub.hold(t.hub.host, time.Time{})
		if !t.hub.busy && !t.connected {
			t.armHub(t.now)
		}
	case onBehalf == clockForHub && why == reasonOutage:
		t.armOutage()
	case onBehalf == clockForHub:
		t.armDPS(t.staggered())
	case answer == clockCorrected:
		t.dps.corrected, t.dps.refused = true, false
		t.armDPS(t.now)
	case t.manualFailed():
	case t.dps.refused:
		t.atCap()
	default:
		t.armDPS(t.now.Add(t.rules.dps.Delay(t.dps.n, 0, t.rnd.Float64())))
	}
}
