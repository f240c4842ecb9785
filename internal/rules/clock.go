// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// clockStale says that the time has not been checked lately, or never: the zero time is long ago.
// Where it was given up, that is so again after about as long as DPS had been away by then.
func (t *transition) clockStale() bool {
	away := t.Clock.ToldAt.Sub(t.Clock.SilentSince) // since ever, if it was told
	return t.now.Sub(t.Clock.ToldAt) >= min(ClockValid, max(away, ClockPatience))
}

// dpsMayTellTime says that DPS, which is there, may be asked for the time: it has not told it
// lately, even if it was given up.
func (t *transition) dpsMayTellTime() bool { return t.clockStale() || t.Clock.GivenUp }

func (t *transition) clockTold() { t.Clock = Clock{ToldAt: t.now} }

// clockWindow is that over which a fleet spreads its clock checks: shorter than that of other
// questions, since they cost the service less and a device with a wrong clock can do nothing else.
func (t *transition) clockWindow() time.Duration { return min(t.Stagger(), ClockStagger) }

// planClockCheck sets D for a request, and for the time before it, which may be why the hub tried
// last has turned the device away.
func (t *transition) planClockCheck(r Request, why Reason) {
	t.planDPS(t.staggered(t.clockWindow()), r, why)
	t.DPS.Clock, t.DPS.Rejecting = ClockForHub, t.Hub.Tried.Target
}

// mayCheckClock: a question about an outage that waits its time gives way, once, since a network
// often comes up later than the device, and again where nobody told the time.
func (t *transition) mayCheckClock() bool {
	if t.DPS.Phase == Waiting && t.DPS.Reason == ReasonOutage && t.DPS.Clock == ClockForNone {
		return t.Clock.ToldAt.IsZero() || t.Clock.GivenUp && t.clockStale()
	}
	return !t.DPS.Pending() && t.clockStale()
}

// clockMayMend says that the request is repeated at once, after a look at the clock or after its
// correction.
func (t *transition) clockMayMend(e DPSFailed) bool {
	switch e.Failure {
	case DPSClockWrong:
		return !t.DPS.corrected
	case DPSClockUnknown:
		return !t.DPS.corrected && t.dpsMayTellTime()
	}
	return e.Dates && t.dpsMayTellTime()
}

// dpsSawWrongClock: the clock is corrected, so the request is repeated, once.
func (t *transition) dpsSawWrongClock() {
	t.clockTold()
	if t.DPS.corrected {
		t.refused()
		return
	}
	if t.clockExplainsRejection() {
		t.retryHubWithRightClock()
		return
	}
	if t.renewalIsPointless() {
		t.endRenewalByDPS() // by a clock that was wrong
		return
	}
	t.DPS.corrected = true
	t.armDPS(t.now)
}

// explained is the failure that a look at the clock was to explain.
func (t *transition) explained() DPSFailed {
	e := DPSFailed{Operation: t.DPS.Operation}
	if t.DPS.refused {
		e.Failure = DPSRefused
	}
	return e
}

// giveUpOn ends the device after the time was told to be right, if that hub has rejected it last.
func (t *transition) giveUpOn(rejecting Assignment) {
	class := t.Kept(rejecting).Class
	t.disarmDPS()
	if class == retry.Rejected {
		t.do(GiveUp{})
		return
	}
	t.rearmOutage()
}

// clockExplainsRejection says that a clock that has just been corrected may be why a hub turned the
// device away, so that the hub comes first, and DPS only if it still does.
func (t *transition) clockExplainsRejection() bool {
	return !t.DPS.Manual && t.DPS.Rejecting.Known()
}

