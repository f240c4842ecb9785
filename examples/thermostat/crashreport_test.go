// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// No more is printed: of a situation, and of all. Who reads it wants to see one.
	mostProblems = 4
	mostTraces   = 4

	// So many lines of the life of a device are printed before the request that was early, and
	// after it.
	linesBefore = 34
	linesAfter  = 6
)

// report is what the test says of all fleets.
type report struct {
	took, used, still, longest time.Duration
	usable                     float64

	starts   int
	rows     []string
	traces   []string
	problems []string
}

// add takes in what has become of a fleet.
func (r *report) add(f *fleet, v *verdict) {
	if needs := int(crashKills * r.usable); v.kills < needs {
		v.problem("%d processes were killed, not %d", v.kills, needs)
	}
	r.starts += v.kills
	r.rows = append(r.rows, v.row(f))
	if len(v.traces) > 0 && len(r.traces) < mostTraces {
		r.traces = append(r.traces, v.traces[0])
	}
	for i, problem := range v.problems {
		if i == mostProblems {
			problem = fmt.Sprintf("… and %d more", len(v.problems)-i)
		}
		r.problems = append(r.problems, f.name+": "+problem)
		if i == mostProblems {
			break
		}
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
	if v.unstored > 0 {
		distances = append(distances, fmt.Sprintf("%d not judged: no store", v.unstored))
	}
	return fmt.Sprintf("%-34s %7d %6d %6d %6d %8d %6d %6.1f %5.1fx %6d %6d %6d %6d %6d %6d  %s",
		f.name, len(f.boards), v.kills, v.dps, v.hub, v.registrations,
		v.asked, v.least, float64(v.asked)/max(v.least, 0.1), v.seldom,
		v.proofs[byLine], v.proofs[byPoll], v.proofs[byLife], v.unsure, v.early,
		strings.Join(distances, ", "))
}

func (r *report) table() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%-34s %7s %6s %6s %6s %8s %6s %6s %6s %6s %6s %6s %6s %6s %6s  %s\n",
		"situation", "devices", "kills", "to DPS", "to hub", "register",
		"asked", "least", "margin", "seldom", "line", "poll", "life", "unsure", "early",
		"shortest distance seen, by what was asked")
	for _, row := range r.rows {
		fmt.Fprintln(&out, row)
	}
	fmt.Fprint(&out, `asked: how often where the trouble is, in all; least: how often they must
have, as much of the time as was of use; seldom: the device that asked least often. line, poll,
life: how it is known that an answer was received; unsure: it is not, and it counts for nothing.
`)
	fmt.Fprintf(&out, "%d starts in %v (%.0f each second), %v of processors (%.0f %% of one)\n",
		r.starts, r.took.Round(time.Second), float64(r.starts)/r.took.Seconds(),
		r.used.Round(time.Second), 100*r.used.Seconds()/r.took.Seconds())
	fmt.Fprintf(&out, "the machine stood still for %v, %v at once: %.0f %% of the time was of "+
		"use\n", r.still.Round(time.Millisecond), r.longest.Round(time.Millisecond), 100*r.usable)
	return out.String()
}

// trace tells the life of a device around a request that was early: what it asked and was answered,
// what its processes said, and when they began and were killed.
func (b *board) trace(early *exchange, d demand) string {
	type line struct {
		at   time.Time
		text string
		of   *exchange
	}
	var lines []line
	say := func(at time.Time, of *exchange, format string, args ...any) {
		// All by the wall clock, as the log is.
		lines = append(lines, line{at.Round(0), fmt.Sprintf(format, args...), of})
	}
	for n, at := range b.starts {
		say(at, nil, "process %d starts", n)
	}
	for n, at := range b.kills {
		say(at, nil, "process %d is killed", n)
	}
	for n, said := range b.said {
		for _, s := range said {
			say(s.Time, nil, "    process %d: %s: %s %d%d %s (wait %.1f s)", n, s.Msg, s.State,
				s.Status, s.ReturnCode, s.Cause, s.Wait)
		}
	}
	for _, e := range b.exchanges {
		text := fmt.Sprintf("process %d asks %s: %s %s", e.process, e.service, e.kind, e.operation)
		if e == early {
			text += fmt.Sprintf("  EARLY: %v after what asked for %v at %s", e.at.Sub(d.since),
				d.asked, d.since.Format(logTime))
		}
		say(e.at, e, "%s", text)
		if !e.sent.IsZero() {
			say(e.sent, nil, "  answer to process %d: %s %s %d, Retry-After %v, operation %q, "+
				"received: %s", e.process, e.service, e.kind, e.status, e.retryAfter, e.operation,
				orNot(e.takenIn))
		}
	}
	slices.SortStableFunc(lines, func(x, y line) int { return x.at.Compare(y.at) })
	i := slices.IndexFunc(lines, func(l line) bool { return l.of == early })
	from, since := max(0, i-linesBefore), d.since.Round(0)
	var out strings.Builder
	fmt.Fprintf(&out, "%s, %s was early:\n", b.fleet.name, crashID(b.index))
	for n, l := range lines[:min(len(lines), i+linesAfter+1)] {
		// What asked for it, too, however long ago that was.
		if n >= from || l.at.Sub(since).Abs() < time.Second/2 {
			fmt.Fprintf(&out, "%s %s\n", l.at.Format(logTime), l.text)
		}
	}
	return out.String()
}

func orNot(e evidence) string {
	if e == "" {
		return "nobody knows"
	}
	return string(e)
}
