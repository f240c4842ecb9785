// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// RenewalTimer is R: when to renew the certificate that was issued to the device, and whom to ask.
// The zero value is a device that has none.
type RenewalTimer struct {
	_ [0]func() // as in HubRecord

	Phase Phase     // UnderWay: the hub has been asked
	At    time.Time // while Waiting
	ByDPS bool      // while Waiting: a registration is next, not a question to the hub

	Known       bool // there is a certificate: this one
	Certificate Installed

	GapUntil time.Time // no attempt begins before, by either way, but for one by hand

	// When each way may be tried next, and its failures in a row since the last certificate.
	HubAt, DPSAt             time.Time
	HubFailures, DPSFailures int

	// What the hub asked for, and the least wait after a failure: it holds by hand too.
	HubNotBefore time.Time

	HubUnable bool   // the hub will not do it, so DPS is asked before RegisterAt as well
	LastByDPS bool   // the last attempt was a registration: the hub has the next turn
	Operation string // of a registration that failed while it was polled

	Manual bool // somebody waits for the result

	// A hub that was lost, or not yet tried, has until then to accept the device before DPS is
	// asked because of RegisterAt.
	AwayUntil time.Time

	// An expired certificate keeps the device from its hub until then, as DPS is asked first.
	HubHeldUntil time.Time
	HubFree      bool // it does not any more: DPS has answered or failed, or the hub accepted
	Staggered    bool // the first question about the expiry has been spread over Stagger
}

// renews says that a registration for this reason is one of R's.
func (r Reason) renews() bool { return r == ReasonRenewal || r == ReasonExpired }

// evenConnected says that a question for this reason does not wait for the end of the connection.
func (r Reason) evenConnected() bool { return r.renews() || r == ReasonCredential }

// expired says that there is a certificate, and that it is not valid any more.
func (t *transition) expired() bool {
	return t.Renewal.Known && !t.Renewal.Certificate.Expires.After(t.now)
}

// registering says that DPS is busy with what brings a certificate.
func (t *transition) registering() bool {
	d := &t.DPS
	return d.Pending() && d.Reason.renews() || d.Phase == UnderWay && d.Request == Registration
}

// mayRegister says that nothing else is asked of DPS that a registration of R would push aside. One
// that waits for the hub to go first is as good as R's own where the hub does not go first.
func (t *transition) mayRegister() bool {
	d := &t.DPS
	return t.dpsFree() || d.Phase == Waiting && !d.BehindHub.IsZero() && !d.Manual && t.expired()
}

// planRenewal sets R: to the way that may be tried first; of two, to the one whose turn it is.
func (t *transition) planRenewal() {
	r := &t.Renewal
	t.holdHub()
	if r.Phase == UnderWay {
		return
	}
	r.Phase, r.At, r.ByDPS = Idle, time.Time{}, false
	if !r.Known && !r.Manual || t.registering() {
		return
	}
	if t.Connected {
		r.Phase, r.At = Waiting, later(t.now, t.hubMayRenew())
	}
	if !t.mayRegister() {
		return
	}
	at := later(t.now, t.dpsMayRenew())
	dpsFirst := r.HubFailures > 0 && !r.LastByDPS
	if r.Manual {
		dpsFirst = r.HubUnable
	}
	if r.Phase == Idle || at.Before(r.At) || at.Equal(r.At) && dpsFirst {
		r.Phase, r.At, r.ByDPS = Waiting, at, true
	}
}

// hubMayRenew is when the hub may be asked, if it is there.
func (t *transition) hubMayRenew() time.Time {
	r := &t.Renewal
	if r.Manual {
		return r.HubNotBefore
	}
	return later(later(r.Certificate.RenewAt, r.GapUntil), later(r.HubAt, r.HubNotBefore))
}

// dpsMayRenew is when DPS may be asked. As long as the certificate is good for a while, that is the
// hub's to do, unless it will not; one that is away comes back.
func (t *transition) dpsMayRenew() time.Time {
	r, c := &t.Renewal, &t.Renewal.Certificate
	if r.Manual {
		return t.DPS.floor()
	}
	from := c.RegisterAt
	switch {
	case !t.Connected:
		from = later(from, r.AwayUntil)
	case r.HubUnable:
		from = c.RenewAt
	}
	return later(earlier(from, c.Expires), t.dpsRenewalFloor())
}

