// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// A watchdog, a memory leak or a bad power supply ends programs over and over. What the services
// have asked for has to hold all the same: no device may ask before what an answer that it has
// received allows, whoever of its processes has received it.

const (
	// How many devices there are in each situation, by what a start costs here.
	mostDevices  = 24
	leastDevices = 8

	// How long the processes are killed and started again at least, and how often in each
	// situation. A machine that is slow has more time for it, and one that stands still for part of
	// that time need not get as far.
	crashTime  = 185 * time.Second
	crashKills = 500
	crashLimit = 9 * time.Minute

	// From so many kills of one device on it must have asked as often as its situation says. A
	// machine that stands still for most of the time reaches fewer, in which less can be asked.
	fullKills = 38

	// How long a process lives, at random; up to twice as long where the machine stands still.
	shortestLife = 2 * time.Second
	longestLife  = 6 * time.Second

	// One answer in so many has its process killed soon after it, within such a time, and one when
	// the device must have taken it in.
	killAfterAnswer = 4
	soonTime        = 100 * time.Millisecond

	// After so long DPS wants an operation to be polled: longer than lifeTime, so that some of
	// those who have been told of one die before they show it.
	pollTime = 3 * time.Second

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
	arrange func(s *site, devices int)

	// asked is what the answers that a device has received ask for beyond Retry-After.
	asked rule

	// service and least are where the trouble is, and how often a device must have asked there by
	// the end, on average: one that never asks is never early.
	service string
	least   float64

	untrusted bool // the hub shows a certificate of an authority that nobody trusts
	staggered bool // all devices take part: a few may draw anything
}

var situations = []situation{
	{
		name: "DPS 429, Retry-After 30", service: toDPS, least: 1, // the next may take 270 s
		arrange: func(s *site, _ int) {
			s.dps.Inject(dpstest.Fault{
				On: dpstest.Register, Status: 429, RetryAfter: "30", Times: -1,
			})
		},
		asked: asLongAgain,
	},
	{
		name: "DPS 503", service: toDPS, least: 5,
		arrange: func(s *site, _ int) {
			s.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 503, Times: -1})
		},
		asked: afterFailure(toDPS, 5*time.Second),
	},
	{
		name: "poll 429, Retry-After 60", service: toDPS, least: 4,
		arrange: func(s *site, _ int) {
			s.dps.Inject(dpstest.Fault{
				On: dpstest.Poll, Status: 429, RetryAfter: "60", Times: -1,
			})
		},
	},
	{
		name: "enrollment disabled", service: toDPS, least: 4,
		arrange: func(s *site, devices int) {
			for i := range devices {
				if err := s.dps.SetEnabled(crashID(i), false); err != nil {
					panic(err)
				}
			}
		},
		asked: growingGaps(func(e *exchange) bool { return e.refused }),
	},
	{
		name: "hub CONNACK 3", service: toHub, least: 5,
		arrange: func(s *site, _ int) {
			s.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: -1})
		},
		asked: all(afterFailure(toHub, 5*time.Second), stays(15*time.Minute)),
	},
	{
		name: "hub 429, Retry-After 60", flags: []string{"-hub-transport", "ws"}, service: toHub,
		least: 3,
		arrange: func(s *site, _ int) {
			s.a.Inject(hubtest.Fault{
				On: hubtest.Upgrade, Status: 429, RetryAfter: "60",
				ErrorCode: "ThrottlingException", Code: 429001, Times: -1,
			})
		},
		asked: stays(never),
	},
	{
		name: "hub CONNACK 5, DPS names it again", service: toHub, least: 6,
		arrange: func(s *site, _ int) {
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
	// So that the kernel shares the processors out, and a watcher never waits for a goroutine.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(8, 2*runtime.NumCPU())))
	dirs := newCrashDirs(t)
	lag := startLagLog(dirs.stores)
	cost := startCost(t, dirs, lag)
	devices := devicesFor(cost)
	t.Logf("a start takes %v here: %d devices in each situation, %d where they draw",
		cost.Round(time.Millisecond/10), devices, mostDevices)
	fleets := make([]*fleet, len(situations))
	for i := range situations {
		n := devices
		if situations[i].staggered {
			n = mostDevices
		}
		fleets[i] = newFleet(t, &situations[i], byte(firstNetwork+i), n, dirs, lag)
	}
	began, busy := time.Now(), processorTime()
	var running sync.WaitGroup
	for _, f := range fleets {
		running.Go(func() { f.run(began) })
	}
	running.Wait()
	ended := time.Now()
	used := processorTime() - busy
	lag.end()

	r := &report{took: ended.Sub(began), used: used, usable: lag.usable(began, ended)}
	r.still, r.longest = lag.sum()
	for _, f := range fleets {
		r.add(f, f.judge(dirs))
	}
	t.Log("\n" + r.table())
	for _, trace := range r.traces {
		t.Log(trace)
	}
	// At the very end, so that they are there whatever of the output is not.
	for _, problem := range r.problems {
		t.Error(problem)
	}
}
