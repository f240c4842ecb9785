// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// verdict is what has become of a fleet.
type verdict struct {
	kills, dps, hub, registrations, unsure, early int

	// How often all devices have asked where the trouble is, the one that has asked least often,
	// and how often they must have, on a machine that let them live as this one did.
	asked, seldom int
	least         float64

	proofs   map[evidence]int                // of answers that were received
	shortest map[time.Duration]time.Duration // by what was asked
	drawn    string                          // the moments, with Stagger
	unstored int                             // devices whose store has failed, which are not judged
	traces   []string                        // of what was early
	problems []string
}

func (f *fleet) judge(dirs *crashDirs) *verdict {
	v := &verdict{
		shortest: map[time.Duration]time.Duration{}, proofs: map[evidence]int{}, seldom: -1,
	}
	var draws []time.Duration
	for _, b := range f.boards {
		b.mu.Lock()
		v.judge(b)
		if f.staggered && len(b.kills) > 0 {
			draws = append(draws, b.firstAsked())
		}
		b.mu.Unlock()
	}
	if f.staggered {
		v.judgeDraws(draws)
	}
	if float64(v.asked) < v.least {
		v.problem("the devices have asked %d times, not %.1f", v.asked, v.least)
	}
	if v.unstored > len(f.boards)/4 || v.unstored > 0 && dirs.inMemory {
		v.problem("the stores of %d devices have failed", v.unstored)
	}
	return v
}

func (v *verdict) problem(format string, args ...any) {
	v.problems = append(v.problems, fmt.Sprintf(format, args...))
}

func (v *verdict) judge(b *board) {
	v.kills += len(b.kills)
	id := crashID(b.index)
	if b.ended != "" {
		v.problem("%s: %s", id, b.ended)
	}
	if len(b.kills) == 0 {
		return
	}
	slices.SortStableFunc(b.exchanges, func(x, y *exchange) int { return x.at.Compare(y.at) })
	if err := b.weigh(); err != nil {
		v.problem("%s: %v", id, err)
	}
	if secret := b.secret(); secret != "" {
		v.problem("%s: its log has %s", id, secret)
	}
	v.count(b)
	if b.unstored() > 0 {
		v.unstored++
		return
	}
	for i, e := range b.exchanges {
		d := b.demandFor(b.exchanges[:i], e)
		if d.asked == 0 {
			continue
		}
		distance := e.at.Sub(d.since)
		if least, ok := v.shortest[d.asked]; !ok || distance < least {
			v.shortest[d.asked] = distance
		}
		if distance < d.asked {
			v.early++
			v.traces = append(v.traces, b.trace(e, d))
			v.problem("%s was EARLY: its process %d asked %s (%s) at %s, %v after what asked for "+
				"%v", id, e.process, e.service, e.kind, e.at.Format(logTime), distance, d.asked)
		}
	}
}

func (v *verdict) count(b *board) {
	asked := 0
	for _, e := range b.exchanges {
		if e.service == b.fleet.service {
			asked++
		}
		if e.service == toHub {
			v.hub++
		} else {
			v.dps++
		}
		if e.kind == "register" {
			v.registrations++
		}
		if e.takenIn == "" {
			v.unsure++
		}
		v.proofs[e.takenIn]++
	}
	lived := b.lived()
	v.asked, v.least = v.asked+asked, v.least+leastShare*lived*b.fleet.least
	if v.seldom < 0 || asked < v.seldom {
		v.seldom = asked
	}
	if asked == 0 && lived > 0.5 {
		v.problem("%s has never asked", crashID(b.index))
	}
}

// leastShare is how much of what its devices ask on average a fleet must have asked.
const leastShare = 0.8

// lived is how much of a life in full the device had on this machine, 0 to 1.
func (b *board) lived() float64 {
	usable := b.fleet.lag.usable(b.starts[0], b.kills[len(b.kills)-1])
	return usable * min(1, float64(len(b.kills))/fullKills)
}

// demandFor is what the answers that a device has received before a request ask for. Those to
// later processes say nothing of it: it was read late.
func (b *board) demandFor(all []*exchange, next *exchange) demand {
	var before, received []*exchange
	for _, e := range all {
		if e.process > next.process {
			continue
		}
		before = append(before, e)
		if e.takenIn != "" && e.sent.Before(next.at) {
			received = append(received, e)
		}
	}
	demands := []demand{retryAfter(b, received, next), sameOperation(before, next)}
	if b.fleet.asked != nil {
		demands = append(demands, b.fleet.asked(b, received, next))
	}
	return slices.MaxFunc(demands, func(x, y demand) int { return x.until().Compare(y.until()) })
}

// firstAsked is when the device has asked for the first time, from its first start on, or how long
// it has not asked at all. Beyond the window that it drew from, only time in which the machine did
// not stand still counts.
func (b *board) firstAsked() time.Duration {
	at, end := b.kills[len(b.kills)-1], b.starts[0].Add(crashStagger)
	if len(b.exchanges) > 0 {
		at = b.exchanges[0].at
	}
	if at.Before(end) {
		return at.Sub(b.starts[0])
	}
	return crashStagger + b.fleet.lag.between(end, at)
}

// judgeDraws: the moment that a device has drawn is kept, so that all of them have registered soon
// after the end of the window, and not all of them soon.
func (v *verdict) judgeDraws(draws []time.Duration) {
	if len(draws) == 0 {
		return // nothing was ever killed, which is a problem already
	}
	slices.Sort(draws)
	first, middle, last := draws[0], draws[len(draws)/2], draws[len(draws)-1]
	v.drawn = fmt.Sprintf("drawn from %v: first %.1f s, middle %.1f s, last %.1f s", crashStagger,
		first.Seconds(), middle.Seconds(), last.Seconds())
	if last < crashStagger/2 || last > crashStagger+4*longestLife {
		v.problem("%s", v.drawn)
	}
}

// secret is one that is in the device's log.
func (b *board) secret() string {
	log, _ := os.ReadFile(b.log.Name())
	for name, text := range map[string]string{
		"the key": canaryKey, "a token": "SharedAccessSignature",
	} {
		if strings.Contains(string(log), text) {
			return name
		}
	}
	return ""
}
