// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
)

// Scenario is one of those of this package.
type Scenario struct {
	Name, About string
	ForRivals   bool // devices with the policy of another SDK can play it too
	prepare     func(p *Play)
}

// All are the scenarios, in the order of their documentation.
var All = []Scenario{
	{"reboot", "everyone reboots, and all is well", true, func(*Play) {}},
	{"hub-down", "the hub is down for an hour, everyone reboots, then it returns", true, hubDown},
	{"move", "the hub is gone: everyone must register", true, move},
	{"move-stagger", "the same, with Stagger at N / quota / 0.95", false, with(move, stagger(1))},
	{"move-hint", "the same, with that Stagger said by DPS when it last assigned", false,
		with(move, hint)},
	{"move-wrong-stagger", "the same, with Stagger ten times too small", false,
		with(move, stagger(0.1))},
	{"clock-1970", "a power cut: everyone boots with a clock at 1970", false, clock1970},
	{"dps-down", "the hub is gone, and DPS is down for an hour", true, with(move, dpsDown)},
	{"dps-failing", "the hub is gone, DPS answers 503 for an hour, a tenth is killed repeatedly",
		false, with(move, crash, dpsFailing)},
	{"dps-down-warm", "everyone reboots while DPS is down, and the hub is well", true, dpsDownWarm},
	{"crash", "everyone reboots, and a tenth of the devices is killed again and again", false,
		with(crash, lastsAnHour)},
	{"crash-move", "the hub is gone, and a tenth is killed again and again", false,
		with(move, crash)},
	{Phases, "an operator moves the fleet, so many devices a minute", false, phases},
}

// Phases is the name of the scenario in which an operator moves the fleet bit by bit.
const Phases = "phases"

// Named is the scenario of a name.
func Named(name string) (s Scenario, ok bool) {
	for _, s := range All {
		if s.Name == name {
			return s, true
		}
	}
	return Scenario{}, false
}

func with(all ...func(*Play)) func(*Play) {
	return func(p *Play) {
		for _, one := range all {
			one(p)
		}
	}
}

const outage = time.Hour

func hubDown(p *Play) {
	p.World.Hubs[OldHub].Down = service.Interval{To: outage}
	p.Aim.Since = outage
}

// move: what a variant of it sets in the rules is set in p.Fleet.Settings, as by stagger.
func move(p *Play) {
	p.World.DPS.Assigns = func(uint32, time.Duration) service.Hub { return NewHub }
	p.World.Hubs[OldHub].Knows = func(uint32, time.Duration) bool { return false }
	p.Aim.Goal = NewHub
	p.Aim.Optimum = max(p.registers(), p.connects())
}

// stagger sets Stagger to a multiple of the time that DPS takes for the fleet at 95 % of its quota.
func stagger(multiple float64) func(*Play) {
	return func(p *Play) {
		p.Fleet.Settings.Stagger = time.Duration(multiple * float64(p.registers()) / 0.95)
	}
}

// hint has DPS say what stagger sets.
func hint(p *Play) {
	stagger(1)(p)
	p.Fleet.Hint, p.Fleet.Settings.Stagger = p.Fleet.Settings.Stagger, 0
}

func clock1970(p *Play) { p.Fleet.WrongClock = func(uint32) bool { return true } }

func dpsDown(p *Play) {
	p.World.DPS.Down = service.Interval{To: outage}
	p.Aim.Since = outage
}

func dpsFailing(p *Play) {
	p.World.DPS.Failing = service.Interval{To: outage}
	p.Aim.Since = outage
}

func dpsDownWarm(p *Play) {
	p.World.DPS.Down = service.Interval{To: outage}
	p.Lasts = outage
}

// What a device in a crash loop lives for, and how long its next start takes.
const (
	shortestLife = 20 * time.Second
	longestLife  = 2 * time.Minute
	restart      = 5 * time.Second
)

func crash(p *Play) {
	crashes := func(device uint32) bool { return device%10 == 9 }
	p.Aim.Counts = func(device uint32) bool { return !crashes(device) }
	p.Fleet.Restart = restart
	p.Fleet.Life = func(device uint32, n int) time.Duration {
		if !crashes(device) {
			return 0
		}
		chance := rand.NewPCG(p.Seed^uint64(n)<<32, uint64(device))
		chance.Uint64()
		u := float64(chance.Uint64()>>11) / (1 << 53)
		return shortestLife + time.Duration(u*float64(longestLife-shortestLife))
	}
}

func lastsAnHour(p *Play) { p.Lasts = time.Hour }

// phases: all are connected, and the operator takes one after the other from its hub, each minute
// so many, and gives them to the new hub.
func phases(p *Play) {
	rate := p.Phase
	if rate == 0 {
		rate = 0.95 * p.DPSPerMinute
	}
	released := func(device uint32) time.Duration {
		return time.Minute + time.Duration(float64(device)/rate*float64(time.Minute))
	}
	p.Fleet.Online = func(uint32) bool { return true }
	p.Fleet.LinkEnds = released
	p.World.Hubs[OldHub].Knows = func(device uint32, at time.Duration) bool {
		return at < released(device)
	}
	p.World.DPS.Assigns = func(device uint32, at time.Duration) service.Hub {
		if at < released(device) {
			return OldHub
		}
		return NewHub
	}
	p.Aim.Since, p.Aim.Goal = time.Minute, NewHub
	p.Aim.Optimum = max(p.registers(), p.connects())
	p.GivesUp += time.Duration(float64(p.Devices) / rate * float64(time.Minute))
	p.Name = fmt.Sprintf("%s %g/min", p.Name, rate)
}
