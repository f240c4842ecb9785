// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import (
	"fmt"
	"time"
)

// The worlds by which it is shown what the exploration finds. Each has a path broken for good, and
// another that leads to a connection.
func namedWorlds() (all []*exploredWorld) {
	const (
		soon = 10 * time.Minute
		long = 10 * time.Hour
	)
	well := surroundings{home: 1}
	kills := []restart{{}, {asleep: 2 * time.Minute}}
	all = []*exploredWorld{
		{
			name: "lookups' port closed", grid: 30 * time.Second, mqtt: true, tokens: true,
			phases: []surroundings{
				well, {hubs: [2]way{silent, fine}, home: 2, lookup: silent},
			},
			bound: 4 * time.Hour,
		},
		{
			name: "two minutes at a time", grid: 30 * time.Second, tokens: true, sleeper: true,
			phases:   []surroundings{well, {hubs: [2]way{silent, fine}, home: 2}},
			restarts: kills, bound: 35 * time.Minute, sleepBound: 45 * time.Minute,
		},
		{
			name: "new hub throttles", grid: 5 * time.Minute, tokens: true,
			phases: []surroundings{
				well,
				{hubs: [2]way{fine, throttling}, home: 2, hubRetryAfter: long, register: silent},
			},
			bound: soon,
		},
		{
			name: "one answer lost", grid: 10 * time.Second, mqtt: true, tokens: true, losses: 1,
			phases: []surroundings{well, {home: 1, clock: wrongTokens}},
			bound:  5 * time.Minute,
		},
		{
			name: "accepts, then rejects", grid: 5 * time.Minute, tokens: false,
			phases: []surroundings{
				{hubs: [2]way{fickle, fine}, home: 1}, {hubs: [2]way{rejecting, fine}, home: 2},
			},
			bound: 80 * time.Minute,
		},
		{
			name: "throttles a wrong clock", grid: 2 * time.Minute, tokens: true,
			stagger: time.Hour,
			phases: []surroundings{{
				hubs: [2]way{throttling, fine}, home: 2, hubRetryAfter: long, clock: wrongTokens,
			}},
			bound: 27 * time.Hour,
		},
		{
			name: "dps says to stagger", grid: 2 * time.Minute, tokens: true, restarts: kills[:1],
			stagger: time.Hour, hinted: true,
			phases: []surroundings{well, {hubs: [2]way{rejecting, fine}, home: 2}},
			bound:  ClockStagger + 70*time.Minute,
		},
		{
			name: "dps throttles for a while", grid: 5 * time.Minute, restarts: kills,
			phases: []surroundings{
				{
					hubs: [2]way{gone, fine}, home: 2, lookup: throttling, register: throttling,
					dpsRetryAfter: 30 * time.Second,
				},
				{hubs: [2]way{gone, fine}, home: 2},
			},
			bound: ThrottledCap + 15*time.Minute,
		},
		{
			name: "wrong dates, two minutes at a time", grid: time.Minute, sleeper: true,
			phases: []surroundings{{hubs: [2]way{broken, fine}, home: 2, clock: wrongDates}},
			bound:  40 * time.Minute, sleepBound: 45 * time.Minute,
		},
		{
			name: "time not told for a while", grid: time.Minute, mqtt: true, tokens: true,
			phases: []surroundings{
				{home: 1, clock: wrongTokens, lookup: silent}, {home: 1, clock: wrongTokens},
			},
			bound: 65 * time.Minute, // it had been away for longer than the next question waits,
		},
		{
			name: "power goes", grid: time.Minute, tokens: true, nudges: true, restarts: []restart{
				{}, {asleep: 2 * time.Minute, power: true}, {asleep: time.Hour, power: true},
			},
			phases: []surroundings{well, {hubs: [2]way{silent, fine}, home: 2}},
			bound:  40 * time.Minute,
		},
		{
			name: "clock is wrong after power goes", grid: time.Minute, tokens: true,
			restarts: []restart{{asleep: time.Hour, power: true}},
			phases:   []surroundings{{home: 1, clock: wrongTokens}},
			bound:    soon,
		},
		{
			name: "hub rejects", grid: 2 * time.Minute, tokens: true, restarts: kills,
			sleeper: true,
			phases:  []surroundings{well, {hubs: [2]way{rejecting, fine}, home: 2}},
			bound:   soon, sleepBound: 15 * time.Minute,
		},
		{
			name: "hub is gone", grid: time.Minute, tokens: true, restarts: kills, nudges: true,
			phases: []surroundings{well, {hubs: [2]way{gone, fine}, home: 2}},
			bound:  soon,
		},
		{
			// A device that cannot store where it belongs now is as one that stays rejected.
			name: "store fails", grid: 2 * time.Minute, tokens: true, restarts: kills[:1],
			store:  storeReads,
			phases: []surroundings{well, {hubs: [2]way{rejecting, fine}, home: 2}},
			bound:  80 * time.Minute,
		},
		{
			name: "store is blind, lookups' port closed", grid: 30 * time.Second, mqtt: true,
			tokens: true, restarts: kills, sleeper: true, store: storeIsBlind,
			phases: []surroundings{{home: 1, lookup: silent}},
			bound:  10 * time.Minute, sleepBound: 40 * time.Minute,
		},
	}
	all = append(all, namedCertificateWorlds()...)
	for _, w := range all {
		w.named = true
	}
	return all
}

