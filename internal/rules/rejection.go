// SPDX-License-Identifier: Apache-2.0

package rules

import "github.com/rehome-iot/rehome/retry"

// rejected takes in that a hub turned the device away. Hub and DPS share one clock of growing gaps,
// kept for each hub: at each gap the hub is tried once, and then DPS asked. Between DPS's response
// and the next gap the hub has a few quick tries, since it may lag behind.
func (t *transition) rejected(r *HubRecord, e HubFailure) {
	switch {
	case t.Hub.Tried.Slot == Confirmed && t.Candidate.Known() && !t.Candidate.Incompatible:
		t.widenGap(r) // what DPS said last has its own turn
	case r.Accepted && !t.Urgent && r.Gap > 0:
		// It does not lag behind DPS: it had taken the device, and does not any more.
		t.Urgent = true
		t.askAboutRejection(r, e)
	case r.Gap == 0 || !t.now.Before(r.GapAt):
		t.askAboutRejection(r, e)
	case r.Quick > 0:
		at := t.backOff(t.Settings.Hub, LagRetries+1-r.Quick, 0)
		r.Quick--
		r.At = earlier(at, r.GapAt)
	default:
		r.At = r.GapAt
	}
	r.Accepted = false
}

// widenGap sets the next moment for the hub, and for DPS after it.
func (t *transition) widenGap(r *HubRecord) {
	r.Gap++
	r.GapAt = t.rejectionGap(r.Gap)
	r.At = r.GapAt
}

// askAboutRejection goes to DPS. A token made with a wrong clock is rejected too, so the clock is
// checked first, which is no registration.
func (t *transition) askAboutRejection(r *HubRecord, e HubFailure) {
	t.widenGap(r)
	answered := !e.NameNotFound
	checkClock := answered && e.Class == retry.Rejected && t.Settings.Tokens && t.clockStale()
	switch {
	case answered && t.Settings.AfterRejection == GiveUpRejected && !checkClock:
		t.do(GiveUp{})
	case checkClock && t.waitsAfterRefusal():
		t.DPS.Clock, t.DPS.Rejecting = ClockForHub, t.Hub.Tried.Target
		t.armDPS(t.staggered(t.clockWindow()))
	case !t.dpsFree(): // it is asked already
	case checkClock:
		t.planClockCheck(t.afterClockCheck(r), ReasonRejected)
	case answered && t.Settings.AfterRejection == KeepProbing:
	case t.skipsGap(r):
	default:
		t.planDPS(t.staggered(t.Stagger()), Registration, ReasonRejected)
	}
}

// afterClockCheck is what follows a look at the clock if that was right. A lookup stands for
// nothing where this gap is none for a question about the rejection.
func (t *transition) afterClockCheck(r *HubRecord) Request {
	if t.skipsGap(r) {
		return StatusLookup
	}
	return Registration
}

// skipsGap says that the hub alone is tried at this gap: a module's device asks for itself, so that
// the module asks when it is rejected first, and then once in a while lest nobody does.
func (t *transition) skipsGap(r *HubRecord) bool {
	return t.Settings.AfterRejection == ReregisterRarely && r.Gap%RareGaps != 1
}

// waitsAfterRefusal says that DPS is asked for nothing now because it has refused the device, and
// that this process, which began since then, does not know the time.
func (t *transition) waitsAfterRefusal() bool {
	return t.DPS.Phase == Waiting && t.DPS.Clock == ClockForNone &&
		t.DPS.RefusedUntil.After(t.now) && t.Clock.ToldAt.IsZero()
}

// mayLag: DPS has named a hub, which may not know of it yet. The next gap begins now. Beyond the
// first the hub has just the try that follows DPS's response, lest a device that stays rejected for
// days tries it a hundred times a day.
func (t *transition) mayLag(r *HubRecord) {
	r.Quick = 0
	if r.Gap <= 1 {
		r.Gap, r.Quick = 1, LagRetries
	}
	r.GapAt = t.rejectionGap(r.Gap)
}
