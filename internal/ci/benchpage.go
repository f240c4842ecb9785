// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

var processors = regexp.MustCompile(`-\d+$`)

// addFigures reads what go test -bench prints: a benchmark's name, with the number of processors if
// that is not 1, how often it ran, and pairs of a value and its unit.
func addFigures(all map[string]figures, text string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := processors.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		if all[name] == nil {
			all[name] = figures{}
		}
		for pair := range slices.Chunk(fields[2:], 2) {
			if value, err := strconv.ParseFloat(pair[0], 64); err == nil && len(pair) == 2 {
				all[name][pair[1]] = append(all[name][pair[1]], value)
			}
		}
	}
}

// short has three digits, or all that stand before the point.
func short(value float64) string {
	if value >= 100 {
		return strconv.FormatFloat(value, 'f', 0, 64)
	}
	return strconv.FormatFloat(value, 'g', 3, 64)
}

var benchTable = regexp.MustCompile("^\\| `([A-Z][A-Za-z]+)` \\|")

// withFigures puts the figures into a page's tables. The head of such a table is the name of a
// benchmark, in code, and units; a row is that of a part of the benchmark, or `all` of it. Each row
// and column must have a figure, and each benchmark a row.
func withFigures(page string, found map[string]figures) (string, error) {
	var lines, units []string
	benchmark, rows := "", map[string]bool{}
	for line := range strings.SplitSeq(page, "\n") {
		cells := cellsOf(line)
		head := benchTable.FindStringSubmatch(line)
		switch {
		case cells == nil:
			benchmark = ""
		case head != nil:
			benchmark, units = head[1], cells
		case benchmark != "" && !strings.HasPrefix(cells[0], "---"):
			name := strings.TrimSuffix(benchmark+"/"+strings.Trim(cells[0], "`"), "/all")
			row, ok := found[name]
			if !ok || len(cells) != len(units) {
				return "", fmt.Errorf("there is no benchmark of so many figures: %s", line)
			}
			rows[name] = true
			for i, unit := range units[1:] {
				if len(row[unit]) == 0 {
					return "", fmt.Errorf("%s does not measure %s", name, unit)
				}
				cells[i+1] = row.cell(unit)
			}
			line = "| " + strings.Join(cells, " | ") + " |"
		}
		lines = append(lines, line)
	}
	for name := range found {
		if !rows[name] {
			return "", fmt.Errorf("%s stands in no table", name)
		}
	}
	return strings.Join(lines, "\n"), nil
}

// targetHead begins the table of what the figures are to be; of names the rows and the unit.
const targetHead = "| figure | target | of | measured | verdict |"

var (
	targetCell = regexp.MustCompile(`^([≥≤]) (\d+(\.\d+)?)$`)
	ofCell     = regexp.MustCompile("^`(\\S+)` (\\S+)$")

	explanation = regexp.MustCompile(`(?m)^- \*\*(.+?)\*\*: `)
)

// withVerdicts puts into the table of targets what was measured, the worst of the rows that a
// target is for, and whether that is enough.
func withVerdicts(page string, found map[string]figures) (string, error) {
	before, table, ok := strings.Cut(page, targetHead+"\n")
	if !ok {
		return "", errors.New("there is no table of targets")
	}
	table, after, _ := strings.Cut(table, "\n\n")
	lines := strings.Split(table, "\n")
	for i, line := range lines[1:] {
		cells := cellsOf(line)
		if len(cells) != 5 {
			return "", fmt.Errorf("a target has five cells: %s", line)
		}
		target, of := targetCell.FindStringSubmatch(cells[1]), ofCell.FindStringSubmatch(cells[2])
		if target == nil || of == nil {
			return "", fmt.Errorf("no target such as ≤ 1.1, of such as `Send/*` x-cpu: %s", line)
		}
		limit, err := strconv.ParseFloat(target[2], 64)
		if err != nil {
			return "", err
		}
		var measured []float64
		for name, row := range found {
			fits, err := path.Match(of[1], name)
			if err != nil {
				return "", fmt.Errorf("%s: %w", of[1], err)
			}
			if fits && len(row[of[2]]) > 0 {
				measured = append(measured, row.median(of[2]))
			}
		}
		if len(measured) == 0 {
			return "", fmt.Errorf("nothing measures %s", cells[2])
		}
		worst, met := slices.Max(measured), slices.Max(measured) <= limit
		if target[1] == "≥" {
			worst, met = slices.Min(measured), slices.Min(measured) >= limit
		}
		cells[3], cells[4] = short(worst), "met"
		if !met {
			cells[4] = "**missed**"
		}
		lines[i+1] = "| " + strings.Join(cells, " | ") + " |"
	}
	return before + targetHead + "\n" + strings.Join(lines, "\n") + "\n\n" + after, nil
}

// unexplained fails for a target that is missed without a word why, a paragraph of a list that
// begins with the figure's name, and for such a word about what is met, or about nothing.
func unexplained(page string) error {
	var wrong []error
	missed := map[string]bool{}
	for line := range strings.Lines(page) {
		cells := cellsOf(strings.TrimSuffix(line, "\n"))
		if len(cells) != 5 || cells[4] != "**missed**" {
			continue
		}
		missed[cells[0]] = true
		if !strings.Contains(page, "\n- **"+cells[0]+"**: ") {
			wrong = append(wrong, fmt.Errorf("%s: %q is missed: say why, in a list: - **%s**: …",
				benchPage, cells[0], cells[0]))
		}
	}
	for _, m := range explanation.FindAllStringSubmatch(page, -1) {
		if !missed[m[1]] {
			wrong = append(wrong, fmt.Errorf("%s says why %q is missed, but it is met, or no "+
				"target: take it out", benchPage, m[1]))
		}
	}
	return errors.Join(wrong...)
}

// cellsOf are those of a table's row; nil if a line is none.
func cellsOf(line string) []string {
	if len(line) < 2 || line[0] != '|' || line[len(line)-1] != '|' {
		return nil
	}
	cells := strings.Split(line[1:len(line)-1], "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

var (
	measuredOn = regexp.MustCompile(`(?m)^Measured on .*;\n.*$`)
	processor  = regexp.MustCompile(`(?m)^cpu: (.*)$`)
)

// withMachine says when, where and how the figures were measured.
func withMachine(page, log, load, how string, now time.Time) string {
	cpu := "unknown processor"
	if m := processor.FindStringSubmatch(log); m != nil {
		cpu = m[1]
	}
	busy := "unknown"
	if fields := strings.Fields(load); len(fields) > 0 {
		busy = fields[0]
	}
	return measuredOn.ReplaceAllLiteralString(page, fmt.Sprintf(
		"Measured on %s: %s, %s/%s, %s, %d processors;\n%s, load average before them %s.",
		now.Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, cpu,
		runtime.NumCPU(), how, busy,
	))
}
