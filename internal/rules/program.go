// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// apply: at the start a connection to a remembered hub needs no request to DPS at all. What an
// earlier process was told to keep is kept.
func (e Boot) apply(t *transition) {
	t.Confirmed, t.Candidate = e.Confirmed, e.Candidate
	remembers := e.Next == retry.Wait && t.Target().Known()
	planned := t.restore(e.Waits, remembers)
	start := t.now
	if e.WaitsUnknown {
		start = t.spreadBoot()
	}
	t.planHub()
	switch {
	case planned:
		t.resumeQuestion(start)
	case remembers:
	case e.Next == retry.Lookup:
		t.planDPS(t.staggered(t.Stagger()), StatusLookup, ReasonStore)
	default:
		t.planDPS(t.staggered(t.Stagger()), Registration, ReasonBoot)
	}
	t.DPS.At = later(t.DPS.At, start)
}

// resumeQuestion: a question that an earlier process planned keeps its time, but for waiting until
// the hub has been tried, unless that is to be left alone for longer. One that is overdue where no
// hub goes first is spread, since devices may have woken together.
func (t *transition) resumeQuestion(start time.Time) {
	d := &t.DPS
	overdue := !d.At.After(start)
	grace := t.Hub.At.Add(BootGrace)
	hubFirst := t.Hub.Phase == Waiting && t.Hub.At.Sub(start) < BootGrace
	switch {
	case hubFirst && (d.At.Before(grace) || d.Silent):
		d.BehindHub = d.At
		if d.Silent {
			d.BehindHub = later(t.now, d.floor())
		}
		d.At = later(d.NotBefore, grace)
	case d.Silent:
		d.At = earlier(d.At, later(d.floor(), t.staggered(RestartDPS)))
	case overdue:
		d.At = t.staggered(min(WakeSpread, t.Stagger()))
	}
}

// spreadBoot spreads the first requests of a device that does not know any more what it was asked:
// none is to be earlier than it returns.
func (t *transition) spreadBoot() time.Time {
	at := t.staggered(UnknownSpread)
	for _, a := range [...]Assignment{t.Confirmed, t.Candidate} {
		if a.Known() {
			t.record(a).At = at
		}
	}
	return at
}

func (e Attempted) apply(t *transition) {
	for _, slot := range [...]Slot{Candidate, Confirmed} {
		if a := t.inSlot(slot); a.SameAs(e.Assignment) {
			t.Hub.Phase, t.Hub.Tried = UnderWay, Attempt{Slot: slot, Target: a}
			return
		}
	}
}

// apply registers at once, while the current connection stays up.
func (Reprovision) apply(t *transition) {
	underWay := t.DPS.Phase == UnderWay
	if underWay && t.DPS.Request == Registration && t.DPS.Clock == ClockForNone {
		t.DPS.Manual = true // the registration under way serves everybody
		return
	}
	if notBefore := t.DPS.floor(); t.now.Before(notBefore) {
		t.do(ReplyTooSoon{NotBefore: notBefore})
		return
	}
	t.DPS.Manual = true
	t.registerByHand(ReasonManual)
}

// registerByHand registers now, in place of what else was to be asked, and for its reason if that
// is one to go on by itself when this fails.
func (t *transition) registerByHand(otherwise Reason) {
	why := t.DPS.Reason
	if !t.DPS.Pending() || why == ReasonOutage ||
		why == ReasonRejected && t.Settings.AfterRejection != Reregister {
		why = otherwise // nothing that goes on by itself if it fails
	}
	if t.DPS.Phase == UnderWay {
		t.do(CancelDPS{})
	}
	t.DPS.Operation, t.DPS.RefusedUntil = "", time.Time{}
	t.planDPS(t.now, Registration, why)
}

// apply: what was under way has ended with whoever performed it.
func (Resume) apply(t *transition) {
	t.DPS.Manual, t.Renewal.Manual = false, false
	if t.Renewal.Phase == UnderWay {
		t.Renewal.Phase = Idle
	}
	switch {
	case t.DPS.Reason.renews(): // R plans it anew, not before the gap is over
		t.Renewal.Operation = t.DPS.Operation
		t.DPS.Phase = Idle
		t.endRenewalByDPS()
	case t.DPS.Reason == ReasonManual:
		t.DPS = DPSTimer{NotBefore: t.DPS.NotBefore, Failures: t.DPS.Failures} // who asked has left
	case t.DPS.Phase == UnderWay:
		t.armDPS(t.now)
	}
	t.Hub.Phase = Idle
	if !t.Connected && !t.Target().Known() {
		t.startOver()
	}
}

func (Forget) apply(t *transition) {
	t.Confirmed, t.Candidate = Assignment{}, Assignment{}
	t.cancelConnect()
	if !t.Connected {
		t.forgetHubs()
	}
	if t.DPS.Manual {
		return
	}
	t.disarmDPS()
	if !t.Connected {
		t.startOver()
	}
}

