// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// A watchdog, a memory leak or a bad power supply ends programs over and over. What the services
// have asked for has to hold all the same: no device may ask before what an answer that it has
// received allows, whoever of its processes has received it.

const (
	crashDevices = 24 // in each situation

	// How long the processes are killed and started again, and how often at least in each
	// situation.
	crashTime  = 185 * time.Second
	crashKills = 500
	crashLimit = 215 * time.Second // whatever the kills are by then

	// From so many kills of one device on it must have asked as often as its situation says. A
	// machine that stands still for most of the time reaches fewer, in which less can be asked.
	fullKills = 38

	// How long a process lives, at random; up to twice as long where the machine stands still.
	shortestLife = 2 * time.Second
	longestLife  = 6 * time.Second

	// One answer in so many has its process killed soon after it, when the device has just had
	// time to take it in.
	killAfterAnswer = 4

	// An answer counts as received if the process that it was for went on for so long. One that
	// dies before may not have read it: a request cut short has received nothing.
	readTime = 50 * time.Millisecond

	// An assignment goes to the medium before it counts, which takes as long as that does.
	storeTime = time.Second

	// After a conclusive answer that may have been received or not, the device asks again at its
	// next start if it has not; by then it has started.
	restartTime = 10 * time.Second

	crashStagger = 100 * time.Second
)

// never is later than any end of the test.
const never = 24 * time.Hour

// situation is one kind of trouble that a fleet is in, and that does not pass.
type situation struct {
	name    string
	flags   []string
	arrange func(s *site)

	// asked is what the answers that a device has received ask for, beyond Retry-After, before its
	// next request.
	asked func(received []*exchange, next *exchange) demand

	// service and least are where the trouble is, and how often a device must have asked there by
	// the end: one that never asks is never early.
	service string
	least   int

	untrusted bool // the hub shows a certificate of an authority that nobody trusts
	staggered bool
}

var situations = []situation{
	{
		name: "DPS 429, Retry-After 30", service: toDPS, least: 1, // the next may take 270 s
		arrange: func(s *site) {
			s.dps.Inject(dpstest.Fault{
				On: dpstest.Register, Status: 429, RetryAfter: "30", Times: -1,
			})
		},
		asked: asLongAgain,
	},
	{
		name: "DPS 503", service: toDPS, least: 5,
		arrange: func(s *site) {
			s.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 503, Times: -1})
		},
		asked: afterFailure(toDPS, 5*time.Second),
	},
	{
		name: "poll 429, Retry-After 60", service: toDPS, least: 4,
		arrange: func(s *site) {
			s.dps.Inject(dpstest.Fault{
				On: dpstest.Poll, Status: 429, RetryAfter: "60", Times: -1,
			})
		},
	},
	{
		name: "enrollment disabled", service: toDPS, least: 4,
		arrange: func(s *site) {
			for i := range crashDevices {
				if err := s.dps.SetEnabled(crashID(i), false); err != nil {
					panic(err)
				}
			}
		},
		asked: growingGaps(func(e *exchange) bool { return e.refused }),
	},
	{
		name: "hub CONNACK 3", service: toHub, least: 5,
		arrange: func(s *site) {
			s.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: -1})
		},
		asked: all(afterFailure(toHub, 5*time.Second), stays(15*time.Minute)),
	},
	{
		name: "hub 429, Retry-After 60", flags: []string{"-hub-transport", "ws"}, service: toHub,
		least: 3,
		arrange: func(s *site) {
			s.a.Inject(hubtest.Fault{
				On: hubtest.Upgrade, Status: 429, RetryAfter: "60",
				ErrorCode: "ThrottlingException", Code: 429001, Times: -1,
			})
		},
		asked: stays(never),
	},
	{
		name: "hub CONNACK 5, DPS names it again", service: toHub, least: 6,
		arrange: func(s *site) {
			s.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: -1})
		},
		asked: all(
			afterFailure(toHub, 5*time.Second), quickTries,
			growingGaps(func(e *exchange) bool { return e.assigned }),
		),
	},
	{
		name: "hub certificate unknown", service: toHub, least: 2, untrusted: true,
		asked: all(afterFailure(toHub, time.Minute), stays(15*time.Minute)),
	},
	{
		name: "Stagger at first boot", flags: []string{"-stagger", crashStagger.String()},
		service: toDPS, least: 2, staggered: true,
		asked: stays(never),
	},
}

// TestNoDeviceIsEarlyHoweverOftenItsProcessIsKilled takes minutes, and keeps a processor half busy:
// it has a step of CI to itself.
func TestNoDeviceIsEarlyHoweverOftenItsProcessIsKilled(t *testing.T) {
	if os.Getenv("REHOME_TESTS") != "crashloop" {
		t.Skip("it kills processes for minutes: CI does, with REHOME_TESTS=crashloop")
	}
	lag := startLagLog()
	fleets := make([]*fleet, len(situations))
	for i := range situations {
		fleets[i] = newFleet(t, &situations[i], byte(firstNetwork+i), lag)
	}
	began, busy := time.Now(), processorTime()
	var running sync.WaitGroup
	for _, f := range fleets {
		running.Go(func() { f.run(began) })
	}
	running.Wait()
	took := time.Since(began)
	lag.end()

	var table strings.Builder
	fmt.Fprintf(&table, "%-34s %7s %6s %6s %6s %8s %7s %6s  %s\n", "situation", "devices", "kills",
		"to DPS", "to hub", "register", "unsure", "early", "shortest distance seen, by what was "+
			"asked")
	starts := 0
	for _, f := range fleets {
		v := f.judge()
		starts += v.kills
		fmt.Fprintln(&table, v.row(f))
		for _, trace := range v.traces[:min(len(v.traces), 3)] {
			t.Error(trace)
		}
		assert.Empty(t, v.problems, f.name)
		assert.GreaterOrEqual(t, v.kills, crashKills, "kills: %s", f.name)
		f.checkSecrets(t)
	}
	used := processorTime() - busy
	fmt.Fprintf(&table, "%d starts in %v (%.0f each second), %v of processors (%.0f %% of one)\n",
		starts, took.Round(time.Second), float64(starts)/took.Seconds(), used.Round(time.Second),
		100*used.Seconds()/took.Seconds())
	still, longest := lag.sum()
	fmt.Fprintf(&table, "the machine stood still for %v, %v at once\n",
		still.Round(time.Millisecond), longest.Round(time.Millisecond))
	t.Log("\n" + table.String())
}
