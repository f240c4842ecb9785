// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/rehome-iot/rehome/examples/fleet/report"
)

// player plays the rows of tables.
type player struct {
	ctx    context.Context
	stderr io.Writer
	played map[string][]report.Figures // by its arguments
}

func newPlayer(ctx context.Context, stderr io.Writer) *player {
	return &player{ctx: ctx, stderr: stderr, played: map[string][]report.Figures{}}
}

// figures are those of a play. Of a policy beside the library's, they are those of the policy.
func (p *player) figures(args string) ([]report.Figures, error) {
	if f, ok := p.played[args]; ok {
		return f, nil
	}
	c, err := parse(strings.Fields(args), p.stderr)
	if err != nil {
		return nil, err
	}
	if len(c.rivals) > 1 {
		c.rivals = c.rivals[1:]
	}
	var all []report.Figures
	for _, one := range c.plays() {
		debug.FreeOSMemory() // of the fleet before
		done := c.watch(one, p.stderr)
		_, f, err := one.Run(p.ctx)
		done()
		if err != nil {
			return nil, err
		}
		if early := f.BeforeRetryAfter + f.SoonAfterFailure; early > 0 && one.Rival == nil {
			return nil, fmt.Errorf("%s: %d requests came too early", args, early)
		}
		all = append(all, f)
	}
	p.played[args] = all
	return all, nil
}

// line plays a row, and is what the page has of it.
func (p *player) line(t *table, r *row) (string, error) {
	cells := []string{r.text}
	for _, args := range r.plays {
		f, err := p.figures(args)
		if err != nil {
			return "", err
		}
		cells = append(cells, t.cells(f)...)
	}
	return "| " + strings.Join(cells, " | ") + " |\n", nil
}

// devices is how many a row's largest play has.
func (r *row) devices() (most int) {
	for _, args := range r.plays {
		if c, err := parse(strings.Fields(args), io.Discard); err == nil {
			most = max(most, c.Devices)
		}
	}
	return most
}

func tableNames() string {
	var names []string
	for i := range tables {
		names = append(names, tables[i].name)
	}
	return strings.Join(names, ", ")
}

func chooseTable(name string) (*table, error) {
	i := slices.IndexFunc(tables, func(t table) bool { return t.name == name })
	if i < 0 {
		return nil, fmt.Errorf("-table %q is unknown: use %s", name, tableNames())
	}
	return &tables[i], nil
}

// print plays a table and prints it, line by line.
func (t *table) print(ctx context.Context, stdout, stderr io.Writer) error {
	if _, err := io.WriteString(stdout, t.head); err != nil {
		return err
	}
	p := newPlayer(ctx, stderr)
	for i := range t.rows {
		line, err := p.line(t, &t.rows[i])
		if err != nil {
			return err
		}
		if _, err := io.WriteString(stdout, line); err != nil {
			return err
		}
	}
	return nil
}

// Where a table stands in its page.
func (t *table) begin() string { return "<!-- " + t.name + " -->\n\n" }
func (t *table) end() string   { return "\n<!-- end of " + t.name + " -->\n" }

// lines are those that a page has of the table's rows, by the text of their first cell. They are in
// the table's order, or it is an error.
func (t *table) lines(page string) (map[string]string, error) {
	_, rest, ok := strings.Cut(page, t.begin())
	told, _, closed := strings.Cut(rest, t.end())
	rest, headed := strings.CutPrefix(told, t.head)
	if !ok || !closed || !headed {
		return nil, fmt.Errorf("%s has no table %s, or with another head", t.page, t.name)
	}
	all := strings.SplitAfter(rest, "\n")
	all = all[:len(all)-1]
	if len(all) != len(t.rows) {
		return nil, fmt.Errorf("%s: table %s has %d rows, and commands for %d", t.page, t.name,
			len(all), len(t.rows))
	}
	lines := map[string]string{}
	for i, line := range all {
		if text := t.rows[i].text; !strings.HasPrefix(line, "| "+text+" |") {
			return nil, fmt.Errorf("%s: table %s has %q in the place of %q",
				t.page, t.name, line, text)
		}
		lines[t.rows[i].text] = line
	}
	return lines, nil
}

// with is the page with other lines of the table. A row without one keeps what it has, if anything.
func (t *table) with(page string, lines map[string]string) (string, error) {
	before, rest, ok := strings.Cut(page, t.begin())
	told, after, closed := strings.Cut(rest, t.end())
	if !ok || !closed {
		return "", fmt.Errorf("%s has no marks of the table %s", t.page, t.name)
	}
	var b strings.Builder
	b.WriteString(t.head)
	for _, r := range t.rows {
		line, ok := lines[r.text]
		if !ok {
			line = lineOf(told, r.text)
		}
		b.WriteString(line)
	}
	return before + t.begin() + b.String() + t.end() + after, nil
}

// unplayed stands in the place of what nobody has played yet.
const unplayed = "not played yet"

// lineOf is the line of a row as it stood, or one that says that it has never been played.
func lineOf(told, text string) string {
	for line := range strings.Lines(told) {
		if strings.HasPrefix(line, "| "+text+" |") {
			return line
		}
	}
	return "| " + text + " | " + unplayed + " |\n"
}
