// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"testing"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
	"github.com/rehome-iot/rehome/internal/rules"
)

// later is a DPS that asks a device to wait a second longer than it should.
type later struct{ service.Quota }

func (q later) Admit(at time.Duration) (time.Duration, bool) {
	wait, ok := q.Quota.Admit(at)
	return wait + time.Second, ok
}

// bite is a difference on one side alone, which has to show in the traces of a scenario.
type bite struct {
	name   string
	change func(*simulation)
}

// bites are those that show in each scenario, by its name: a number of the rules, a word of a
// service, what one device of them all draws.
var bites = map[string][]bite{
	"first boot at once": {
		{"Retry-After of a response 429, by a second", func(m *simulation) {
			m.world.DPS.Quota = later{m.world.DPS.Quota}
		}},
		{"one registration more in a minute", func(m *simulation) {
			m.world.DPS.Quota = &service.SlidingWindow{Limit: m.s.quota + 1, Span: time.Minute}
		}},
	},
	"first boot, spread": {
		{"Retry-After of a response 202, by a second", func(m *simulation) {
			m.world.DPS.PollAfter += time.Second
		}},
	},
	"hub refuses for an hour": {
		{"the cap of a hub's delay, by a second", func(m *simulation) {
			m.fleet.Settings.Hub.MaxDelay += time.Second
		}},
		{"what one device draws", func(m *simulation) {
			m.fleet.Random = func(device uint32, n int) rules.Random {
				if device == 7 {
					n++
				}
				return m.drawFrom(device, n)
			}
		}},
	},
	"hub unavailable": {
		{"the floor of a hub's delay, by a millisecond", func(m *simulation) {
			m.fleet.Settings.Hub.MinDelay += time.Millisecond
		}},
		{"when the hub is back, by ten seconds", func(m *simulation) {
			m.world.Hubs[hubA].Failing.To += 10 * time.Second
		}},
	},
	"move": {
		{"tokens", func(m *simulation) { m.fleet.Settings.Tokens = false }},
		{"when connections are cut, by a nanosecond", func(m *simulation) {
			m.fleet.LinkEnds = func(uint32) time.Duration { return m.s.moved + 1 }
		}},
	},
	"move, spread": {
		{"Stagger, by ten nanoseconds", func(m *simulation) { m.fleet.Settings.Stagger += 10 }},
	},
	"move, spread by what DPS said": {
		{"what DPS said, by ten nanoseconds", func(m *simulation) { m.fleet.Hint += 10 }},
	},
	"operator releases the fleet bit by bit": {
		{"when one device is released, by a nanosecond", func(m *simulation) {
			ends := m.fleet.LinkEnds
			m.fleet.LinkEnds = func(device uint32) time.Duration {
				if device == 7 {
					return ends(device) + 1
				}
				return ends(device)
			}
		}},
		{"who is connected", func(m *simulation) {
			m.fleet.Online = func(device uint32) bool { return device != 7 }
		}},
	},
	"DPS fails for an hour": {
		{"the cap of DPS's delay", func(m *simulation) {
			m.fleet.Settings.DPS.MaxDelay -= 45 * time.Minute
		}},
		{"what a delay grows by, by a thousandth", func(m *simulation) {
			m.fleet.Settings.DPS.Multiplier = 2.001
		}},
	},
	"clocks that have stood still": {
		{"the clock of one device", func(m *simulation) {
			m.fleet.WrongClock = func(device uint32) bool { return device != 7 }
		}},
	},
	"crash loop while the hub refuses": {
		{"how long a restart takes, by a nanosecond", func(m *simulation) { m.fleet.Restart++ }},
	},
}

// Who looks for requests that come too early finds them.
func TestTooEarlyARequestIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		scenario
		change func(*simulation)
	}{
		"hub unavailable": {
			scenario{warm: true, end: 15 * time.Minute, hub: hubFails{from(1, 10), answers3}},
			func(m *simulation) { m.fleet.Settings.Hub.MinDelay = time.Second },
		},
		"DPS fails": {
			scenario{end: 15 * time.Minute, dpsFailing: from(0, 10)},
			func(m *simulation) { m.fleet.Settings.DPS.MinDelay = time.Second },
		},
		"DPS fails in a crash loop": {
			scenario{
				end: 15 * time.Minute, dpsFailing: from(0, 10), shortest: time.Second,
				longest: 3 * time.Second, restart: time.Second,
			},
			func(m *simulation) { m.fleet.Settings.DPS.MinDelay = time.Second },
		},
	} {
		s := c.scenario.of(20, quarter)
		if _, early := simulateCounting(t, s, nil); early != 0 {
			t.Errorf("%s: %d requests came too early", name, early)
		}
		if _, early := simulateCounting(t, s, c.change); early == 0 {
			t.Errorf("%s: no request came too early, where many did", name)
		}
	}
}

// bites looks whether each difference shows. With fewer devices than are meant for the scenario,
// some might not.
func (s scenario) bites(t *testing.T, name string, real []line) {
	t.Helper()
	for _, b := range bites[name] {
		if difference(real, simulate(t, s, b.change)) == "" {
			t.Errorf("another value of one thing makes no difference: %s", b.name)
		}
	}
}
