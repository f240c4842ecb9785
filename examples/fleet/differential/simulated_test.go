// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"testing"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
	"github.com/rehome-iot/rehome/examples/fleet/sim"
	"github.com/rehome-iot/rehome/internal/jitter"
	"github.com/rehome-iot/rehome/internal/rules"
)

// simulation is a scenario as the simulation plays it.
type simulation struct {
	t      *testing.T
	s      scenario
	fleet  sim.Fleet
	world  service.World
	random []drawn // by device
	trace  trace
}

// drawn is where a device's process draws from.
type drawn struct {
	n    int // which process
	from rules.Random
}

// simulate plays a scenario with simulated devices, and returns what was asked of the services.
// change, if not nil, may make something different from what it is in the bubble. None of the
// requests may come before what the services have asked for.
func simulate(t *testing.T, s scenario, change func(*simulation)) []line {
	t.Helper()
	lines, early := simulateCounting(t, s, change)
	if early > 0 {
		t.Errorf("%d requests of the simulation came before a Retry-After was over, or within 5 s "+
			"of a failure", early)
	}
	return lines
}

// simulateCounting also counts the requests that came too early.
func simulateCounting(
	t *testing.T, s scenario, change func(*simulation),
) (lines []line, early int) {
	t.Helper()
	m := &simulation{t: t, s: s, random: make([]drawn, s.devices)}
	m.fleet, m.world = m.devices(), m.services()
	if change != nil {
		change(m)
	}
	engine := sim.Engine{
		Devices: s.devices, World: &m.world, Behaviour: sim.NewFleet(m.fleet), Until: s.end,
		Asked: m.asked,
	}
	if err := engine.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m.trace.sorted(), engine.Ledger.BeforeRetryAfter() + engine.Ledger.SoonAfterFailure()
}

func (m *simulation) devices() sim.Fleet {
	settings := rules.Defaults()
	settings.Stagger, settings.Tokens = m.s.stagger, !m.s.x509
	if m.s.probes {
		settings.AfterRejection = rules.KeepProbing
	}
	boots := m.s.boots()
	f := sim.Fleet{
		Devices: m.s.devices, Hubs: hubNames, Settings: settings, Random: m.drawFrom,
		Boot:       func(device uint32) time.Duration { return boots[device] },
		WrongClock: func(uint32) bool { return m.s.slow },
		Restart:    m.s.restart,
		Hint:       m.s.hint,
	}
	if m.s.warm {
		f.Remembers = func(uint32) sim.Home { return sim.Home{Known: true, Hub: hubA} }
	}
	if m.s.longest > 0 {
		f.Life = func(device uint32, n int) time.Duration { return m.s.life(int(device), n) }
	}
	f.Online = func(uint32) bool { return m.s.online }
	f.LinkEnds = func(device uint32) time.Duration {
		return max(m.s.hub.From, m.s.movedAt(int(device)))
	}
	return f
}

// drawFrom is the source of chance that the n-th process of a real device has.
func (m *simulation) drawFrom(device uint32, n int) rules.Random {
	d := &m.random[device]
	if d.from == nil || d.n != n {
		*d = drawn{n, jitter.From(entropyOf(int(device), n), name(int(device)))}
	}
	return d.from
}

func (m *simulation) services() service.World {
	a, b := &service.HubModel{Name: hubNames[hubA]}, &service.HubModel{Name: hubNames[hubB]}
	moved := func(device uint32, at time.Duration) bool {
		return m.s.moved > 0 && at >= m.s.movedAt(int(device))
	}
	a.Knows = func(device uint32, at time.Duration) bool { return !moved(device, at) }
	m.s.hub.in(a)
	m.s.other.in(b)
	return service.World{
		Hubs: []*service.HubModel{a, b},
		DPS: service.DPS{
			Quota:     &service.SlidingWindow{Limit: m.s.quota, Span: time.Minute},
			PollAfter: retryAfter, Failing: m.s.dpsFailing, Down: m.s.dpsDown,
			Assigns: func(device uint32, at time.Duration) service.Hub {
				if moved(device, at) {
					return hubB
				}
				return hubA
			},
		},
	}
}

func (m *simulation) asked(r service.Request, _ service.Answer) {
	if r.At >= m.s.end {
		return
	}
	kind := r.Kind.String()
	if r.Kind == service.Connect {
		kind = kindConnect(hubNames[r.Hub])
	}
	m.trace.add(line{r.At, int(r.Device), kind})
}

// in has a hub of the model fail so.
func (f hubFails) in(hub *service.HubModel) {
	switch f.how {
	case refuses:
		hub.Down = f.Interval
	case answers3:
		hub.Failing = f.Interval
	case gone:
		hub.Gone = f.Interval
	case rejects:
		knows := hub.Knows
		hub.Knows = func(device uint32, at time.Duration) bool {
			return !f.Contains(at) && (knows == nil || knows(device, at))
		}
	}
}
