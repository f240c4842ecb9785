// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// benchPage tells what the benchmarks measure, and has their figures.
const benchPage = "docs/benchmarks.md"

// benchmarked are the packages with benchmarks of the page, and their names.
var benchmarked = []struct{ pkg, names string }{
	{"./hubconn", "Send|Boot|Idle"},
	{"./provisioning/dps", "Register"},
	{"./examples/simulator", "Devices|Identities|Fleet|StateFile"},
}

// bench runs each benchmark of the page once, with few devices: that they work, and that every
// figure there is one of theirs. With BENCHTIME in the environment, such as 1s, they measure for so
// long, BENCHCOUNT times, and the page gets the figures: medians, and how far they spread.
func (w *workshop) bench() error {
	measure := os.Getenv("BENCHTIME")
	count, err := strconv.Atoi(cmp.Or(os.Getenv("BENCHCOUNT"), "3"))
	if err != nil || count < 1 {
		return fmt.Errorf("BENCHCOUNT is %q: it is how often to measure", os.Getenv("BENCHCOUNT"))
	}
	found, log := map[string]figures{}, ""
	load, _ := os.ReadFile("/proc/loadavg") // where there is one
	for i, from := range benchmarked {
		args := []string{"test", "-run", "^$", "-bench", "^Benchmark(" + from.names + ")$",
			"-timeout", "30m", from.pkg}
		if measure == "" {
			args = append(args, "-short", "-benchtime", "1x")
		} else {
			args = append(args, "-benchtime", measure, "-count", strconv.Itoa(count))
		}
		text, err := w.logged(fmt.Sprintf("bench%d.log", i), exec.Command("go", args...))
		if err != nil {
			return fmt.Errorf("%w\n%s", err, last(100, text))
		}
		addFigures(found, text)
		log += text
	}
	if err := w.otherFigures(found, measure != ""); err != nil {
		return err
	}
	page, err := os.ReadFile(benchPage)
	if err != nil {
		return err
	}
	updated, err := withFigures(string(page), found)
	if err == nil {
		updated, err = withVerdicts(updated, found)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", benchPage, err)
	}
	say(os.Stdout, "%d benchmarks", len(found))
	if measure == "" {
		return nil
	}
	updated = withMachine(updated, log, string(load), runs(count, measure), time.Now())
	if err := os.WriteFile(benchPage, []byte(updated), 0o644); err != nil {
		return err
	}
	return unexplained(updated)
}

// runs is how often was measured, and for how long each time.
func runs(count int, each string) string {
	if count == 1 {
		return "1 run of " + each
	}
	return fmt.Sprintf("%d runs of %s", count, each)
}

// otherFigures are those that no benchmark of a package yields: sizes, and tests on boards that are
// emulated. Without measuring, it is which there are.
func (w *workshop) otherFigures(found map[string]figures, measure bool) error {
	for _, s := range systems {
		for _, name := range []string{s.board(), s.board() + "-small"} {
			settings := small
			if !strings.HasSuffix(name, "-small") {
				settings = nil
			} else if s.setting != "GOARM=6" {
				continue
			}
			size := int64(1)
			if measure {
				var err error
				if size, err = w.buildFor(s, settings...); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			found["Size/"+name] = figures{"MB": {float64(size) / 1e6}}
		}
	}
	for _, b := range boards {
		result := emulation{}
		if measure {
			var err error
			if result, err = w.emulate(b); err != nil {
				return err
			}
		}
		found["Emulated/"+b.board()] = figures{
			"packages": {float64(result.packages)}, "tests": {float64(result.passed)},
			"skipped": {float64(result.skipped)}, "seconds": {result.took.Seconds()},
		}
	}
	return nil
}

// figures are those of a benchmark, by unit: one of each run.
type figures map[string][]float64

// median is that of the runs.
func (f figures) median(unit string) float64 {
	runs := slices.Sorted(slices.Values(f[unit]))
	n := len(runs)
	return (runs[n/2] + runs[(n-1)/2]) / 2
}

// cell is a median, and half of what lies between the least and the most of the runs, in percent.
func (f figures) cell(unit string) string {
	middle := f.median(unit)
	text := short(middle)
	if half := (slices.Max(f[unit]) - slices.Min(f[unit])) / 2; half > 0 && middle > 0 {
		text += fmt.Sprintf(" ±%.0f%%", 100*half/middle)
	}
	return text
}
