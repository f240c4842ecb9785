package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// apply: the assignment that led to a connection is confirmed, and there is nothing to ask DPS
// about.
func (Connected) apply(t *transition) {
	t.Connected = true
	t.Hub.Phase = Idle
	t.Hub.leaveAlone(t.Hub.Tried.Host, time.Time{})
	if t.Hub.Tried.Slot == Candidate && t.Candidate.Known() {
		t.Confirmed, t.Candidate = t.Candidate, Assignment{}
		t.Hub.Tried.Slot = Confirmed
		t.do(Remember{Confirmed: t.Confirmed})
	}
	t.Hub.rejected = false
	if !t.DPS.Manual {
		t.disarmDPS()
	}
}

func (e Lost) apply(t *transition) {
	t.Connected = false
	if e.Stable {
		t.forgetFailures()
	}
	if !t.Target().Known() {
		t.Hub.leaveAlone(t.Hub.Tried.Host, t.now.Add(t.Settings.floor(e.Class, e.RetryAfter)))
		t.startOver()
		return
	}
	e.HubFailure.apply(t)
}

// apply: the program ended a good connection itself. Nothing is wrong, so nothing waits.
func (e Closed) apply(t *transition) {
	t.Connected = false
	if e.Stable {
		t.forgetFailures()
	}
	if !t.Target().Known() {
		t.startOver()
		return
	}
	t.armHub(t.now)
}

// apply: what the failure calls for at DPS depends on its class; the hub is tried again in any
// case.
func (e HubFailure) apply(t *transition) {
	t.Hub.Phase = Idle
	t.Hub.Failures++
	t.Hub.Class = e.Class
	floor := t.Settings.floor(e.Class, e.RetryAfter)
	t.Hub.leaveAlone(t.Hub.Tried.Host, t.now.Add(floor))
	failures := t.Hub.Failures
	switch e.Class {
	case retry.Throttled:
		t.throttled()
	case retry.Rejected, retry.Caller:
		if t.rejectedBy(e) {
			failures = capWindow // DPS is asked; meanwhile the hub is probed at its cap
		}
	default:
		t.unavailable(e)
	}
	t.armHub(t.backOff(t.Settings.Hub, failures, floor))
}

// throttled: the hub is right and knows the device, so there is nothing to ask DPS about.
func (t *transition) throttled() {
	if t.DPS.Phase == Waiting && t.DPS.Reason == ReasonOutage {
		t.disarmDPS()
	}
}

// rejectedBy takes in that the hub turned the device away, and says whether it is to be probed at
// its cap.
func (t *transition) rejectedBy(e HubFailure) (atCap bool) {
	if t.Hub.Tried.Slot == Confirmed {
		t.Hub.rejected = true
		if t.Candidate.Known() {
			return false // what DPS said last has its own turn
		}
	}
	atCap = t.Rejections == 0
	t.registerAfterRejection(e.Class == retry.Rejected && !e.NameNotFound)
	return atCap
}

// registerAfterRejection goes to DPS: at once for the first time, then with growing gaps. A token
// made with a wrong clock is rejected too, so the clock is checked first, which is no registration.
func (t *transition) registerAfterRejection(clockMatters bool) {
	if t.DPS.Phase == UnderWay || t.DPS.Phase == Waiting && t.DPS.Reason != ReasonOutage {
		return
	}
	at := t.rejectionGap(t.Rejections)
	checkClock := clockMatters && t.Settings.Tokens && t.clockStale()
	if t.Rejections == 0 && !checkClock {
		at = t.staggered(t.Settings.Stagger)
	}
	t.planDPS(at, Registration, ReasonRejected)
	if checkClock {
		t.DPS.Clock = ClockForHub
	}
}

// unavailable: the hub failed, or nobody answered, or somebody else did.
func (t *transition) unavailable(e HubFailure) {
	if e.Dates && t.mayCheckClock() {
		t.DPS.Reason, t.DPS.Request = ReasonOutage, StatusLookup
		t.DPS.Clock = ClockForHub
		t.armDPS(t.now)
		return
	}
	if !t.DPS.Pending() {
		t.armOutage()
	}
}

// mayCheckClock: a question about an outage that waits its time gives way, once, since a network
// often comes up later than the device.
func (t *transition) mayCheckClock() bool {
	if t.DPS.Phase == Waiting && t.DPS.Reason == ReasonOutage && t.DPS.Clock == ClockForNone {
		return t.ClockAt.IsZero()
	}
	return !t.DPS.Pending() && t.clockStale()
}
