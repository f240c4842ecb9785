// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
)

// target is what the figures are to be, and where they stand.
type target struct {
	text string
	are  []figure
}

// figure is a cell of a table, and the most that it may be.
type figure struct {
	table, row, column string
	most               float64
}

var targets = []target{
	{"a warm boot with a healthy hub asks DPS for nothing", []figure{
		{"million", "`reboot`", "to DPS", 0}, {"million", "`reboot`, over a minute", "to DPS", 0},
	}},
	{"hub back after an hour: up to 2.0 of the optimum", []figure{
		{"million", "`hub-down`", "optimum", 2.0},
		{"figures", "`hub-down`, 3 seeds", "optimum", 2.0},
	}},
	{"a move with `Stagger`: 1.08 of the optimum; 0.1 wasted", []figure{
		{"million", "`move-stagger`", "optimum", 1.08},
		{"million", "`move-stagger`", "wasted", 0.1},
	}},
	{"its worst minute: up to 1.5 of the quota", []figure{
		{"million", "`move-stagger`", "worst min", 1.5},
	}},
	{"a move whose Stagger DPS said before: 1.10; 0.5 wasted", []figure{
		{"million", "`move-hint`", "optimum", 1.10}, {"million", "`move-hint`", "wasted", 0.5},
	}},
	{"a move without any: 1.15; 8 wasted, at a Retry-After of 30 s", []figure{
		{"million", "`move`", "optimum", 1.15}, {"million", "`move`", "wasted", 8},
	}},
	{"the same, at a Retry-After of 1 s", []figure{
		{"figures", "Retry-After 1 s, 3", "optimum", 1.15},
		{"figures", "Retry-After 1 s, 3", "wasted", 8},
	}},
	{"clocks at 1970: no registration", []figure{{"million", "`clock-1970`", "to DPS", 0}}},
}

const (
	targetsBegin = "<!-- targets -->\n\n| Target | Seen | |\n|---|---|---|\n"
	targetsEnd   = "\n<!-- end of targets -->\n"
)

// withTargets is the page with the verdicts on the figures that it shows.
func withTargets(page string) (string, error) {
	before, rest, ok := strings.Cut(page, targetsBegin)
	_, after, closed := strings.Cut(rest, targetsEnd)
	if !ok || !closed {
		return "", fmt.Errorf("the page has no marks of the targets")
	}
	var b strings.Builder
	for _, t := range targets {
		var seen []string
		verdict := "met"
		for _, f := range t.are {
			cell, err := f.cell(page)
			if err != nil {
				return "", err
			}
			seen = append(seen, cell)
			switch {
			case cell == unplayed:
				verdict = unplayed
			case numberIn(cell) > f.most && verdict == "met":
				verdict = "missed"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", t.text, strings.Join(seen, "; "), verdict)
	}
	// no row is written, and no test passes, of which anything came too early
	b.WriteString("| nothing before Retry-After, nor 5 s after a 5xx | 0; 0 | met, as above |\n")
	quick, slow, err := durations(page)
	if err != nil {
		return "", err
	}
	verdict := "met"
	if slow > 0 {
		verdict = fmt.Sprintf("missed by %d", slow)
	}
	fmt.Fprintf(&b, "| a million devices on two cores: a minute | %d of %d | %s |\n",
		quick, quick+slow, verdict)
	return before + targetsBegin + b.String() + targetsEnd + after, nil
}

func (f figure) cell(page string) (string, error) {
	t, err := chooseTable(f.table)
	if err != nil {
		return "", err
	}
	lines, err := t.lines(page)
	if err != nil {
		return "", err
	}
	heads, _, _ := strings.Cut(t.head, "\n")
	column := slices.Index(cellsOf(heads), f.column)
	cells := cellsOf(lines[f.row])
	if column < 0 {
		return "", fmt.Errorf("table %s has no %s", f.table, f.column)
	}
	if len(cells) <= column {
		return unplayed, nil
	}
	return cells[column], nil
}

func cellsOf(line string) []string {
	line = strings.Trim(strings.TrimSpace(line), "|")
	cells := strings.Split(line, "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

// durations counts the plays of a million that took a minute at most, and those that took longer.
func durations(page string) (quick, slow int, err error) {
	t, err := chooseTable("durations")
	if err != nil {
		return 0, 0, err
	}
	lines, err := t.lines(page)
	for _, line := range lines {
		switch {
		case strings.Contains(line, unplayed):
		case strings.Contains(line, "missed"):
			slow++
		default:
			quick++
		}
	}
	return quick, slow, err
}
