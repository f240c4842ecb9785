// SPDX-License-Identifier: Apache-2.0

package sim

import (
	mathrand "math/rand/v2"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
)

// Policy is how the devices of another SDK try again: package rivals has those of the official
// ones. Its devices remember nothing: at each start they register, and then connect.
type Policy struct {
	// DPS is how long to wait after the n-th failure in a row at DPS, which may have asked for a
	// time; u is uniform in [0, 1).
	DPS func(n int, retryAfter time.Duration, u func() float64) time.Duration

	// Hub is the same at a hub, for a failure that is no rejection.
	Hub func(n int, u func() float64) time.Duration

	// Rejected is how long to wait after the n-th rejection by a hub before it is tried again. Nil:
	// the device registers anew at once.
	Rejected func(n int, u func() float64) time.Duration

	// HubTries is after how many failures in a row at a hub the device registers anew; 0: never.
	HubTries int

	// Caches says that the program around the SDK remembers the hub, and connects there first.
	Caches bool
}

// Rivals are devices with a policy. They are a [Behaviour].
type Rivals struct {
	Fleet
	Policy  Policy
	devices []theirs
}

// theirs is what one device knows.
type theirs struct {
	chance   mathrand.PCG
	wake     time.Duration
	failures int32
	hub      service.Hub
	knows    bool // the hub
	atHub    bool // it is the hub that is tried
	polling  bool
	gen      uint8
}

// NewRivals makes the devices. Of the fleet, Boot, Remembers, Seed and SameSeed count.
func NewRivals(f Fleet, p Policy) *Rivals {
	r := &Rivals{Fleet: f, Policy: p, devices: make([]theirs, f.Devices)}
	for i := range r.devices {
		r.devices[i] = theirs{chance: seeded(f.Seed, uint32(i), f.SameSeed), wake: never}
	}
	return r
}

func (r *Rivals) begin(device uint32, do *doings) {
	do.events = append(do.events, event{at: r.Boot(device), device: device, kind: boots})
}

func (r *Rivals) handle(e event, do *doings) time.Duration {
	d := &r.devices[e.device]
	switch e.kind {
	case boots:
		if h := r.Remembers(e.device); r.Policy.Caches && h.Known {
			d.hub, d.knows = h.Hub, true
		}
		d.atHub = d.knows
		r.try(e.device, d, do)
	case wakes:
		if e.at >= d.wake {
			r.try(e.device, d, do)
		}
	case polls:
		d.ask(e.device, service.Poll, do)
	case hubSays:
		r.hubSays(e, d, do)
	case dpsSays:
		r.dpsSays(e, d, do)
	}
	return d.wake
}

func (d *theirs) ask(device uint32, k service.Kind, do *doings) {
	d.wake = never
	do.ask(service.Request{Device: device, Kind: k, Hub: d.hub}, d.gen)
}

func (r *Rivals) try(device uint32, d *theirs, do *doings) {
	switch {
	case d.atHub:
		d.ask(device, service.Connect, do)
	case d.polling:
		d.ask(device, service.Poll, do)
	default:
		d.ask(device, service.Register, do)
	}
}

func (r *Rivals) hubSays(e event, d *theirs, do *doings) {
	do.received(e, service.Connect, d.hub)
	outcome := service.Outcome(e.what)
	u := source{&d.chance}.Float64
	if outcome == service.Accepted {
		d.failures = 0
		do.change(e.device, true, d.hub)
		return
	}
	d.failures++
	switch n := int(d.failures); {
	case outcome == service.Rejected && r.Policy.Rejected == nil,
		r.Policy.HubTries > 0 && n >= r.Policy.HubTries:
		d.atHub, d.failures = false, 0
		r.try(e.device, d, do)
	case outcome == service.Rejected:
		d.wake = e.at + r.Policy.Rejected(n, u)
	default:
		d.wake = e.at + r.Policy.Hub(n, u)
	}
}

func (r *Rivals) dpsSays(e event, d *theirs, do *doings) {
	k := service.Register
	if d.polling {
		k = service.Poll
	}
	do.received(e, k, d.hub)
	switch service.Outcome(e.what) {
	case service.Assigning:
		d.polling = true
		do.events = append(do.events, event{
			at: e.at + max(e.wait, leastPoll), device: e.device, kind: polls,
		})
	case service.Assigned:
		d.polling, d.failures = false, 0
		d.hub, d.knows, d.atHub = service.Hub(e.hub), true, true
		r.try(e.device, d, do)
	default:
		d.failures++
		u := source{&d.chance}.Float64
		d.wake = e.at + r.Policy.DPS(int(d.failures), e.wait, u)
	}
}

func (r *Rivals) expect([]event) uint64 { return 0 }
