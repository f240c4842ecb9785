// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
)

// all is how many devices a fleet has.
const all = 1000

// few is enough where each device asks so often that a thousand of them would take minutes; with
// REHOME_TESTS=all they do.
const few = all / 5

// fleet is how many devices take part of so many.
func fleet(devices int) int {
	switch {
	case testing.Short() || raceDetector:
		return devices / 20
	case os.Getenv("REHOME_TESTS") == "all":
		return all
	}
	return devices
}

// from is a stretch of time, of so many minutes each.
func from(first, length int) service.Interval {
	return service.Interval{
		From: time.Duration(first) * time.Minute, To: time.Duration(first+length) * time.Minute,
	}
}

// A quota of a quarter of the fleet a minute is what a fleet of 4,000 has.
const quarter = 4

type row struct {
	name    string
	devices int
	share   int // the quota is so small a part of the fleet; 0: it is enough for all
	scenario
}

var scenarios = []row{
	{"first boot at once", all, quarter, scenario{end: time.Hour}},
	{"first boot, spread", few, quarter, scenario{end: time.Hour, stagger: 4 * time.Minute}},
	{"boot", few, quarter, scenario{warm: true, end: 40 * time.Minute}},
	{"hub refuses for an hour", all, quarter, scenario{
		warm: true, end: 70 * time.Minute, hub: hubFails{from(1, 60), refuses},
	}},
	{"hub refuses for five hours", few, 0, scenario{
		warm: true, end: 6 * time.Hour, hub: hubFails{from(1, 5*60), refuses},
	}},
	{"hub unavailable", few, quarter, scenario{
		warm: true, end: time.Hour, hub: hubFails{from(1, 45), answers3},
	}},
	{"hub unavailable, with certificates", few, quarter, scenario{
		warm: true, x509: true, end: 50 * time.Minute, hub: hubFails{from(1, 40), answers3},
	}},
	{"hub refuses while the fleet boots", few, quarter, scenario{
		warm: true, end: time.Hour, within: time.Minute,
		hub: hubFails{service.Interval{From: time.Minute, To: 20 * time.Minute}, refuses},
	}},
	{"hub refuses at the first boot", few, quarter, scenario{
		end: time.Hour, hub: hubFails{from(0, 40), refuses},
	}},
	{"hub rejects at the first boot", few, quarter, scenario{
		end: 2 * time.Hour, hub: hubFails{from(0, 90), rejects},
	}},
	{"hub rejects for a while", few, quarter, scenario{
		warm: true, end: 4 * time.Hour, hub: hubFails{from(1, 200), rejects},
	}},
	{"hub rejects, and is tried alone", few / 2, quarter, scenario{
		warm: true, end: 4 * time.Hour, hub: hubFails{from(1, 200), rejects}, probes: true,
	}},
	{"move", all, quarter, scenario{warm: true, end: time.Hour, moved: time.Minute}},
	{"move, spread", all, quarter, scenario{
		warm: true, end: time.Hour, moved: time.Minute, stagger: 5 * time.Minute,
	}},
	{"move, spread by what DPS said", few, quarter, scenario{
		warm: true, end: time.Hour, moved: time.Minute, hint: 5 * time.Minute,
	}},
	{"move, with certificates", few, quarter, scenario{
		warm: true, x509: true, end: time.Hour, moved: time.Minute,
	}},
	{"move from a hub that is gone", few, quarter, scenario{
		warm: true, end: time.Hour, moved: time.Minute, hub: hubFails{from(1, 60), gone},
	}},
	{"move to a hub that lags", few, quarter, scenario{
		warm: true, end: time.Hour, moved: time.Minute, other: hubFails{from(0, 20), rejects},
	}},
	{"move to a hub that refuses", few, quarter, scenario{
		warm: true, end: 2 * time.Hour, moved: time.Minute, other: hubFails{from(0, 80), refuses},
	}},
	{"operator releases the fleet bit by bit", few, quarter, scenario{
		warm: true, online: true, end: time.Hour, moved: time.Minute, apart: 600 * time.Millisecond,
	}},
	{"DPS fails for an hour", few, quarter, scenario{end: 2 * time.Hour, dpsFailing: from(0, 60)}},
	{"move while DPS fails for an hour", few, quarter, scenario{
		warm: true, end: 2 * time.Hour, moved: time.Minute, dpsFailing: from(0, 60),
	}},
	{"hub and DPS fail", few, quarter, scenario{
		warm: true, end: 3 * time.Hour, hub: hubFails{from(1, 120), refuses},
		dpsFailing: from(10, 60),
	}},
	{"hub is down, and DPS", few / 2, quarter, scenario{
		warm: true, end: 3 * time.Hour, hub: hubFails{from(1, 120), refuses}, dpsDown: from(10, 60),
	}},
	{"move soon after the hub is back", few, quarter, scenario{ // while connections are young
		warm: true, end: 20 * time.Minute, hub: hubFails{from(0, 2), refuses},
		moved: 3 * time.Minute,
	}},
	{"move while the hub is down, and DPS fails", few / 2, quarter, scenario{
		warm: true, end: 3 * time.Hour, hub: hubFails{from(0, 40), refuses},
		moved: 20 * time.Minute, dpsFailing: from(0, 100),
	}},
	{"DPS is down for an hour", few, quarter, scenario{end: 2 * time.Hour, dpsDown: from(0, 60)}},
	{"move while DPS is down", few, quarter, scenario{
		warm: true, end: 6 * time.Hour, moved: time.Minute, dpsDown: from(0, 4*60),
	}},
	{"clocks that have stood still while DPS is down", few, quarter, scenario{
		warm: true, slow: true, end: 8 * time.Hour, dpsDown: from(0, 6*60),
	}},
	{"clocks at 1970 while DPS is down", few, quarter, scenario{
		slow: true, end: 8 * time.Hour, dpsDown: from(0, 6*60),
	}},
	{"clocks that have stood still", few, quarter, scenario{
		warm: true, slow: true, end: 10 * time.Minute,
	}},
	{"clocks that have stood still, spread", few, quarter, scenario{
		warm: true, slow: true, end: 30 * time.Minute, stagger: 15 * time.Minute,
	}},
	{"clocks at 1970", few, quarter, scenario{slow: true, end: time.Hour}},
	{"crash loop at the first boot", few / 2, quarter, scenario{
		shortest: 20 * time.Second, longest: 90 * time.Second, restart: time.Second,
		end: 30 * time.Minute, dpsFailing: from(0, 15), stagger: 2 * time.Minute,
	}},
	{"crash loop while the hub refuses", few / 2, quarter, scenario{
		warm: true, shortest: 20 * time.Second, longest: 90 * time.Second, restart: time.Second,
		end: time.Hour, hub: hubFails{from(2, 45), refuses},
	}},
	{"crash loop in a move", few / 2, 2 * quarter, scenario{
		warm: true, shortest: 20 * time.Second, longest: 90 * time.Second, restart: time.Second,
		end: 30 * time.Minute, moved: 2 * time.Minute, stagger: 3 * time.Minute,
	}},
}

// Exchanges take no time in a bubble, and none in the simulation, so that times are compared to the
// nanosecond.
func TestDevicesAndTheSimulationMakeTheSameRequests(t *testing.T) {
	for _, r := range scenarios {
		t.Run(r.name, func(t *testing.T) {
			s := r.scenario.of(fleet(r.devices), r.share)
			began := time.Now()
			real := play(t, s)
			played := time.Since(began)
			simulated := simulate(t, s, nil)
			t.Logf("%d devices: %s; %.1f s, and %.2f s in the simulation", s.devices, count(real),
				played.Seconds(), (time.Since(began) - played).Seconds())
			if d := difference(real, simulated); d != "" {
				t.Error(d)
			}
			if s.devices >= r.devices {
				s.bites(t, r.name, real)
			}
		})
	}
}

// Each difference that has to show belongs to a scenario that there is.
func TestEveryBiteHasItsScenario(t *testing.T) {
	for name := range bites {
		if !slices.ContainsFunc(scenarios, func(r row) bool { return r.name == name }) {
			t.Errorf("there is no scenario %q", name)
		}
	}
}
