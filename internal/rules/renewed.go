// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// apply: a certificate that is not due is a new one, or one by a clock that is right again, so that
// what failed before does not matter.
func (e Installed) apply(t *transition) {
	r := &t.Renewal
	if e == (Installed{}) {
		t.dropCertificate()
		return
	}
	r.Known, r.Certificate = true, e
	if e.RenewAt.After(t.now) {
		t.renewalSettled()
		if t.DPS.Phase == Waiting && t.renewalIsPointless() {
			t.endRenewalByDPS()
		}
	}
	if e.Fresh {
		t.forgiveRejections()
	}
	if !t.Connected {
		r.AwayUntil = t.soon(t.now.Add(BootGrace), WakeSpread)
	}
}

// forgiveRejections tries hubs soon that have rejected what the device had to show before, and asks
// DPS nothing about that. The gaps stay: they hold again if this is rejected, too.
func (t *transition) forgiveRejections() {
	for i := range t.Hubs {
		if r := &t.Hubs[i]; r.Hub != "" && r.Class == retry.Rejected && r.Failures > 0 {
			r.Failures = 0
			r.At = earlier(r.At, later(t.backOff(t.Settings.Hub, 1, 0), r.NotBefore))
		}
	}
	d := &t.DPS
	if d.Phase == Waiting && !d.Manual && d.Reason == ReasonRejected && t.Target().Known() {
		until := d.RefusedUntil
		t.disarmDPS() // the question was about another, too
		t.DPS.RefusedUntil = until
	}
}

// renewalSettled starts the counts of R anew.
func (t *transition) renewalSettled() {
	r := &t.Renewal
	*r = RenewalTimer{
		Phase: r.Phase, Known: r.Known, Certificate: r.Certificate, GapUntil: r.GapUntil,
		HubNotBefore: r.HubNotBefore, AwayUntil: r.AwayUntil, Manual: r.Manual,
	}
}

// renewalIsPointless says that nobody needs the registration of R's that is planned.
func (t *transition) renewalIsPointless() bool {
	d, r := &t.DPS, &t.Renewal
	if !d.Reason.renews() || d.Manual || r.Manual {
		return false
	}
	return r.Certificate.RenewAt.After(t.now) ||
		d.Reason == ReasonExpired && (t.Connected || !t.expired())
}

// dropCertificate: there is none any more, so that there is nothing to renew.
func (t *transition) dropCertificate() {
	r := &t.Renewal
	if t.DPS.Reason.renews() && !t.DPS.Manual {
		t.endRenewalByDPS()
	}
	if r.Phase == UnderWay {
		t.do(CancelRenewal{})
	}
	t.replyNotRenewed(time.Time{})
	*r = RenewalTimer{GapUntil: r.GapUntil, HubNotBefore: r.HubNotBefore}
}

func (e Renewed) apply(t *transition) {
	t.Renewal.Phase = Idle
	t.renewalSettled()
	e.Installed.apply(t)
	t.replyRenewed()
}

// apply: the hub has not renewed the certificate. One that never will, or that stays silent again,
// need not be waited for.
func (e RenewalFailed) apply(t *transition) {
	r := &t.Renewal
	if r.Phase != UnderWay {
		return // the connection has ended meanwhile
	}
	r.Phase, r.LastByDPS = Idle, false
	r.HubFailures++
	failures := r.HubFailures
	if e.Unavailable {
		failures = unableFailures
	}
	r.HubUnable = r.HubUnable || e.Unavailable || e.Silent && r.HubFailures >= SilentRenewals
	r.HubAt = t.renewalIn(failures, e.RetryAfter)
	r.HubNotBefore = t.now.Add(
		max(min(e.RetryAfter, retry.LongestHonoured), t.Settings.Hub.MinDelay))
	t.replyNotRenewed(time.Time{})
}

// unableFailures are so many that the delay is at its cap.
const unableFailures = 32

// renewalLost: what was asked of the hub ends with the connection.
func (t *transition) renewalLost() {
	r := &t.Renewal
	if r.Phase == UnderWay {
		t.do(CancelRenewal{})
		RenewalFailed{}.apply(t)
	}
	if r.Known {
		r.AwayUntil = t.soon(t.now.Add(BootGrace), WakeSpread)
	}
}

