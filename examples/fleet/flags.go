// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/rivals"
	"github.com/rehome-iot/rehome/examples/fleet/scenario"
)

const most = 1_000_000 // devices

// command is what the flags ask for.
type command struct {
	scenario.Options
	list      bool
	table     *table // of the documents, in place of all that the other flags say
	scenarios []scenario.Scenario
	rivals    []*rivals.Rival // nil: the library's own rules
	phases    []float64       // rates to play the scenario phases at
	seeds     int
	csv, svg  string
	windows   string // the file of the picture of what windows cost
	progress  bool
}

var errHelp = errors.New("help was asked for")

const usage = `Fleet plays a fleet in virtual time, in front of models of DPS and of IoT hubs.

  fleet -list
  fleet -scenario move,move-stagger -devices 100000 -seeds 3
  fleet -scenario phases -phases plan
  fleet -scenario move -devices 10000 -quota 10 -rival all -svg move.svg

Flags:
`

func parse(args []string, stderr io.Writer) (*command, error) {
	c := &command{Options: scenario.Defaults()}
	f := flag.NewFlagSet("fleet", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&c.list, "list", false, "list the scenarios, and end")
	tableName := f.String("table", "", "play a table of the documents, whatever other flags "+
		"say, and print it: "+tableNames())
	names := f.String("scenario", "reboot", "scenarios to play, with commas, or all")
	f.IntVar(&c.Devices, "devices", c.Devices, "devices of the fleet, up to 1000000")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "the first seed")
	f.IntVar(&c.seeds, "seeds", 1, "play with so many seeds, one after the other")
	f.BoolVar(&c.SameSeed, "same-seed", false, "all devices draw the same: what must go wrong")
	f.Float64Var(&c.DPSPerMinute, "quota", c.DPSPerMinute, "registrations a minute of DPS")
	window := f.String("window", "fixed", "how DPS counts: fixed (each minute) or bucket (tokens)")
	f.Float64Var(&c.RejectCost, "reject-cost", 0,
		"what DPS spends on a rejected request, as a share of an admitted one")
	f.DurationVar(&c.RetryAfter, "retry-after", c.RetryAfter,
		"what DPS asks for with a 429; 0: until its quota has room again")
	f.IntVar(&c.Throttled.Factor, "throttle-factor", c.Throttled.Factor,
		"a device that DPS has throttled for t leaves it alone for up to so many times t more; "+
			"0: as after any other failure")
	f.DurationVar(&c.Throttled.Cap, "throttle-cap", c.Throttled.Cap, "and at most for so long")
	f.Float64Var(&c.HubPerSecond, "hub-rate", c.HubPerSecond, "connections a second of a hub")
	f.BoolVar(&c.Shaped, "hub-shapes", false,
		"a hub lets connections wait for up to 54 s, where it else refuses them at once")
	f.DurationVar(&c.BootSpread, "boot-spread", c.BootSpread, "time over which devices boot")
	f.DurationVar(&c.Stagger, "stagger", 0, "Stagger of the devices")
	f.BoolVar(&c.X509, "x509", false, "devices have certificates, so that no clock is checked")
	f.DurationVar(&c.Latency, "latency", c.Latency, "time from a request to its answer")
	f.DurationVar(&c.Until, "until", 0, "virtual time to end at, at the latest")
	phases := f.String("phases", "", "devices that an operator releases a minute in the scenario "+
		"phases, or plan: play several")
	rival := f.String("rival", "", "play an SDK's policy as well: "+rivalNames()+", or all")
	f.StringVar(&c.csv, "csv", "", "file to write each second of the first simulation to")
	f.StringVar(&c.svg, "svg", "", "file to draw the simulations to")
	f.StringVar(&c.windows, "windows", "", "file to draw to what a move costs, by how long "+
		"devices leave a DPS alone that throttles; no scenario is played then")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		_, _ = io.WriteString(stderr, usage)
		f.SetOutput(stderr)
		f.PrintDefaults()
		return nil, errHelp
	} else if err != nil {
		return nil, fmt.Errorf("%w: see -help", err)
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("argument %q is not a flag: see -help", f.Arg(0))
	}
	c.TokenBucket = *window == "bucket"
	if *window != "fixed" && *window != "bucket" {
		return nil, fmt.Errorf("-window %q: use fixed or bucket", *window)
	}
	info, err := os.Stderr.Stat()
	c.progress = err == nil && stderr == os.Stderr && info.Mode()&os.ModeCharDevice != 0
	for _, err := range []error{
		c.check(), c.choose(*names), c.chooseRival(*rival), c.plan(*phases), c.tabulate(*tableName),
	} {
		if err != nil {
			return nil, err // one at a time: a line each
		}
	}
	return c, nil
}

