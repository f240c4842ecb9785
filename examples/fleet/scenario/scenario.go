// SPDX-License-Identifier: Apache-2.0

// Package scenario is what happens to a fleet: everyone reboots, the hub is down, everyone must
// move. Each scenario makes the services of package service, and says when which device boots, what
// it remembers, and where it is to arrive.
package scenario

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/report"
	"github.com/rehome-iot/rehome/examples/fleet/rivals"
	"github.com/rehome-iot/rehome/examples/fleet/service"
	"github.com/rehome-iot/rehome/examples/fleet/sim"
	"github.com/rehome-iot/rehome/internal/rules"
)

// The hubs of every scenario: where the fleet was, and where it may have to move.
const (
	OldHub service.Hub = iota
	NewHub
)

var hubNames = []string{"old.azure-devices.net", "new.azure-devices.net"}

// Options are what the scenarios have in common.
type Options struct {
	Devices int
	Seed    uint64

	DPSPerMinute float64 // registrations and lookups that DPS admits
	HubPerSecond float64 // connections that a hub takes
	TokenBucket  bool    // DPS counts in a token bucket, not in fixed windows of a minute
	RejectCost   float64 // of what DPS rejects, as a share of what it admits
	Shaped       bool    // a hub lets connections wait before it refuses them

	RetryAfter time.Duration   // what DPS asks for with a 429
	Throttled  rules.Throttled // for how long the devices leave it alone beyond that

	BootSpread time.Duration // over which the devices boot
	Stagger    time.Duration // of the devices, where a scenario sets no other
	X509       bool          // the devices have certificates, and no tokens
	SameSeed   bool          // all devices draw the same
	Phase      float64       // devices that an operator releases a minute; 0: 95 % of DPSPerMinute
	Rival      *rivals.Rival // the devices run this SDK's policy, in place of the library's rules
	Latency    time.Duration // of a request
	Check      bool          // look after each step whether a device is lost
	Until      time.Duration // when to end at the latest; 0: when a scenario gives up

	// Asked is told every request; Progress, after each step of Latency, how far the simulation is.
	Asked    func(service.Request, service.Answer)
	Progress func(now time.Duration, m *report.Measure)
}

// Defaults are a DPS of 1,000 registrations a minute, and hubs of one S3 unit.
func Defaults() Options {
	return Options{
		Devices: 100_000, Seed: 1, DPSPerMinute: 1000, HubPerSecond: 6000,
		RetryAfter: 30 * time.Second, Throttled: rules.Defaults().Throttled,
		BootSpread: time.Second, Latency: 100 * time.Millisecond,
	}
}

// Play is a scenario that is about to be played.
type Play struct {
	Options
	Name    string
	Fleet   sim.Fleet
	World   service.World
	Aim     report.Aim
	Lasts   time.Duration // for so long at least
	GivesUp time.Duration // when to end at the latest, where Until says nothing
	random  *rand.Rand    // of the scenario, not of the devices
}

// Prepare makes what a scenario needs.
func (s Scenario) Prepare(o Options) *Play {
	p := &Play{Options: o, Name: s.Name, random: rand.New(rand.NewPCG(o.Seed, 1<<32))}
	boots := make([]time.Duration, o.Devices)
	for i := range boots {
		boots[i] = time.Duration(p.random.Float64() * float64(o.BootSpread))
	}
	settings := rules.Defaults()
	settings.Stagger, settings.Tokens = o.Stagger, !o.X509
	settings.Throttled = o.Throttled
	p.Fleet = sim.Fleet{
		Devices: o.Devices, Hubs: hubNames, Settings: settings, Seed: o.Seed, SameSeed: o.SameSeed,
		Boot:      func(device uint32) time.Duration { return boots[device] },
		Remembers: func(uint32) sim.Home { return sim.Home{Known: true, Hub: OldHub} },
	}
	p.World.DPS = service.DPS{
		Quota: p.quota(), RetryAfter: o.RetryAfter, PollAfter: 3 * time.Second,
		Assigns: func(uint32, time.Duration) service.Hub { return OldHub },
	}
	for _, name := range hubNames {
		p.World.Hubs = append(p.World.Hubs, &service.HubModel{Name: name, Rate: p.rate()})
	}
	p.Aim = report.Aim{
		Devices: o.Devices, DPSPerMinute: o.DPSPerMinute, HubPerSecond: o.HubPerSecond,
		Goal: OldHub, Optimum: o.connects(),
	}
	p.GivesUp = 4*o.registers() + 24*time.Hour
	s.prepare(p)
	return p
}

// registers is how long it takes DPS to register all; connects, a hub to connect them.
func (o Options) registers() time.Duration {
	return time.Duration(float64(o.Devices) / o.DPSPerMinute * float64(time.Minute))
}

func (o Options) connects() time.Duration {
	return time.Duration(float64(o.Devices) / o.HubPerSecond * float64(time.Second))
}

func (p *Play) quota() service.Quota {
	if p.TokenBucket {
		return &service.TokenBucket{
			Rate: p.DPSPerMinute / 60, Burst: p.DPSPerMinute, Cost: p.RejectCost,
		}
	}
	return &service.FixedWindow{Limit: p.DPSPerMinute, Span: time.Minute, Cost: p.RejectCost}
}

func (p *Play) rate() service.Rate {
	if p.Shaped {
		return service.Rate{PerSecond: p.HubPerSecond, Backlog: 54 * time.Second}
	}
	return service.Rate{Quota: &service.TokenBucket{Rate: p.HubPerSecond, Burst: p.HubPerSecond}}
}

// settles is how long to go on after all have arrived: for connections to become stable, and for
// what nobody expects.
const settles = 2 * time.Minute

func (p *Play) behaviour() sim.Behaviour {
	if p.Rival != nil {
		return sim.NewRivals(p.Fleet, p.Rival.Policy)
	}
	return sim.NewFleet(p.Fleet)
}

// Run plays it. What was measured until then comes with an error, too.
func (p *Play) Run(ctx context.Context) (*report.Measure, report.Figures, error) {
	began := time.Now()
	memory := newMemory()
	m := report.NewMeasure(p.Aim)
	engine := sim.Engine{
		Devices: p.Devices, World: &p.World, Behaviour: p.behaviour(), Latency: p.Latency,
		Until: cmp.Or(p.Until, p.GivesUp), Changed: m.Changed, Check: p.Check,
		Asked: func(r service.Request, a service.Answer) {
			m.Asked(r, a)
			if p.Asked != nil {
				p.Asked(r, a)
			}
		},
	}
	engine.Tick = func(now time.Duration) bool {
		if p.Progress != nil {
			p.Progress(now, m)
		}
		memory.batch()
		at, ok := m.AllArrived()
		return ok && now >= max(at+settles, p.Lasts)
	}
	err := engine.Run(ctx)
	f := m.Figures(engine.Ledger)
	f.Name, f.Seed, f.Took = p.Name, p.Seed, time.Since(began)
	if p.Rival != nil {
		f.Name += " " + p.Rival.Name
	}
	memory.look()
	f.Memory = memory.most
	return m, f, err
}
