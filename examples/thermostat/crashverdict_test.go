// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// verdict is what has become of a fleet.
type verdict struct {
	kills, dps, hub, registrations, unsure, early int

	shortest map[time.Duration]time.Duration // by what was asked
	drawn    string                          // the moments, with Stagger
	traces   []string                        // of devices that were early
	problems []string
}

func (f *fleet) judge() *verdict {
	v := &verdict{shortest: map[time.Duration]time.Duration{}}
	var draws []time.Duration
	for _, b := range f.boards {
		b.mu.Lock()
		v.judge(b)
		if f.staggered && len(b.exchanges) > 0 {
			draws = append(draws, b.firstAsked())
		}
		b.mu.Unlock()
	}
	if f.staggered {
		v.judgeDraws(draws)
	}
	return v
}

func (v *verdict) judge(b *board) {
	f := b.fleet
	v.kills += len(b.kills)
	if b.ended != "" {
		v.problems = append(v.problems, crashID(b.index)+": "+b.ended)
	}
	slices.SortStableFunc(b.exchanges, func(x, y *exchange) int { return x.at.Compare(y.at) })
	early, asked := map[*exchange]demand{}, 0
	for i, e := range b.exchanges {
		if e.service == f.service {
			asked++
		}
		switch {
		case e.service == toHub:
			v.hub++
		case e.kind == "register":
			v.registrations++
			fallthrough
		default:
			v.dps++
		}
		if !b.received(e) {
			v.unsure++
		}
		d := b.demandFor(b.exchanges[:i], e)
		if d.asked == 0 {
			continue
		}
		distance := e.at.Sub(d.since)
		if least, ok := v.shortest[d.asked]; !ok || distance < least {
			v.shortest[d.asked] = distance
		}
		if distance < d.asked {
			early[e] = d
		}
	}
	if len(early) > 0 {
		v.early += len(early)
		v.traces = append(v.traces, b.trace(early))
	}
	if least := b.least(); asked < least {
		v.problems = append(v.problems, fmt.Sprintf("%s has asked %d times, not %d",
			crashID(b.index), asked, least))
	}
}

// least is how often the device must have asked, on a machine that let it live.
func (b *board) least() int {
	least := float64(b.fleet.least)
	if n := len(b.kills); n < fullKills {
		least *= float64(n) / fullKills * 3 / 4
	}
	from, to := b.starts[0], b.kills[len(b.kills)-1]
	if usable := b.fleet.lag.between(from, to).Seconds() / to.Sub(from).Seconds(); usable < 0.9 {
		least *= usable
	}
	return int(least)
}

// received says that a process has received an answer. On a machine that stands still often, a
// process waits for its turn as well where it does not.
func (b *board) received(e *exchange) bool {
	if e.sent.IsZero() || e.process >= len(b.kills) {
		return false
	}
	needs, killed := readTime, b.kills[e.process]
	if e.assigned {
		needs = storeTime
	}
	needs += time.Duration(10 * b.fleet.lag.share(killed) * float64(needs))
	return b.fleet.lag.between(e.done, killed) >= needs
}

// demandFor is what the answers that a device has received before a request ask for.
func (b *board) demandFor(before []*exchange, next *exchange) demand {
	var received []*exchange
	for _, e := range before {
		if b.received(e) && e.sent.Before(next.at) {
			received = append(received, e)
		}
	}
	demands := []demand{retryAfter(received, next), b.sameOperation(before, next)}
	if b.fleet.asked != nil {
		demands = append(demands, b.fleet.asked(received, next))
	}
	return slices.MaxFunc(demands, func(x, y demand) int { return x.until().Compare(y.until()) })
}

// firstAsked is when the device has asked for the first time, from its first start on. Beyond the
// window that it drew from, only time in which the machine did not stand still counts.
func (b *board) firstAsked() time.Duration {
	at, end := b.exchanges[0].at, b.starts[0].Add(crashStagger)
	if at.Before(end) {
		return at.Sub(b.starts[0])
	}
	return crashStagger + b.fleet.lag.between(end, at)
}

// judgeDraws: the moment that a device has drawn is kept, so that all of them have registered by
// the end of the window, and not all of them soon.
func (v *verdict) judgeDraws(draws []time.Duration) {
	if len(draws) < crashDevices {
		return // which is a problem already
	}
	slices.Sort(draws)
	first, middle, last := draws[0], draws[len(draws)/2], draws[len(draws)-1]
	v.drawn = fmt.Sprintf("drawn from %v: first %.1f s, middle %.1f s, last %.1f s", crashStagger,
		first.Seconds(), middle.Seconds(), last.Seconds())
	if last < crashStagger/2 || last > crashStagger+2*longestLife {
		v.problems = append(v.problems, v.drawn)
	}
}

func (v *verdict) row(f *fleet) string {
	var distances []string
	for _, asked := range slices.Sorted(maps.Keys(v.shortest)) {
		if asked%time.Second != 0 {
			continue // by how long DPS had throttled: another one for each request
		}
		distances = append(distances, fmt.Sprintf("%v: %.3f s", asked, v.shortest[asked].Seconds()))
	}
	if v.drawn != "" {
		distances = append(distances, v.drawn)
	}
	return fmt.Sprintf("%-34s %7d %6d %6d %6d %8d %7d %6d  %s", f.name, len(f.boards), v.kills,
		v.dps, v.hub, v.registrations, v.unsure, v.early, strings.Join(distances, ", "))
}

// trace tells the life of a device: requests, answers, kills.
func (b *board) trace(early map[*exchange]demand) string {
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	for n, at := range b.starts {
		lines = append(lines, line{at, fmt.Sprintf("process %d starts", n)})
	}
	for n, at := range b.kills {
		lines = append(lines, line{at, fmt.Sprintf("process %d is killed", n)})
	}
	for _, e := range b.exchanges {
		text := fmt.Sprintf("process %d asks %s: %s %s", e.process, e.service, e.kind, e.operation)
		if d, ok := early[e]; ok {
			text += fmt.Sprintf("  EARLY: %v after what asked for %v at %s", e.at.Sub(d.since),
				d.asked, d.since.Format(logTime))
		}
		lines = append(lines, line{e.at, text})
		if e.sent.IsZero() {
			continue
		}
		lines = append(lines, line{e.sent, fmt.Sprintf("  answer to process %d: %s %s %d, "+
			"Retry-After %v, operation %q, received %v", e.process, e.service, e.kind, e.status,
			e.retryAfter, e.operation, b.received(e))})
	}
	slices.SortStableFunc(lines, func(x, y line) int { return x.at.Compare(y.at) })
	var out strings.Builder
	fmt.Fprintf(&out, "%s, %s was early:\n", b.fleet.name, crashID(b.index))
	for _, l := range lines {
		fmt.Fprintf(&out, "%s %s\n", l.at.Format(logTime), l.text)
	}
	log, _ := os.ReadFile(b.log.Name())
	fmt.Fprintf(&out, "its log:\n%s", log)
	return out.String()
}