// dpsRenewalFloor is before when R asks nothing of DPS.
func (t *transition) dpsRenewalFloor() time.Time {
	return later(later(t.Renewal.GapUntil, t.Renewal.DPSAt), t.DPS.floor())
}

// startRenewal begins what R has planned.
func (t *transition) startRenewal() {
	r := &t.Renewal
	if !r.ByDPS {
		r.Phase, r.GapUntil = UnderWay, t.now.Add(RenewalGap)
		t.do(RenewCertificate{})
		return
	}
	r.Phase = Idle
	if !t.mayRegister() {
		return
	}
	if t.expired() && !t.Connected {
		t.registerExpired()
	} else {
		t.planDPS(t.now, Registration, ReasonRenewal)
		t.resumeOperation()
	}
	t.holdHub()
	t.planHub()
}

// registerExpired turns to DPS for a device that its hub is going to turn away. If the clock has
// not been told lately it may be what is wrong.
func (t *transition) registerExpired() {
	r := &t.Renewal
	stale, window := t.clockStale(), t.Stagger()
	if stale {
		window = t.clockWindow()
	}
	at := later(t.now, t.DPS.BehindHub)
	if !r.Staggered {
		r.Staggered = true
		at = t.staggered(window)
	}
	t.planDPS(at, Registration, ReasonExpired)
	t.resumeOperation()
	if stale {
		t.DPS.Clock = ClockForExpiry
	}
	t.armDPS(at)
}

// resumeOperation polls what a registration of R's has come to, if there is one.
func (t *transition) resumeOperation() {
	if r := &t.Renewal; r.Operation != "" {
		t.DPS.Operation, r.Operation = r.Operation, ""
	}
}

// attemptBegins notes that a registration of R's is sent anew.
func (t *transition) attemptBegins() {
	if d := &t.DPS; d.Reason.renews() && d.Clock == ClockForNone && d.Operation == "" {
		t.Renewal.GapUntil = t.now.Add(RenewalGap)
	}
}

// expiredNotBefore is before when a registration for want of a valid certificate does not begin
// anew: the distance of two attempts, but not of one by hand, nor of the one that repeats what the
// clock has spoiled.
func (t *transition) expiredNotBefore() time.Time {
	d := &t.DPS
	if d.Reason != ReasonExpired || d.Operation != "" || d.corrected || d.Manual ||
		t.Renewal.Manual {
		return time.Time{}
	}
	return t.Renewal.GapUntil
}

// holdHub keeps a device with an expired certificate from its hub for a while, if DPS is asked
// within that.
func (t *transition) holdHub() {
	r := &t.Renewal
	if !r.Known {
		return
	}
	over := !r.HubHeldUntil.IsZero() && !r.HubHeldUntil.After(t.now)
	r.HubFree = t.expired() && (r.HubFree || t.Connected || over)
	if r.HubFree || !t.expired() {
		r.HubHeldUntil = time.Time{}
		return
	}
	asks := t.dpsRenewalFloor()
	if !r.HubHeldUntil.IsZero() || !t.registering() && !t.mayRegister() ||
		asks.Sub(t.now) > ExpiredHold {
		return
	}
	r.HubHeldUntil = t.now.Add(ExpiredHold)
}

// renewalIn is how long to leave a way alone after so many failures. A certificate that is about to
// expire leaves less time, but never less than the distance of two attempts.
func (t *transition) renewalIn(failures int, retryAfter time.Duration) time.Time {
	left := t.Renewal.Certificate.Expires.Sub(t.now)
	most := max(min(RenewalCap, left/10), RenewalGap)
	wait := RenewalGap
	for n := 1; n < failures && wait < most; n++ {
		wait *= 2
	}
	wait = max(min(wait, most), min(retryAfter, retry.LongestHonoured))
	return t.now.Add(wait + t.uniform(0, RenewalSpread))
}