// apply: a module holds one assignment, that of its device, and never one that DPS named since.
func (e Follow) apply(t *transition) {
	a := e.Assignment
	t.Confirmed, t.Candidate = a, Assignment{}
	busy := t.Connected || t.Hub.Phase == UnderWay
	switch {
	case !a.Known() && t.Connected:
	case !a.Known():
		t.cancelConnect()
		t.disarmDPS()
		t.startOver()
	case busy && t.Hub.Tried.Target.SameAs(a):
		t.Hub.Tried = Attempt{Slot: Confirmed, Target: a}
	default:
		t.followTo(a, e.Named)
	}
}

// followTo leaves what was tried for another hub, at once unless that has asked to be left alone.
// What was to be asked about the old one is void.
func (t *transition) followTo(a Assignment, named bool) {
	t.cancelConnect()
	t.disarmDPS()
	r := t.record(a)
	if named {
		t.mayLag(r)
	}
	if !t.NotBefore(a.Hub).After(t.now) {
		r.Failures, r.At = 0, time.Time{}
	}
	if t.Connected {
		t.Connected = false
		t.renewalLost()
		t.do(EndSession{})
	}
}

// apply brings the next try forward where nobody answered the last one, as far as floors, what was
// asked for, gaps and Stagger allow.
func (Nudge) apply(t *transition) {
	for i := range t.Hubs {
		if r := &t.Hubs[i]; r.Class == retry.Unreachable && r.Failures > 0 {
			r.At = earlier(r.At, t.soon(r.NotBefore, HubFloor))
		}
	}
	if d := &t.DPS; d.Silent {
		d.At = earlier(d.At, t.soon(d.floor(), DPSFloor))
	}
}

// restore takes up what an earlier process was told to keep, and says whether a question to DPS is
// planned. One that what is remembered has made pointless is dropped, and so is one about a hub
// that is not remembered any more.
func (t *transition) restore(w Waits, remembers bool) (planned bool) {
	for i := range min(len(w.Hubs), HubsKept) {
		t.Hubs[i] = w.Hubs[i].record(t.now)
		if r := &t.Hubs[i]; r.Class == retry.Unreachable {
			r.At = earlier(r.At, t.staggered(RestartHub))
		}
	}
	t.Urgent, t.Refusals = w.Urgent, w.Refusals
	if w.Outage.Silent > 0 {
		t.Outage = Outage{Since: t.now.Add(-w.Outage.Silent), Asked: w.Outage.Asked}
		if w.Outage.In > 0 {
			t.Outage.AskAt = t.now.Add(w.Outage.In)
		}
	}
	t.DPS, t.Renewal = w.DPS.timer(t.now), w.Renewal.timer(t.now)
	t.restoreRenewalByDPS(w, remembers)
	forWant, resumable := t.DPS.Reason.isForWant(), !remembers && t.DPS.Operation != ""
	// where DPS is not asked about a rejection, it is for the hub to say again that there is one; a
	// module that dies again and again before its device has answered has asked all the same
	hubOnly := t.DPS.Reason == ReasonRejected && t.Settings.AfterRejection != Reregister
	if remembers == forWant && !resumable || hubOnly {
		t.disarmDPS()
	}
	if t.DPS.Phase != Waiting {
		return false
	}
	t.Clock.Tries = w.DPS.ClockTries // a process that lives shortly goes on without the time too
	return true
}

// restoreRenewalByDPS leaves a registration of R's to R, which plans it anew once it is known what
// certificate is in force. Where nothing is remembered, the registration under way goes on for want
// of that.
func (t *transition) restoreRenewalByDPS(w Waits, remembers bool) {
	d, r := &t.DPS, &t.Renewal
	if !d.Reason.renews() {
		return
	}
	r.Staggered = r.Staggered || d.Reason == ReasonExpired
	t.Clock.Tries = w.DPS.ClockTries
	if !remembers && d.Operation != "" {
		d.Reason = ReasonBoot
		return
	}
	r.Operation = d.Operation
	switch {
	case d.Silent:
		r.DPSAt = t.staggered(RestartDPS)
	case d.At.After(t.now):
		r.DPSAt = later(r.DPSAt, d.At)
	}
	t.disarmDPS()
}

// forgetHubs leaves of what was kept for hubs only what they have asked for and still do.
func (t *transition) forgetHubs() {
	t.Outage, t.Urgent, t.Refusals = Outage{}, false, 0
	for i := range t.Hubs {
		r := &t.Hubs[i]
		if !r.NotBefore.After(t.now) {
			*r = HubRecord{}
			continue
		}
		*r = HubRecord{Hub: r.Hub, DeviceID: r.DeviceID, Class: r.Class, NotBefore: r.NotBefore}
	}
}
