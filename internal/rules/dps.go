// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

func (e Assigned) apply(t *transition) {
	a, why, manual := e.Assignment, t.DPS.Reason, t.DPS.Manual
	t.do(Announce{Assignment: a, Moved: !t.InUse().SameAs(a)})
	if e.Stable {
		t.forgetFailures()
	}
	registered := t.DPS.Request == Registration
	t.dpsAnswered(e.Dated)
	if registered {
		t.registered(e.Issued)
	}
	for i := range t.Hubs {
		t.Hubs[i].Accepted = false // since DPS's last response
	}
	switch {
	case t.Connected && t.Hub.Tried.Target.SameAs(a):
		t.namedLive(a, why)
	case a.Incompatible:
		t.namedIncompatible(a)
	case t.Confirmed.SameAs(a):
		t.Confirmed = a
		t.mayLag(t.record(a))
		dropped := t.dropCandidate()
		t.remember()
		t.namedAgain(a, why, dropped)
	case t.Candidate.SameAs(a) && !t.Connected:
		t.Candidate = a
		t.mayLag(t.record(a))
		t.remember()
		t.namedAgain(a, why, false)
	default:
		t.moveTo(a)
	}
	// Last: who asked may rely on what is remembered.
	if manual {
		t.do(ReplyAssigned{Assignment: a})
	}
	switch {
	case !registered:
	case e.Issued:
		t.replyRenewed()
	default:
		t.replyNotRenewed(time.Time{})
	}
}

// dpsAnswered takes in that DPS has done what it was asked.
func (t *transition) dpsAnswered(dated bool) {
	t.DPS = DPSTimer{ManualNotBefore: t.DPS.ManualNotBefore}
	t.Refusals, t.Outage.AskAt = 0, time.Time{}
	if dated {
		t.clockTold()
	}
}

func (t *transition) remember() {
	t.do(Remember{Confirmed: t.Confirmed, Candidate: t.Candidate})
}

// namedLive: DPS named the hub that the device is connected to, and which speaks its protocol
// whatever DPS may say.
func (t *transition) namedLive(a Assignment, why Reason) {
	a.Incompatible = false
	t.Confirmed, t.Candidate = a, Assignment{}
	t.Hub.Tried = Attempt{Slot: Confirmed, Target: a}
	t.remember()
	if why == ReasonOutage && !t.Outage.Since.IsZero() {
		t.outageAsked() // for when the connection is lost before it is stable
	}
}

// namedIncompatible: DPS named a hub that speaks another protocol. It is remembered, and DPS asked
// again later; an older assignment keeps its turns.
func (t *transition) namedIncompatible(a Assignment) {
	if t.Confirmed.SameAs(a) {
		t.Confirmed = a
		t.dropCandidate()
	} else {
		t.Candidate = a
	}
	if t.Hub.Tried.Slot == Candidate || t.Hub.Tried.Target.SameAs(a) {
		t.cancelConnect()
	}
	t.remember()
	if !t.Connected {
		t.planDPS(t.incompatibleUntil(), Registration, ReasonIncompatible)
	}
}

// dropCandidate forgets what DPS does not say any more.
func (t *transition) dropCandidate() (dropped bool) {
	if !t.Candidate.Known() {
		return false
	}
	if t.Hub.Tried.Slot == Candidate {
		t.cancelConnect()
	}
	t.Candidate = Assignment{}
	return true
}

// namedAgain: DPS named a hub that is known already. Whatever its delay has grown to, it is tried
// soon where that is news to it; not at once, since it may lag behind.
func (t *transition) namedAgain(a Assignment, why Reason, instead bool) {
	r := t.record(a)
	switch {
	case why == ReasonOutage:
		t.outageAsked()
		if instead {
			r.At = earlier(r.At, t.backOff(t.Settings.Hub, 1, 0))
		}
	case why == ReasonRejected, why == ReasonIncompatible, instead,
		(why == ReasonExpired || why == ReasonCredential) && r.Failures > 0:
		r.Failures, r.At = 0, t.backOff(t.Settings.Hub, 1, 0)
	}
}

// moveTo: DPS named another hub or device ID. It is remembered at once, and tried at once unless it
// has asked to be left alone; the old one is kept until it works, and gives way for a moment.
func (t *transition) moveTo(a Assignment) {
	t.Candidate = a
	r := t.record(a)
	t.mayLag(r)
	t.remember()
	if alone := t.NotBefore(a.Hub); alone.After(t.now) {
		if t.Hub.Tried.Slot == Candidate {
			t.cancelConnect() // at a hub that DPS does not name any more
		}
		r.Failures, r.At = 0, alone // it need not give way any more
		if !t.Connected && alone.Sub(t.now) < GiveWayMin {
			t.giveWay()
		}
		return
	}
	r.Failures, r.At = 0, time.Time{}
	if t.Connected {
		t.Connected = false
		t.renewalLost()
		t.do(EndSession{})
	}
	t.cancelConnect()
	t.giveWay()
}

