package rules

import "time"

// clockStale says that the time has not been checked lately.
func (t *transition) clockStale() bool {
	return t.Clock.ToldAt.IsZero() || t.now.Sub(t.Clock.ToldAt) >= ClockValid
}

func (t *transition) clockTold() { t.Clock = Clock{ToldAt: t.now} }

// clockWindow is that over which a fleet spreads its clock checks: shorter than that of other
// questions, since they cost the service less and a device with a wrong clock can do nothing else.
func (t *transition) clockWindow() time.Duration { return min(t.Settings.Stagger, ClockStagger) }

// mayCheckClock: a question about an outage that waits its time gives way, once, since a network
// often comes up later than the device.
func (t *transition) mayCheckClock() bool {
	if t.DPS.Phase == Waiting && t.DPS.Reason == ReasonOutage && t.DPS.Clock == ClockForNone {
		return t.Clock.ToldAt.IsZero()
	}
	return !t.DPS.Pending() && t.clockStale()
}

// planClockCheck asks for the time before anything else is asked about the hub's failure. A
// question about an outage that is planned gives way.
func (t *transition) planClockCheck(r Request, why Reason) {
	var then time.Time
	if d := &t.DPS; d.Phase == Waiting && d.Reason == ReasonOutage {
		then = d.At
	}
	t.planDPS(t.staggered(t.clockWindow()), r, why)
	t.DPS.Clock, t.DPS.Rejecting, t.DPS.Then = ClockForHub, t.Hub.Tried.Target, then
}

// clockMayMend says that the request is repeated at once, after a look at the clock or after its
// correction.
func (t *transition) clockMayMend(e DPSFailed) bool {
	switch e.Failure {
	case DPSClockWrong:
		return !t.DPS.corrected
	case DPSClockUnknown:
		return !t.DPS.corrected && t.clockStale()
	}
	return e.Failure == DPSUnavailable && e.Dates && t.clockStale()
}

// dpsSawWrongClock: the clock is corrected, so the request is repeated, once.
func (t *transition) dpsSawWrongClock() {
	t.clockTold()
	if t.DPS.corrected {
		t.refused()
		return
	}
	t.DPS.corrected = true
	t.armDPS(t.now)
}

func (e ClockAnswered) apply(t *transition) {
	t.DPS.Phase = Idle
	if e.Clock == ClockUnknown {
		if t.clockUnanswered() {
			return
		}
	} else {
		t.clockTold()
	}
	purpose, why := t.DPS.Clock, t.DPS.Reason
	t.DPS.Clock = ClockForNone
	switch {
	case purpose == ClockForHub && e.Clock == ClockCorrected:
		t.retryHubWithRightClock()
	case purpose == ClockForHub && why == ReasonOutage:
		if t.giveBack(); !t.DPS.Pending() {
			t.armOutage()
		}
	case purpose == ClockForHub && t.Settings.AfterRejection == KeepProbing:
		t.disarmDPS()
	case purpose == ClockForHub:
		t.DPS.Failures = 0
		t.armDPS(t.staggered(t.Settings.Stagger))
	case e.Clock == ClockCorrected:
		t.DPS.corrected, t.DPS.refused = true, false
		t.armDPS(t.now)
	case t.manualFailed():
	case t.DPS.refused:
		t.refused()
	default:
		t.armDPS(t.backOff(t.Settings.DPS, t.DPS.Failures, 0))
	}
}

// giveBack ends a question. One about an outage that gave way to it keeps its time: a device that
// lives for minutes only, and asks for the time in each of its lives, would never reach a new one.
func (t *transition) giveBack() {
	then := t.DPS.Then
	t.disarmDPS()
	if !then.IsZero() {
		t.planOutage(then)
	}
}

// clockUnanswered says that this is the end of the matter for now: nobody told the time, and either
// who asked for a registration has been told, or the clock is asked for again later. A device that
// registers over another port goes on without soon, one that does not later, lest it be kept from
// DPS by nothing else.
func (t *transition) clockUnanswered() bool {
	if t.Clock.SilentSince.IsZero() {
		t.Clock.SilentSince = t.now
	}
	t.Clock.Tries++
	if t.manualFailed() {
		return true
	}
	limit := MaxClockTries
	if t.Settings.LookupElsewhere {
		limit = MaxClockTriesElsewhere
	}
	overdue := !t.DPS.Then.IsZero() && !t.DPS.Then.After(t.now)
	if t.Clock.Tries < limit && !overdue {
		t.DPS.Silent = true
		t.armDPS(t.clockBackOff())
		return true
	}
	t.clockTold() // it was not, but is not to be asked for again for a while
	return false
}

// clockBackOff is when to ask for the time again. A device whose clock is wrong is locked out
// meanwhile, so that it never waits for longer than DPS has been away, or ClockPatience.
func (t *transition) clockBackOff() time.Time {
	p := t.Settings.DPS
	away := t.now.Sub(t.Clock.SilentSince)
	p.MaxDelay = min(p.MaxDelay, max(away, ClockPatience)-p.MinDelay)
	return t.backOff(p, t.Clock.Tries, 0)
}

// retryHubWithRightClock: the rejection was the clock's fault, so once more, with a fresh token.
// What the hub has asked for since stays. An attempt under way is that of the wrong clock, too: its
// rejection would lead to a registration.
func (t *transition) retryHubWithRightClock() {
	rejecting := t.DPS.Rejecting
	t.cancelConnect()
	t.giveBack()
	t.DPS.Failures = 0
	if r := t.record(rejecting); clockMayExplain(r.Class) {
		r.At, r.NotBefore, r.Gap = time.Time{}, time.Time{}, 0
	}
}
