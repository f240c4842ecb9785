// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// apply: the assignment that led to a connection is confirmed. What was to be asked about its
// rejection is void; a question about an outage is, once the connection is stable.
func (Connected) apply(t *transition) {
	t.Connected = true
	t.Hub.Phase = Idle
	r := t.record(t.Hub.Tried.Target)
	r.Accepted, r.At, r.Missing = true, time.Time{}, 0
	if t.Hub.Tried.Slot == Candidate {
		t.Confirmed, t.Candidate = t.Candidate, Assignment{}
		t.Hub.Tried.Slot = Confirmed
		t.do(Remember{Confirmed: t.Confirmed})
	}
	switch d := &t.DPS; {
	case d.Manual, d.Reason == ReasonOutage:
	case d.Reason == ReasonExpired && d.Phase == Waiting:
		t.Renewal.Operation = d.Operation // R goes on, by whichever way
		t.disarmDPS()
	case !d.Reason.evenConnected():
		t.disarmDPS()
	}
}

func (Stable) apply(t *transition) { t.forgetFailures() }

func (e Lost) apply(t *transition) {
	t.Connected = false
	t.renewalLost()
	if e.Stable {
		t.forgetFailures()
	}
	if !t.Target().Known() {
		floor := t.Settings.floor(e.Class, e.RetryAfter)
		t.record(t.Hub.Tried.Target).NotBefore = t.now.Add(floor)
		t.startOver()
		return
	}
	e.HubFailure.apply(t)
}

// apply: the program ended a good connection itself. Nothing is wrong, so nothing waits.
func (e Closed) apply(t *transition) {
	t.Connected = false
	t.renewalLost()
	if e.Stable {
		t.forgetFailures()
	}
	if !t.Target().Known() {
		t.startOver()
	}
}

// apply: what the failure calls for at DPS depends on its class; the hub is tried again in any
// case.
func (e HubFailure) apply(t *transition) {
	t.Hub.Phase = Idle
	r := t.record(t.Hub.Tried.Target)
	e.Class = t.judge(r, e)
	r.Failures++
	r.Class = e.Class
	floor := t.Settings.floor(e.Class, e.RetryAfter)
	r.NotBefore = t.now.Add(floor)
	r.At = t.backOff(t.Settings.Hub, r.Failures, floor)
	if t.Outage.Since.IsZero() {
		t.Outage.Since = t.now
	}
	if !t.DPS.BehindHub.IsZero() {
		at := t.soon(later(t.DPS.BehindHub, t.DPS.NotBefore), WakeSpread)
		t.DPS.At, t.DPS.BehindHub = earlier(t.DPS.At, at), time.Time{}
	}
	switch e.Class {
	case retry.Throttled:
		t.throttled(r)
	case retry.Rejected, retry.Caller:
		t.rejected(r, e)
	case retry.Incompatible:
		t.incompatible(r)
	default:
		t.unavailable(e)
	}
}

// judge is the class of a failure, given those before it. Names vanish for a moment while a hub
// fails over, so that one that does not exist is gone only after a while.
func (t *transition) judge(r *HubRecord, e HubFailure) retry.Class {
	if !e.NameNotFound {
		r.Missing = 0
		return e.Class
	}
	if r.Missing == 0 {
		r.MissingSince = t.now
	}
	r.Missing++
	if r.Missing >= NameGoneTries && t.now.Sub(r.MissingSince) >= NameGoneTime {
		return retry.Rejected
	}
	return retry.Unreachable
}

// throttled: the hub is right and knows the device, so there is nothing to ask DPS about, unless it
// goes on for a day. The hub goes first then, once, if it has its turn soon: one that throttles for
// ever would otherwise put the question off with each try.
func (t *transition) throttled(r *HubRecord) {
	day := t.Outage.Since.Add(ThrottledOutage)
	at := later(day, t.now)
	if next := r.At.Add(BootGrace); next.Sub(at) <= AfterDPS {
		at = later(at, next)
	}
	switch d := &t.DPS; {
	case d.Phase == Idle:
		t.planOutage(t.staggeredFrom(at))
	case d.Reason == ReasonOutage && d.Clock == ClockForNone && t.Outage.Asked == 0 &&
		!t.oneIsSilent():
		d.At = later(d.At, day)
	}
}

// oneIsSilent says that a hub which the device holds does worse than throttle.
func (t *transition) oneIsSilent() bool {
	for _, a := range [...]Assignment{t.Confirmed, t.Candidate} {
		if k := t.Kept(a); k.Failures > 0 && k.Class != retry.Throttled {
			return true
		}
	}
	return false
}

// unavailable: the hub failed, or nobody answered, or somebody else did.
func (t *transition) unavailable(e HubFailure) {
	if e.Dates && t.mayCheckClock() {
		t.drawOutage() // before the clock is asked for, lest that put it off with each start
		t.planClockCheck(StatusLookup, ReasonOutage)
		return
	}
	switch {
	case t.DPS.Phase == Idle:
		t.armOutage()
	case t.waitsOutThrottling():
		t.Outage.AskAt = time.Time{}
		t.armOutage()
	}
}

// waitsOutThrottling says that the question planned is one about a hub that throttles, which has
// turned out to do worse.
func (t *transition) waitsOutThrottling() bool {
	d := &t.DPS
	return d.Reason == ReasonOutage && t.Outage.Asked == 0 &&
		d.At.Sub(t.now) > OutageMax+t.Stagger()
}

// rearmOutage sets the question that was planned before the program asked for a registration. One
// that is overdue counts as asked by that.
func (t *transition) rearmOutage() {
	r := t.Kept(t.Hub.Tried.Target)
	switch {
	case r.Class == retry.Rejected:
		return // its gaps go on
	case r.Class == retry.Throttled && t.Outage.Asked == 0:
		t.throttled(&r)
		return
	}
	if !t.Outage.AskAt.After(t.now) {
		t.Outage.AskAt = time.Time{}
	}
	t.armOutage()
}

// armOutage sets the next question about a silent hub, to the time that it was planned for if
// another request has come first.
func (t *transition) armOutage() {
	t.drawOutage()
	t.planOutage(later(t.Outage.AskAt, t.now))
}

func (t *transition) drawOutage() {
	if t.Outage.AskAt.IsZero() {
		t.Outage.AskAt = t.staggeredFrom(t.outage(t.Outage.Asked))
	}
}

// outageAsked counts a question about a silent hub, and sets the next one.
func (t *transition) outageAsked() {
	t.Outage.Asked++
	t.Outage.AskAt = time.Time{}
	t.armOutage()
}

func (t *transition) planOutage(at time.Time) {
	t.Outage.AskAt = at
	r := StatusLookup
	if t.Outage.Asked >= OutageLookups {
		r = Registration // the operator may have moved the fleet off a dead hub
	}
	t.planDPS(at, r, ReasonOutage)
}

// incompatible: the hub speaks another protocol. Neither it nor DPS is going to change its mind
// soon.
func (t *transition) incompatible(r *HubRecord) {
	at := t.incompatibleUntil()
	r.At = at.Add(AfterDPS)
	if t.dpsFree() {
		t.planDPS(at, Registration, ReasonIncompatible)
	}
}