// check finds the first number that makes no sense.
func (c *command) check() error {
	switch {
	case c.Devices < 1 || c.Devices > most:
		return fmt.Errorf("-devices %d: use 1 to %d", c.Devices, most)
	case c.seeds < 1 || c.seeds > 100:
		return fmt.Errorf("-seeds %d: use 1 to 100", c.seeds)
	case !(c.DPSPerMinute >= 1 && c.DPSPerMinute <= 1e9):
		return fmt.Errorf("-quota %v: use 1 or more", c.DPSPerMinute)
	case c.RetryAfter < 0 || c.RetryAfter > 24*time.Hour:
		return fmt.Errorf("-retry-after %v: use 0 to 24h", c.RetryAfter)
	case c.Throttled.Factor < 0 || c.Throttled.Factor > 100:
		return fmt.Errorf("-throttle-factor %d: use 0 to 100", c.Throttled.Factor)
	case c.Throttled.Cap < time.Minute || c.Throttled.Cap > 24*time.Hour:
		return fmt.Errorf("-throttle-cap %v: use 1m to 24h", c.Throttled.Cap)
	case !(c.HubPerSecond >= 1 && c.HubPerSecond <= 1e9):
		return fmt.Errorf("-hub-rate %v: use 1 or more", c.HubPerSecond)
	case !(c.RejectCost >= 0 && c.RejectCost <= 1):
		return fmt.Errorf("-reject-cost %v: use 0 to 1", c.RejectCost)
	case c.Latency < 0 || c.Latency > time.Second:
		return fmt.Errorf("-latency %v: use 0 to 1s", c.Latency)
	case c.BootSpread < 0 || c.BootSpread > 24*time.Hour:
		return fmt.Errorf("-boot-spread %v: use 0 to 24h", c.BootSpread)
	case c.Stagger < 0 || c.Stagger > 30*24*time.Hour:
		return fmt.Errorf("-stagger %v: use 0 to 720h", c.Stagger)
	case c.Until < 0:
		return fmt.Errorf("-until %v: use a time ahead, or 0 for none", c.Until)
	}
	return nil
}

func (c *command) choose(names string) error {
	if names == "all" {
		c.scenarios = scenario.All
		return nil
	}
	for name := range strings.SplitSeq(names, ",") {
		s, ok := scenario.Named(name)
		if !ok {
			return fmt.Errorf("-scenario %q is unknown: fleet -list shows them", name)
		}
		c.scenarios = append(c.scenarios, s)
	}
	return nil
}

func (c *command) tabulate(name string) (err error) {
	if name != "" {
		c.table, err = chooseTable(name)
	}
	return err
}

func rivalNames() string {
	var names []string
	for _, r := range rivals.All {
		names = append(names, r.Name)
	}
	return strings.Join(names, ", ")
}

// chooseRival sets which policies are played: the library's always, first.
func (c *command) chooseRival(name string) error {
	c.rivals = []*rivals.Rival{nil}
	for i := range rivals.All {
		if r := &rivals.All[i]; name == "all" || name == r.Name {
			c.rivals = append(c.rivals, r)
		}
	}
	if name != "" && len(c.rivals) == 1 {
		return fmt.Errorf("-rival %q is unknown: use %s, or all", name, rivalNames())
	}
	for _, s := range c.scenarios {
		if name != "" && !s.ForRivals {
			return fmt.Errorf("-rival: the scenario %s is for the library's rules alone", s.Name)
		}
	}
	return nil
}

// shares of the quota that a plan tries.
var shares = []float64{0.5, 0.8, 0.9, 0.95, 1, 1.05, 1.2}

func (c *command) plan(phases string) error {
	c.phases = []float64{0}
	switch rate, err := strconv.ParseFloat(phases, 64); {
	case phases == "":
		return nil
	case phases == "plan":
		c.phases = nil
		for _, s := range shares {
			c.phases = append(c.phases, s*c.DPSPerMinute)
		}
	case err != nil || !(rate >= 1 && rate <= 1e9):
		return fmt.Errorf("-phases %q: use a number of devices a minute, or plan", phases)
	default:
		c.phases = []float64{rate}
	}
	for _, s := range c.scenarios {
		if s.Name != scenario.Phases {
			return fmt.Errorf("-phases: add -scenario %s", scenario.Phases)
		}
	}
	return nil
}

// plays are all that is to be played, in order.
func (c *command) plays() (all []*scenario.Play) {
	for _, s := range c.scenarios {
		for _, r := range c.rivals {
			for _, phase := range c.phases {
				for seed := range c.seeds {
					o := c.Options
					o.Rival, o.Phase, o.Seed = r, phase, c.Seed+uint64(seed)
					all = append(all, s.Prepare(o))
				}
			}
		}
	}
	return slices.Clip(all)
}

func (c *command) title() string {
	return fmt.Sprintf("%d devices, %g registrations a minute, %g connections a second",
		c.Devices, c.DPSPerMinute, c.HubPerSecond)
}