// giveWay lets the hub that DPS has named go before the old one.
func (t *transition) giveWay() {
	if t.Confirmed.Known() {
		old := t.record(t.Confirmed)
		old.At = later(old.At, t.now.Add(t.uniform(GiveWayMin, GiveWayMax)))
	}
}

// apply: a status lookup found no assignment.
func (NotRegistered) apply(t *transition) {
	t.DPS.Failures = 0
	why := t.DPS.Reason
	if why == ReasonStore {
		why = ReasonUnregistered
	}
	t.planDPS(t.now, Registration, why)
	t.DPS.notFound = true
}

// apply: whoever asks next goes on with this operation, and not before its time.
func (e Progress) apply(t *transition) {
	if t.DPS.Phase != UnderWay {
		return
	}
	t.DPS.Operation, t.DPS.ThrottledSince = e.Operation, time.Time{}
	t.DPS.NotBefore = t.now.Add(min(e.RetryAfter, retry.LongestHonoured))
}

func (e DPSFailed) apply(t *transition) {
	d := &t.DPS
	d.Phase, d.Silent = Idle, e.Silent
	e.RetryAfter = min(e.RetryAfter, retry.LongestHonoured)
	if e.RetryAfter > 0 {
		d.NotBefore = t.now.Add(e.RetryAfter)
	}
	mends := t.clockMayMend(e) && !(t.registersOnce() && d.NotBefore.After(t.now))
	if !mends {
		d.ManualNotBefore = t.now.Add(t.Settings.DPS.MinDelay)
		if t.registrationFailed(e) {
			return
		}
	}
	if e.Dated {
		t.clockTold()
	}
	d.Failures++
	d.Operation = e.Operation
	switch e.Failure {
	case DPSThrottled:
		if d.Operation == "" && t.Settings.Throttled.Factor > 0 {
			t.armDPS(t.throttledUntil(e.RetryAfter))
			return
		}
		t.armDPS(t.backOff(t.Settings.DPS, d.Failures, e.RetryAfter))
	case DPSClockWrong:
		t.dpsSawWrongClock()
	case DPSClockUnknown:
		if d.corrected || !t.dpsMayTellTime() {
			t.refused()
			return
		}
		d.Clock, d.refused = ClockForDPS, true
		t.armDPS(t.now)
	case DPSRefused:
		t.refused()
	case DPSNotAssigned:
		d.Request = Registration
		t.refused()
	default:
		t.dpsUnavailable(e)
	}
}

// refused: DPS knows the device's request and refuses it. Asking again soon would not help, but for
// a device that is being set up; never asking again would be a truck roll.
func (t *transition) refused() {
	t.DPS.corrected, t.DPS.Operation, t.DPS.ThrottledSince = false, "", time.Time{}
	gap := DPSCap
	if t.Refusals < len(RefusalGaps) && !t.Target().Known() {
		gap = RefusalGaps[t.Refusals]
	}
	t.Refusals++
	t.DPS.RefusedUntil = t.spread(gap)
	t.waitRefused()
}

// waitRefused waits until DPS may be asked again. Where nobody has told the time, it is asked for
// meanwhile: the refusal may be the clock's fault.
func (t *transition) waitRefused() {
	d := &t.DPS
	d.refused = false
	if at := t.clockBackOff(); t.Clock.GivenUp && at.Before(d.RefusedUntil) {
		d.Clock = ClockForDPS
		t.armDPS(at)
		return
	}
	t.armDPS(d.RefusedUntil)
}

// dpsUnavailable: the same step again, later.
func (t *transition) dpsUnavailable(e DPSFailed) {
	d := &t.DPS
	if e.Dates && t.dpsMayTellTime() {
		d.Clock = ClockForDPS
		t.armDPS(t.now)
		return
	}
	if e.Silent && d.Reason == ReasonOutage && !d.notFound {
		t.outageAsked() // though nobody answered
		return
	}
	if t.lookupsAreLost(e.Silent) {
		d.Request = Registration
	}
	t.armDPS(t.backOff(t.patientDPS(), d.Failures, max(e.RetryAfter, t.Settings.DPS.MinDelay)))
}

// lookupsAreLost says that registering is what is left: its port may be open where that of a lookup
// is closed for good, or its part of the service well.
func (t *transition) lookupsAreLost(silent bool) bool {
	switch {
	case silent && t.Settings.LookupElsewhere:
		return t.DPS.Failures >= MaxSilentLookups
	case silent:
		return false
	}
	return t.DPS.Failures >= MaxFailedLookups
}