func (e ClockAnswered) apply(t *transition) {
	t.DPS.Phase, t.DPS.Silent = Idle, false
	t.leaveAlone(e)
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
	case e.Clock == ClockCorrected && t.clockExplainsRejection():
		t.retryHubWithRightClock()
	case purpose == ClockForHub && why == ReasonOutage:
		t.armOutage()
	case purpose == ClockForHub && t.Settings.AfterRejection == GiveUpRejected:
		t.giveUpOn(t.DPS.Rejecting)
	case purpose == ClockForHub && (t.Settings.AfterRejection == KeepProbing ||
		t.Settings.AfterRejection == ReregisterRarely && t.DPS.Request == StatusLookup):
		t.disarmDPS()
	case purpose == ClockForHub:
		t.DPS.Failures = 0
		t.armDPS(t.staggered(t.Stagger()))
	case t.renewalIsPointless():
		t.endRenewalByDPS()
	case purpose == ClockForExpiry:
		t.DPS.Failures = 0
		t.armDPS(t.staggered(t.Stagger()))
	case e.Clock == ClockCorrected:
		t.DPS.corrected, t.DPS.refused, t.DPS.RefusedUntil = true, false, time.Time{}
		t.armDPS(t.now)
	case t.registrationFailed(t.explained()):
	case t.DPS.RefusedUntil.After(t.now):
		t.waitRefused()
	case t.DPS.refused:
		t.refused()
	default:
		t.armDPS(t.backOff(t.Settings.DPS, t.DPS.Failures, 0))
	}
}

// leaveAlone puts off what is asked of DPS next where the answer that told the time asked for that.
func (t *transition) leaveAlone(e ClockAnswered) {
	wait := min(e.RetryAfter, retry.LongestHonoured)
	switch {
	case e.Throttled:
		t.DPS.NotBefore = t.throttledUntil(wait)
	case e.Unavailable:
		t.DPS.NotBefore = t.backOff(t.Settings.DPS, 1, max(wait, t.Settings.DPS.MinDelay))
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
	t.DPS.ManualNotBefore = t.now.Add(t.Settings.DPS.MinDelay)
	e := t.explained()
	e.Silent = true
	if t.registrationFailed(e) {
		return true
	}
	limit := MaxClockTries
	if t.Settings.LookupElsewhere && t.DPS.Reason != ReasonOutage { // which asks later anyway
		limit = MaxClockTriesElsewhere
	}
	if t.Clock.Tries < limit {
		t.DPS.Silent = true
		t.armDPS(t.clockBackOff())
		return true
	}
	// It was not told, but is not to be asked for again for a while.
	t.Clock.ToldAt, t.Clock.GivenUp = t.now, true
	return false
}

// clockMayExplain says that a wrong clock of the device may be why a hub fails it so.
func clockMayExplain(c retry.Class) bool { return c == retry.Rejected || c == retry.Untrusted }

// clockBackOff is when to ask for the time again. A device whose clock is wrong is locked out
// meanwhile, so that it never waits for longer than DPS has been away, or ClockPatience.
func (t *transition) clockBackOff() time.Time {
	return t.backOff(t.patientDPS(), t.Clock.Tries, 0)
}

// patientDPS is the policy for DPS, bounded so where the time was asked for in vain: a question of
// another kind may be what tells it.
func (t *transition) patientDPS() retry.Policy {
	p := t.Settings.DPS
	away := t.now.Sub(t.Clock.SilentSince) // since ever, if it was not
	p.MaxDelay = min(p.MaxDelay, max(away, ClockPatience)-p.MinDelay)
	return p
}

// retryHubWithRightClock: the rejection was the clock's fault, so once more, with a fresh token.
// What the hub has asked for since stays. An attempt under way bears a token of the wrong time as
// well: its rejection would lead to a registration.
func (t *transition) retryHubWithRightClock() {
	rejecting := t.DPS.Rejecting
	t.cancelConnect()
	t.disarmDPS()
	t.DPS.Failures = 0
	r := t.record(rejecting)
	if !clockMayExplain(r.Class) {
		t.rearmOutage() // the hub has changed its mind since
		return
	}
	r.At, r.NotBefore, r.Gap = time.Time{}, time.Time{}, 0
}