// dpsWays is how DPS may be reached: over one port, or over two.
type dpsWays struct {
	lookup, register way
	mqtt             bool
	retryAfter       time.Duration
}

var everyDPS = []dpsWays{
	{}, {mqtt: true},
	{silent, silent, false, 0}, {broken, broken, false, 0},
	{throttling, throttling, false, time.Second}, {throttling, throttling, false, 10 * time.Hour},
	{rejecting, rejecting, false, 0}, {unassigned, fine, false, 0},
	{silent, fine, true, 0}, {broken, fine, true, 0}, {fine, silent, true, 0},
	{fine, broken, true, 0}, {silent, silent, true, 0}, {rejecting, rejecting, true, 0},
	{fine, throttling, true, 10 * time.Hour},
}

// hubWay is how a hub behaves.
type hubWay struct {
	way        way
	retryAfter time.Duration
}

var everyHub = []hubWay{
	{way: fine}, {way: silent}, {way: broken}, {throttling, time.Second},
	{throttling, 10 * time.Hour}, {way: rejecting}, {way: flapping}, {way: fickle},
	{way: untrusted}, {way: expired}, {way: gone}, {way: foreign},
}

// everyWorld is all worlds in which at most so many paths are not well. The device has been well
// before, or starts in them.
func everyWorld(faults int) (all []*exploredWorld) {
	eachSurroundings(func(s surroundings, d dpsWays, a, b hubWay) {
		for store := storeWorks; store <= storeIsBlind; store++ {
			n := 0
			for _, wrong := range [...]bool{
				a.way != fine, b.way != fine, d.lookup != fine || d.register != fine,
				s.clock != clockRight, store != storeWorks,
			} {
				if wrong {
					n++
				}
			}
			if n > faults {
				continue
			}
			w := &exploredWorld{
				grid: time.Minute, tokens: s.clock != wrongDates, mqtt: d.mqtt, store: store,
				phases: []surroundings{{home: 1}, s}, sleeper: true,
				restarts: []restart{
					{}, {asleep: 2 * time.Minute}, {asleep: time.Hour, power: true},
				},
			}
			w.name = fmt.Sprintf("%v%s", &s, storeNames[store])
			if d.mqtt {
				w.name += ", mqtt"
			}
			w.bound, w.sleepBound = boundOf(w)
			all = append(all, w)
		}
	})
	return all
}

func eachSurroundings(each func(s surroundings, d dpsWays, a, b hubWay)) {
	for _, a := range everyHub {
		for _, b := range everyHub {
			if a.way == throttling && b.way == throttling && a != b {
				continue // there is one Retry-After for both
			}
			for _, d := range everyDPS {
				for clock := clockRight; clock <= wrongDates; clock++ {
					s := surroundings{
						hubs: [2]way{a.way, b.way}, home: 2, lookup: d.lookup,
						register: d.register, clock: clock,
						hubRetryAfter: max(a.retryAfter, b.retryAfter),
						dpsRetryAfter: d.retryAfter,
					}
					each(s, d, a, b)
					if b.way == fine { // nobody asks for it then
						s.home = 1
						each(s, d, a, b)
					}
				}
			}
		}
	}
}

// boundOf is within what time a device is connected if there is a way, one that lives as long as it
// likes and one that does not. It follows from what the known hub does, which is what DPS is asked
// for, and from what makes it take longer.
func boundOf(w *exploredWorld) (bound, sleepBound time.Duration) {
	s := &w.phases[len(w.phases)-1]
	switch s.hubs[0] {
	case fine, rejecting, gone:
		bound = 15 * time.Minute
	case throttling:
		bound = ThrottledOutage + time.Hour
	case foreign:
		bound = 90 * time.Minute
	case fickle: // it is rejected, accepted and rejected again
		bound = 90 * time.Minute
	default: // the first question about an outage
		bound = OutageMax + 15*time.Minute
	}
	if s.lookup == silent || s.lookup == broken {
		bound += 4 * time.Hour // two questions in vain, or a store that needs one
	}
	if w.store == storeReads {
		bound += 80 * time.Minute // what rejects is tried first at every start
	}
	if s.clock != clockRight {
		bound += 30 * time.Minute
		if s.register == throttling {
			bound += s.dpsRetryAfter // whoever throttles is not asked for the time either
		}
	}
	return bound, bound + 3*time.Hour
}
