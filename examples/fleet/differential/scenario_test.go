// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// The hubs of every scenario: where the fleet was, and where it may have to move.
const (
	hubA service.Hub = iota
	hubB
)

var hubNames = []string{"hub-a.azure-devices.net", "hub-b.azure-devices.net"}

const (
	// retryAfter is what DPS asks a device to wait for that has registered. The registration takes
	// a second less, so that no poll comes at the very moment at which it is carried out.
	retryAfter = 3 * time.Second
	assignTime = 2 * time.Second

	// A device that holds an assignment has been off for some days. Its token lives for longer than
	// a scenario lasts, since the renewal of one is another connection and no decision, and not for
	// so long as the device was off: one made by a clock that has stood still has expired.
	off      = 72 * time.Hour
	tokenTTL = 24 * time.Hour
)

// scenario is what happens to a fleet, in words that both sides can follow. Times are since its
// beginning.
type scenario struct {
	devices int
	end     time.Duration
	quota   int           // registrations and lookups in any minute
	stagger time.Duration // Device.Stagger
	hint    time.Duration // the Stagger that DPS says with each assignment, in whole seconds

	// probes says that a device which its hub rejects tries it again, and asks DPS for the time
	// alone.
	probes bool

	// warm says that the devices hold an assignment to hub A, where they have been before.
	warm bool

	// online says that the devices are connected to hub A when it begins, and have been for long.
	online bool

	// x509 says that the devices have certificates in place of keys, and so make no tokens.
	x509 bool

	// slow says that the devices' clocks are wrong at each start: as at their last use, or, of a
	// device that holds no assignment, in 1970.
	slow bool

	// within is over which time the devices boot, no two at the same moment.
	within time.Duration

	// A process lives for a time between shortest and longest, is killed, and another one starts
	// after restart. Zero: it lives for ever.
	shortest, longest, restart time.Duration

	// hub is what is wrong with hub A; its connections are cut as that begins. other is what is
	// wrong with hub B.
	hub, other hubFails

	// dpsFailing is when DPS answers everything with 503, dpsDown when its port refuses
	// connections.
	dpsFailing, dpsDown service.Interval

	// moved is when the operator moves all devices to hub B; hub A turns them away from then on.
	// Zero: never. With apart it is when the first of them is moved, and the others follow, each so
	// much later.
	moved, apart time.Duration
}

// movedAt is when a device is moved.
func (s scenario) movedAt(device int) time.Duration {
	return s.moved + time.Duration(device)*s.apart
}

// hubFails is what is wrong with a hub for a time.
type hubFails struct {
	service.Interval
	how failure
}

type failure int

const (
	refuses  failure = iota // its port refuses connections
	answers3                // CONNACK 3
	rejects                 // CONNACK 5
	gone                    // its name does not exist
)

// of is the scenario for so many devices, which boot within ten seconds unless it says otherwise,
// with a quota of one in share of them a minute.
func (s scenario) of(devices, share int) scenario {
	s.devices, s.within = devices, cmp.Or(s.within, 10*time.Second)
	s.quota = max(devices/max(share, 1), 1)
	return s
}

// boots is when each device boots first.
func (s scenario) boots() []time.Duration {
	r := rand.New(rand.NewPCG(1, uint64(s.devices)))
	each := s.within / time.Duration(s.devices)
	at := make([]time.Duration, s.devices)
	for i := range at {
		at[i] = time.Duration(i)*each + time.Duration(r.Int64N(int64(each)))
	}
	return at
}

// life is for how long a device's process lives that has started for the n-th time, from 1.
func (s scenario) life(device, n int) time.Duration {
	if s.longest == 0 {
		return 0
	}
	r := rand.New(rand.NewPCG(uint64(device), uint64(n)))
	return s.shortest + time.Duration(r.Int64N(int64(s.longest-s.shortest)))
}

// step is one change at a time.
type step struct {
	at time.Duration
	do func(*bubble)
}

// steps are all that happens in a bubble, in order.
func (s scenario) steps() (steps []step) {
	add := func(at time.Duration, do func(*bubble)) {
		if at < s.end {
			steps = append(steps, step{at, do})
		}
	}
	for device, at := range s.boots() {
		for n := 1; at < s.end && !s.online; n++ {
			add(at, func(b *bubble) { b.start(device, n) })
			life := s.life(device, n)
			if life == 0 {
				break
			}
			add(at+life, func(b *bubble) { b.kill(b.boards[device]) })
			at += life + s.restart
		}
	}
	for i, f := range []hubFails{s.hub, s.other} {
		if f.To > 0 {
			add(f.From, func(b *bubble) { b.failHub(b.hubs[i], f.how) })
			add(f.To, func(b *bubble) { b.mendHub(b.hubs[i]) })
		}
	}
	if s.dpsFailing.To > 0 {
		add(s.dpsFailing.From, (*bubble).failDPS)
		add(s.dpsFailing.To, (*bubble).mendDPS)
	}
	if s.dpsDown.To > 0 {
		add(s.dpsDown.From, func(b *bubble) {
			b.network.SetFault(dpstest.GlobalEndpoint, simnet.Refused)
			b.network.Cut(dpstest.GlobalEndpoint)
		})
		add(s.dpsDown.To, func(b *bubble) {
			b.network.SetFault(dpstest.GlobalEndpoint, simnet.None)
		})
	}
	switch {
	case s.apart > 0:
		for device := range s.devices {
			add(s.movedAt(device), func(b *bubble) { b.move(b.boards[device]) })
		}
	case s.moved > 0:
		add(s.moved, func(b *bubble) { b.move(b.boards...) })
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	return steps
}

func name(device int) string { return fmt.Sprintf("sensor-%05d", device) }
