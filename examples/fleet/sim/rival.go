// SPDX-License-Identifier: Apache-2.0

package sim

import (
	mathrand "math/rand/v2"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
)

// Policy is how the devices of another SDK try again: package rivals has those of the official
// ones. Its devices remember nothing over a restart: they register, and then connect.
type Policy struct {
	// DPS is how long to wait after the n-th failure in a row at DPS, which may have asked for a
	// time; u is uniform in [0, 1).
	DPS func(n int, retryAfter time.Duration, u func() float64) time.Duration

	// Hub is the same at a hub, for a failure that is no rejection.
	Hub func(n int, u func() float64) time.Duration

	// Rejected is how long to wait after the n-th rejection by hubs since the device was last
	// connected. Nil: not at all.
	Rejected func(n int, u func() float64) time.Duration

	// RetriesHub says that the device tries the hub again then. Else it registers anew.
	RetriesHub bool

	// HubTries is after how many failures in a row at a hub, none of them a rejection, the device
	// registers anew; 0: never.
	HubTries int

	// Caches says that the device has its hub's name from before and connects there first, since
	// its process, which holds that, has not ended.
	Caches bool
}

// Rivals are devices with a policy. They are a [Behaviour].
type Rivals struct {
	policy    Policy
	boot      func(device uint32) time.Duration
	remembers func(device uint32) Home
	devices   []theirs
}

// theirs is what one device knows.
type theirs struct {
	chance   mathrand.PCG
	wake     time.Duration
	failures int32
	rejected int32 // since it was last connected
	hub      service.Hub
	atHub    bool // it is the hub that is tried
	polling  bool
	gen      uint8
}

// NewRivals makes the devices. Of the fleet, Boot, Remembers, Seed and SameSeed count.
func NewRivals(f Fleet, p Policy) *Rivals {
	r := &Rivals{
		policy: p, boot: f.Boot, remembers: f.Remembers, devices: make([]theirs, f.Devices),
	}
	for i := range r.devices {
		r.devices[i] = theirs{chance: seeded(f.Seed, uint32(i), f.SameSeed), wake: never}
	}
	return r
}

func (r *Rivals) begin(device uint32, do *doings) {
	do.events = append(do.events, event{at: r.boot(device), device: device, kind: boots})
}

func (r *Rivals) handle(e event, do *doings) time.Duration {
	d := &r.devices[e.device]
	switch e.kind {
	case boots:
		if r.policy.Caches {
			h := r.remembers(e.device)
			d.hub, d.atHub = h.Hub, h.Known
		}
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
	u := source{&d.chance}.Float64
	switch service.Outcome(e.what) {
	case service.Accepted:
		d.failures, d.rejected = 0, 0
		do.change(e.device, true, d.hub)
	case service.Rejected:
		d.failures, d.rejected = 0, d.rejected+1
		d.atHub = r.policy.RetriesHub
		if r.policy.Rejected == nil {
			r.try(e.device, d, do)
			return
		}
		d.wake = e.at + r.policy.Rejected(int(d.rejected), u)
	default:
		if d.failures++; r.policy.HubTries > 0 && int(d.failures) >= r.policy.HubTries {
			d.atHub, d.failures = false, 0
			r.try(e.device, d, do)
			return
		}
		d.wake = e.at + r.policy.Hub(int(d.failures), u)
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
		d.hub, d.atHub = service.Hub(e.hub), true
		r.try(e.device, d, do)
	default:
		d.failures++
		u := source{&d.chance}.Float64
		d.wake = e.at + r.policy.DPS(int(d.failures), e.wait, u)
	}
}

func (r *Rivals) expect([]event) uint64 { return 0 }