// apply renews at once, by whichever way may be tried; what is under way already serves everybody.
func (Renew) apply(t *transition) {
	r, d := &t.Renewal, &t.DPS
	registers := d.Phase == UnderWay && d.Request == Registration && d.Clock == ClockForNone
	byHub := t.Connected && !r.HubNotBefore.After(t.now)
	byDPS := !d.floor().After(t.now)
	switch {
	case r.Phase == UnderWay, registers:
		r.Manual = true
	case byHub && !(r.HubUnable && byDPS):
		r.Manual = true
	case byDPS:
		r.Manual = true
		r.Operation = ""
		t.registerByHand(ReasonRenewal)
	default:
		notBefore := d.floor()
		if t.Connected {
			notBefore = earlier(notBefore, r.HubNotBefore)
		}
		t.do(ReplyRenewalFailed{NotBefore: notBefore})
	}
}

func (t *transition) replyRenewed() {
	if t.Renewal.Manual {
		t.Renewal.Manual = false
		t.do(ReplyRenewed{})
	}
}

func (t *transition) replyNotRenewed(notBefore time.Time) {
	if t.Renewal.Manual {
		t.Renewal.Manual = false
		t.do(ReplyRenewalFailed{NotBefore: notBefore})
	}
}

// registered takes in that DPS has assigned the device, with a certificate or without. An
// enrollment without a policy does not issue any, and nobody is going to change that soon.
func (t *transition) registered(issued bool) {
	r := &t.Renewal
	if !r.Known {
		return
	}
	if issued {
		if r.Phase == UnderWay {
			t.do(CancelRenewal{})
			r.Phase = Idle
		}
		t.renewalSettled()
		r.GapUntil = t.now.Add(RenewalGap)
	} else {
		r.DPSFailures, r.LastByDPS, r.Operation = 0, true, ""
		r.DPSAt = later(r.DPSAt, t.soon(t.now.Add(NoPolicyWait), RenewalSpread))
	}
	r.HubFree = true
}

// registrationFailed says that this is the end of the registration: the program has been told, or
// it was one of R's, which has another way to try before the next.
func (t *transition) registrationFailed(e DPSFailed) (over bool) {
	t.replyNotRenewed(time.Time{})
	d, r := &t.DPS, &t.Renewal
	once := t.registersOnce()
	if d.Reason.renews() {
		r.HubFree = true
		if !once && e.Silent && e.Operation == "" && d.Clock == ClockForNone {
			r.GapUntil = time.Time{} // nobody has heard of it, and the device is locked out
		}
	}
	if once {
		r.DPSFailures++
		r.LastByDPS, r.Operation = true, e.Operation
		r.DPSAt = t.renewalIn(r.DPSFailures, e.RetryAfter)
		if e.Failure == DPSRefused || e.Failure == DPSClockWrong || e.Failure == DPSClockUnknown {
			r.DPSAt, r.Operation = later(r.DPSAt, t.spread(DPSCap)), ""
		}
	}
	if t.manualFailed() {
		return true
	}
	if !once {
		return false
	}
	if e.Dated {
		t.clockTold()
	}
	t.endRenewalByDPS()
	return true
}

// registersOnce says that what DPS is asked for is a certificate, by a device that is not locked
// out without: D does not repeat it, since the hub may do it meanwhile.
func (t *transition) registersOnce() bool {
	return t.DPS.Reason == ReasonRenewal || t.DPS.Reason == ReasonExpired && t.Connected
}

// endRenewalByDPS leaves D to what it had planned besides.
func (t *transition) endRenewalByDPS() {
	t.disarmDPS()
	switch {
	case t.Connected:
	case !t.Target().Known():
		t.startOver()
	case !t.Outage.Since.IsZero():
		t.rearmOutage()
	}
}

// apply: the program's own credential is another now. The hub may still know the old one, and DPS
// tells it the new one. What was asked with the old one says nothing about it.
func (CredentialChanged) apply(t *transition) {
	d := &t.DPS
	if d.Phase == UnderWay {
		t.do(CancelDPS{})
	}
	d.Operation, d.RefusedUntil, d.Failures, t.Refusals = "", time.Time{}, 0, 0
	at := t.now
	if !d.Manual && !t.Renewal.Manual {
		at = t.staggered(t.Stagger())
	}
	t.planDPS(at, Registration, ReasonCredential)
}
