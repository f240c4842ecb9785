package rules

import "time"

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
	t.ClockAt = t.now
	if t.DPS.corrected {
		t.retryAtCap()
		return
	}
	t.DPS.corrected = true
	t.armDPS(t.now)
}

func (e ClockAnswered) apply(t *transition) {
	purpose, why := t.DPS.Clock, t.DPS.Reason
	t.DPS.Phase = Idle
	if e.Clock == ClockRight || e.Clock == ClockCorrected {
		t.ClockAt, t.ClockTries = t.now, 0
	} else if t.clockStaysUnknown(e.Clock) {
		return
	}
	t.DPS.Clock = ClockForNone
	switch {
	case purpose == ClockForHub && e.Clock == ClockCorrected:
		t.retryHubWithRightClock()
	case purpose == ClockForHub && why == ReasonOutage:
		t.armOutage()
	case purpose == ClockForHub:
		t.armDPS(t.staggered(t.Settings.Stagger))
	case e.Clock == ClockCorrected:
		t.DPS.corrected, t.DPS.refused = true, false
		t.armDPS(t.now)
	case t.manualFailed():
	case t.DPS.refused:
		t.retryAtCap()
	default:
		t.armDPS(t.backOff(t.Settings.DPS, t.DPS.Failures, 0))
	}
}

// clockStaysUnknown says that this is the end of the matter for now: nobody told the time, and
// either who asked for a registration has been told, or the clock is asked for again later.
func (t *transition) clockStaysUnknown(c Clock) bool {
	t.ClockTries++
	if t.manualFailed() {
		return true
	}
	if c == ClockSuspect && t.ClockTries < MaxClockTries {
		t.DPS.Failures++
		t.armDPS(t.backOff(t.Settings.DPS, t.DPS.Failures, 0))
		return true
	}
	// Not asked again for a while, or a device that cannot reach the clock would never get to DPS.
	t.ClockAt = t.now
	return false
}

// retryHubWithRightClock: the rejection was the clock's fault, so once more, with a fresh token.
func (t *transition) retryHubWithRightClock() {
	t.disarmDPS()
	t.Hub.leaveAlone(t.Hub.Tried.Host, time.Time{})
	if t.Hub.Phase != UnderWay && !t.Connected {
		t.armHub(t.now)
	}
}
