// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// String puts requests into words: "1 registration, 1 poll".
func (c Counts) String() string {
	var parts []string
	for _, p := range []struct {
		n          int
		one, other string
	}{
		{c.Register, "registration", "registrations"}, {c.Poll, "poll", "polls"},
		{c.Lookup, "lookup", "lookups"}, {c.Clock, "clock check", "clock checks"},
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
func (e *Expected) time() string {
	if e.Least == 0 {
		return "up to " + seconds(e.Most)
	}
	return fmt.Sprintf("%g to %s", e.Least.Seconds(), seconds(e.Most))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%g s", d.Seconds()) }

// Column is one of a table that a play ends with. Each table begins with the step.
type Column struct {
	heading string
	width   int // negative: flush left
	cell    func(want *Expected, seen *Outcome) string
}

// The columns that there are.
var (
	Register = count("register", 8,
		func(e *Expected) int { return e.Requests.Register },
		func(o *Outcome) int { return o.Requests.Register })
	Poll = count("poll", 6,
		func(e *Expected) int { return e.Requests.Poll },
		func(o *Outcome) int { return o.Requests.Poll })
	Lookup = count("lookup", 6,
		func(e *Expected) int { return e.Requests.Lookup },
		func(o *Outcome) int { return o.Requests.Lookup })
	Clock = count("clock", 6,
		func(e *Expected) int { return e.Requests.Clock },
		func(o *Outcome) int { return o.Requests.Clock })
	Attempts = count("attempts", 9,
		func(e *Expected) int { return e.Attempts }, func(o *Outcome) int { return o.Attempts })
	Renewals = count("renewals", 9,
		func(e *Expected) int { return e.Renewals }, func(o *Outcome) int { return o.Renewals })
	Hub = Column{"  hub", -11, func(want *Expected, seen *Outcome) string {
		return "  " + both(Short(want.Hub), Short(seen.Hub))
	}}
	Credential = Column{"credential", -18, func(want *Expected, seen *Outcome) string {
		return both(string(want.Credential), string(seen.Credential))
	}}
	Within = Column{"expected", 10, func(want *Expected, _ *Outcome) string {
		return want.time()
	}}
	Took = Column{"seen", 9, func(_ *Expected, seen *Outcome) string {
		return fmt.Sprintf("%.3f s", seen.Took.Seconds())
	}}
)

// count is a column of numbers: "expected/seen".
func count(heading string, width int, want func(*Expected) int, seen func(*Outcome) int) Column {
	return Column{heading, width, func(e *Expected, o *Outcome) string {
		return fmt.Sprintf("%d/%d", want(e), seen(o))
	}}
}

// both is what was expected, and what was seen if that is something else.
func both(want, seen string) string {
	if want == seen {
		return want
	}
	return want + "/" + seen
}

// Table is a part of what a play ends with: some columns beside the steps, under a line that says
// what its first ones are. What does not fit a window beside each other is in two tables.
type Table struct {
	Above   string
	Columns []Column
}

// row is a line of a table.
func row(width int, step string, columns []Column, cell func(Column) string, last string) string {
	line := fmt.Sprintf("%-*s", width, step)
	for _, c := range columns {
		line += fmt.Sprintf(" %*s", c.width, cell(c))
	}
	return strings.TrimRight(line+"  "+last, " ")
}

// verdict is what the report thinks of a step.
func (o *Outcome) verdict() string {
	switch {
	case !o.Played:
		return "not played"
	case !o.OK():
		return "NOT OK"
	}
	return "ok"
}

// Print writes the tables, the verdicts in the last of them.
func (r *Report) Print(tell *Narrator, tables ...Table) {
	width := len("step")
	for i, o := range r.Outcomes {
		width = max(width, len(numbered(i, o.Step)))
	}
	for n, t := range tables {
		last := n == len(tables)-1
		tell.Plain("")
		if t.Above != "" {
			tell.Plain("%-*s %s", width, "", t.Above)
		}
		tell.Plain(
			"%s", row(width, "step", t.Columns, func(c Column) string { return c.heading }, ""),
		)
		for i := range r.Outcomes {
			o := &r.Outcomes[i]
			verdict := ""
			if last {
				verdict = o.verdict()
			}
			tell.Plain("%s", row(
				width, numbered(i, o.Step), t.Columns,
				func(c Column) string { return c.cell(&o.Step.Expect, o) }, verdict,
			))
		}
	}
	r.conclude(tell)
}

func numbered(i int, s Step) string { return fmt.Sprintf("%d. %s", i+1, s.Title) }

// conclude writes what the play came to.
func (r *Report) conclude(tell *Narrator) {
	var total Counts
	wrong := 0
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		if !o.OK() {
			wrong++
		}
		total.Register += o.Requests.Register
		total.Poll += o.Requests.Poll
		total.Lookup += o.Requests.Lookup
		total.Clock += o.Requests.Clock
	}
	if wrong > 0 {
		tell.Plain("\n%d of %d steps went otherwise:", wrong, len(r.Outcomes))
		for i, o := range r.Outcomes {
			for _, problem := range o.Problems {
				tell.Plain("%d. %s", i+1, problem)
			}
		}
		return
	}
	tell.Plain(
		"\nAll %d steps went as expected, in %.1f s and with %v.", len(r.Outcomes),
		r.Took.Seconds(), total,
	)
}

// tableWidth is how many columns a table may have: what a terminal and a split window show
// unbroken.
const tableWidth = 85

// TooWide finds a line of the tables that a play has printed which a window would break.
func TooWide(printed string) error {
	_, tables, ok := strings.Cut(printed, "\nstep ")
	tables, _, ended := strings.Cut(tables, "\nAll ")
	if !ok || !ended {
		return errors.New("there is no table")
	}
	for line := range strings.Lines(tables) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > tableWidth {
			return fmt.Errorf("%d columns, and not %d: %s", n, tableWidth, line)
		}
	}
	return nil
}
