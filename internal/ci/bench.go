package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// benchPage tells what the benchmarks measure, and has their figures.
const benchPage = "docs/benchmarks.md"

// bench runs the benchmarks of the page, each once: that they work, and that every figure there is
// one of theirs. With BENCHTIME in the environment, such as 1s, they measure for so long, and the
// page gets the figures.
func (w *workshop) bench() error {
	measure := os.Getenv("BENCHTIME")
	text, err := w.logged("bench.log", exec.Command("go", "test", "-run", "^$",
		"-bench", "^Benchmark(Send|Boot|Idle)$", "-benchtime", cmp.Or(measure, "1x"),
		"-timeout", "20m", "./hubconn"))
	if err != nil {
		return fmt.Errorf("%w\n%s", err, last(100, text))
	}
	page, err := os.ReadFile(benchPage)
	if err != nil {
		return err
	}
	found := figuresOf(text)
	updated, err := withFigures(string(page), found)
	if err != nil {
		return fmt.Errorf("%s: %w", benchPage, err)
	}
	say(os.Stdout, "%d benchmarks", len(found))
	if measure == "" {
		return nil
	}
	updated = withMachine(updated, text, time.Now())
	return os.WriteFile(benchPage, []byte(updated), 0o644)
}

// figures are those of a benchmark, by unit.
type figures map[string]string

var processors = regexp.MustCompile(`-\d+$`)

// figuresOf reads what go test -bench prints: a benchmark's name, with the number of processors if
// that is not 1, how often it ran, and pairs of a value and its unit.
func figuresOf(text string) map[string]figures {
	all := map[string]figures{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := processors.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		all[name] = figures{}
		for pair := range slices.Chunk(fields[2:], 2) {
			if value, err := strconv.ParseFloat(pair[0], 64); err == nil && len(pair) == 2 {
				all[name][pair[1]] = short(value)
			}
		}
	}
	return all
}

// short has three digits, or all that stand before the point.
func short(value float64) string {
	if value >= 100 {
		return strconv.FormatFloat(value, 'f', 0, 64)
	}
	return strconv.FormatFloat(value, 'g', 3, 64)
}

var benchTable = regexp.MustCompile("^\\| `([A-Z][a-z]+)` \\|")

// withFigures puts the figures into a page's tables. The head of such a table is the name of a
// benchmark, in code, and units; a row is that of a part of the benchmark. The columns "was"
// stay as they are. Each row and column must have a figure, and each benchmark a row.
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
			name := benchmark + "/" + strings.Trim(cells[0], "`")
			row, ok := found[name]
			if !ok || len(cells) != len(units) {
				return "", fmt.Errorf("there is no benchmark of so many figures: %s", line)
			}
			rows[name] = true
			for i, unit := range units[1:] {
				if unit == "was" {
					continue
				}
				if cells[i+1], ok = row[unit]; !ok {
					return "", fmt.Errorf("%s does not measure %s", name, unit)
				}
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
	measuredOn = regexp.MustCompile(`(?m)^Measured .*$`)
	processor  = regexp.MustCompile(`(?m)^cpu: (.*)$`)
)

// withMachine says when and where the figures were measured.
func withMachine(page, text string, now time.Time) string {
	cpu := "unknown processor"
	if m := processor.FindStringSubmatch(text); m != nil {
		cpu = m[1]
	}
	return measuredOn.ReplaceAllLiteralString(page, fmt.Sprintf(
		"Measured on %s: %s, %s/%s, %s, %d processors.", now.Format(time.DateOnly),
		runtime.Version(), runtime.GOOS, runtime.GOARCH, cpu, runtime.NumCPU(),
	))
}
