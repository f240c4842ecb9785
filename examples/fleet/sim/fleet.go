// SPDX-License-Identifier: Apache-2.0

package sim

import (
	mathrand "math/rand/v2"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/retry"
)

// leastPoll is how soon a registration is polled at the earliest, whatever DPS asks for: what
// retry.ParseRetryAfter makes of less.
const leastPoll = time.Second

// Start is the wall clock's time at the beginning of a simulation: that of a synctest bubble.
var Start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Home is what is stored of where a device belongs.
type Home struct {
	Known bool
	Hub   service.Hub
}

// Fleet is what NewFleet makes a fleet of devices of that run the library's rules.
type Fleet struct {
	Devices int

	// Hubs are the names of the hubs of the world, in its order.
	Hubs []string

	// Settings are those of every device.
	Settings rules.Settings

	// Hint is the Stagger that DPS says with each assignment, those that are remembered included.
	// It counts where Settings has none.
	Hint time.Duration

	// Seed is that of the devices' sources of chance. With SameSeed, all have the same.
	Seed     uint64
	SameSeed bool

	// Random is the source of chance of the n-th process of a device, in place of those.
	Random func(device uint32, n int) rules.Random

	// Boot is when a device's process first starts.
	Boot func(device uint32) time.Duration

	// Remembers is what is stored when it does. Nil: nothing.
	Remembers func(device uint32) Home

	// Online says that a device is connected, for a long time, when it begins, to the hub that it
	// remembers, else to the first: it does not boot then. Nil: none is.
	Online func(device uint32) bool

	// LinkEnds is when a device's connection is ended by its hub; 0 is never. Nil: never for all.
	LinkEnds func(device uint32) time.Duration

	// Life is for how long a process lives that has started for the n-th time, until it is killed;
	// 0 is for ever. Nil: for ever for all. Restart is how long it takes until the next one starts.
	Life    func(device uint32, n int) time.Duration
	Restart time.Duration

	// WrongClock says that a device's system clock is wrong at each start: of one that remembers
	// where it belongs, it stands at the time that it remembers with that, and its tokens have
	// expired; of one that does not, before the certificates of all services are valid. Nil: none
	// is.
	WrongClock func(device uint32) bool
}

// home is what is stored for a device.
func (f *Fleet) home(device uint32) Home {
	if f.Remembers == nil {
		return Home{}
	}
	return f.Remembers(device)
}

// Rules are devices that run the library's rules. It is a [Behaviour].
type Rules struct {
	Fleet
	states  *states
	desks   [maxWorkers]desk
	devices []ours
	waits   []*rules.Waits // of processes that were killed, and not started again yet
}

// ours is what a process knows besides the rules' state.
type ours struct {
	chance         mathrand.PCG
	upSince        time.Duration
	lives          uint32      // processes that have started
	hubGen, dpsGen uint8       // of the attempt under way, and of the connection
	hub            service.Hub // of the attempt under way, and of the connection
	wrongClock     bool        // not corrected yet
	timeless       bool        // and it stands before all certificates
	polling        bool        // the registration under way has an operation
	asked          service.Kind
	running        bool
}

// operation is the ID of any operation: a device has one at a time.
const operation = "operation"

// deviceID is that of any device: no two of them meet.
const deviceID = "device"

// NewFleet makes the devices.
func NewFleet(f Fleet) *Rules {
	r := &Rules{
		Fleet: f, states: newStates(f.Devices, rules.State{Settings: f.Settings}),
		devices: make([]ours, f.Devices),
	}
	for i := range r.desks {
		r.desks[i].states = r.states
	}
	if f.Random == nil {
		for i := range r.devices {
			r.devices[i].chance = seeded(f.Seed, uint32(i), f.SameSeed)
		}
	}
	if f.Life != nil {
		r.waits = make([]*rules.Waits, f.Devices)
	}
	return r
}

func (r *Rules) random(device uint32) rules.Random {
	if r.Random != nil {
		return r.Random(device, int(r.devices[device].lives))
	}
	return source{&r.devices[device].chance}
}

func (r *Rules) assignment(h service.Hub) rules.Assignment {
	return rules.Assignment{Hub: r.Hubs[h], DeviceID: deviceID, Stagger: r.Hint}
}

func (r *Rules) hubNamed(name string) service.Hub {
	for i, n := range r.Hubs {
		if n == name {
			return service.Hub(i)
		}
	}
	panic("the rules name a hub that is not in the world: " + name)
}

func (r *Rules) begin(device uint32, do *doings) {
	at := time.Duration(0)
	if r.Boot != nil {
		at = r.Boot(device)
	}
	if r.Online != nil && r.Online(device) {
		r.beginOnline(device, do)
	} else {
		do.events = append(do.events, event{at: at, device: device, kind: boots})
	}
	if r.LinkEnds != nil {
		if at := r.LinkEnds(device); at > 0 {
			do.events = append(do.events, event{at: at, device: device, kind: linkEnds})
		}
	}
}

// beginOnline is a device that has been connected for a long time.
func (r *Rules) beginOnline(device uint32, do *doings) {
	own := &r.devices[device]
	own.running, own.hub = true, r.home(device).Hub
	s := rules.State{Settings: r.Settings}
	s, _ = rules.Step(s, rules.Boot{
		Next: retry.Wait, Confirmed: r.assignment(own.hub),
	}, Start, r.random(device))
	for _, e := range []rules.Event{rules.Connected{}, rules.Stable{}} {
		s, _ = rules.Step(s, e, Start, r.random(device))
	}
	r.states.save(device, &s)
	do.now = 0
	do.change(device, true, own.hub)
}

func (r *Rules) handle(e event, do *doings) time.Duration {
	p := process{
		Rules: r, ours: &r.devices[e.device], rules: r.desks[do.worker].of(e.device),
		id: e.device, do: do, now: Start.Add(e.at),
	}
	p.State = p.rules.State()
	p.happens(e)
	if at, ok := p.State.Wake(); ok && p.running {
		return at.Sub(Start)
	}
	return never
}

func (r *Rules) expect(batch []event) (sum uint64) {
	const line = 64 / 8 // words
	for _, e := range batch {
		slot := r.states.slots[int(e.device)*slotWords:]
		sum += uint64(r.devices[e.device].lives)
		for i := 0; i < slotWords; i += line {
			sum += slot[i]
		}
	}
	return sum
}
