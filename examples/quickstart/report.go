package main

import (
	"fmt"
	"strings"
	"time"
)

// String puts requests into words: "1 registration, 1 poll".
func (c counts) String() string {
	var parts []string
	for _, p := range []struct {
		n          int
		one, other string
	}{
		{c.register, "registration", "registrations"}, {c.poll, "poll", "polls"},
		{c.lookup, "lookup", "lookups"}, {c.clock, "clock check", "clock checks"},
	} {
		switch {
		case p.n == 1:
			parts = append(parts, "1 "+p.one)
		case p.n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.other))
		}
	}
	if len(parts) == 0 {
		return "0 DPS requests"
	}
	return strings.Join(parts, ", ")
}

// time is the range expected.
func (e expected) time() string {
	if e.least == 0 {
		return "up to " + seconds(e.most)
	}
	return fmt.Sprintf("%g to %s", e.least.Seconds(), seconds(e.most))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%g s", d.Seconds()) }

func (o outcome) ok() bool { return o.played && len(o.problems) == 0 }

func (r *report) asExpected() bool {
	for _, o := range r.outcomes {
		if !o.ok() {
			return false
		}
	}
	return len(r.outcomes) > 0
}

// print writes the table.
func (r *report) print(tell *narrator) {
	const row = "%-47s %8s %6s %6s %6s   %-13s %11s %9s   %s"
	tell.plain("\n%-47s %29s", "", "DPS requests, expected/seen")
	tell.plain(row, "step", "register", "poll", "lookup", "clock", "hub", "expected in", "seen", "")
	var total counts
	wrong := 0
	for i, o := range r.outcomes {
		want, seen := o.step.expect.requests, o.requests
		verdict, hub := "ok", short(o.hub)
		if hub != short(o.step.expect.hub) {
			hub = short(o.step.expect.hub) + "/" + hub
		}
		switch {
		case !o.played:
			verdict = "not played"
		case !o.ok():
			verdict = "NOT OK"
		}
		if !o.ok() {
			wrong++
		}
		tell.plain(
			row, fmt.Sprintf("%d. %s", i+1, o.step.title), pair(want.register, seen.register),
			pair(want.poll, seen.poll), pair(want.lookup, seen.lookup),
			pair(want.clock, seen.clock), hub, o.step.expect.time(),
			fmt.Sprintf("%.3f s", o.took.Seconds()), verdict,
		)
		total.register += seen.register
		total.poll += seen.poll
		total.lookup += seen.lookup
		total.clock += seen.clock
	}
	if wrong > 0 {
		tell.plain("\n%d of %d steps went otherwise:", wrong, len(r.outcomes))
		for i, o := range r.outcomes {
			for _, problem := range o.problems {
				tell.plain("%d. %s", i+1, problem)
			}
		}
		return
	}
	tell.plain(
		"\nAll %d steps went as expected, in %.1f s and with %v.", len(r.outcomes),
		r.took.Seconds(), total,
	)
}

func pair(want, seen int) string { return fmt.Sprintf("%d/%d", want, seen) }
