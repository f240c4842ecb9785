package provisioning

import (
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// settle forgets past failures, after a connection that lasted.
func (t *transition) settle() {
	t.hub.n, t.dps.n, t.gap, t.outages, t.clockTries = 0, 0, 0, 0, 0
	t.clockAt = time.Time{}
}

// floorOf is how long a hub is left alone after a failure, before jitter.
func (r *rules) floorOf(e event) time.Duration {
	switch e.class {
	case hubconn.Throttled:
		return e.wait
	case hubconn.Untrusted:
		return max(e.wait, untrustedFloor, r.hub.MinDelay)
	}
	return max(e.wait, r.hub.MinDelay)
}

func (t *transition) hubFailed(e event) {
	t.hub.n++
	t.hub.class = e.class
	tried := t.hub.slot
	floor := t.rules.floorOf(e)
	t.hub.hold(t.hub.host, t.now.Add(floor))
	window := t.hub.n
	defer func() { t.armHub(t.now.Add(t.rules.hub.Delay(window, floor, t.rnd.Float64()))) }()

	switch e.class {
	case hubconn.Throttled:
		// The hub is right and knows the device: there is nothing to ask DPS about.
		if t.dps.armed && t.dps.reason == reasonOutage {
			t.disarmDPS()
		}
	case hubconn.Rejected, hubconn.Caller:
		if tried == slotConfirmed {
			t.hub.oldRefused = true
			if t.candidate != nil {
				return // what DPS said last has its own turn
			}
		}
		if t.gap == 0 {
			window = capWindow // DPS is asked; meanwhile the hub is probed at its cap
		}
		t.rejected(e.class == hubconn.Rejected && !e.gone)
	default:
		if e.dates && t.mayCheckClock() {
			t.dps.reason, t.dps.request = reasonOutage, requestLookup
			t.dps.clock = clockForHub
			t.armDPS(t.now)
			return
		}
		if !t.dpsPending() {
			t.armOutage()
		}
	}
}

// mayCheckClock: a question about an outage that waits its time gives way, once, since a network often comes up later than the device.
func (t *transition) mayCheckClock() bool {
	if t.dps.armed && t.dps.reason == reasonOutage && t.dps.clock == clockForNone {
		return t.clockAt.IsZero()
	}
	return !t.dpsPending() && t.clockStale()
}

func (t *transition) clockStale() bool {
	return t.clockAt.IsZero() || t.now.Sub(t.clockAt) >= clockValid
}

// rejected goes to DPS: at once for the first time, then with growing gaps. A token made with a wrong clock is rejected too, so the clock is
// checked first, which is no registration.
func (t *transition) rejected(clockMatters bool) {
	if t.dps.busy || t.dps.armed && t.dps.reason != reasonOutage {
		return
	}
	at := t.now.Add(t.rejectionGap())
	checkClock := clockMatters && t.rules.token && t.clockStale()
	if t.gap == 0 && !checkClock {
		at = t.staggered()
	}
	t.askDPS(at, requestRegister, reasonRejected)
	if checkClock {
		t.dps.clock = clockForHub
	}
}

func (t *transition) rejectionGap() time.Duration {
	gap := rejectionGaps[min(t.gap, len(rejectionGaps)-1)]
	return t.uniform(gap*8/10, gap*12/10)
}

// armOutage sets the next question about a silent hub: at U(15, 30) min, then at twice the distance each time.
func (t *transition) armOutage() {
	distance := t.uniform(outageMin, outageMin+outageSpread)
	for range min(t.outages, 16) {
		distance *= 2
	}
	r := requestLookup
	if t.outages >= outageLookups {
		r = requestRegister
	}
	t.askDPS(t.now.Add(min(distance, outageCap)), r, reasonOutage)
}
