// SPDX-License-Identifier: Apache-2.0

// Command fleet plays a fleet of up to a million devices in virtual time: devices that run the
// library's own rules, or the policy of another SDK, in front of models of DPS and of IoT hubs with
// their quotas. It prints a table, and writes CSV and a picture. See docs/fleet.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/report"
	"github.com/rehome-iot/rehome/examples/fleet/scenario"
)

// memoryLimit keeps a fleet of a million within 2 GiB: most of that is packed states, which the
// collector of garbage does not have to look at, so that it may run often.
const memoryLimit = 1800 << 20

func main() {
	debug.SetMemoryLimit(memoryLimit)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program. The exit status is 2 for a wrong flag, 1 for what went wrong later, and 130
// if it was interrupted, after it has printed what it has.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parse(args, stderr)
	switch {
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "fleet:", err)
		return 2
	}
	if c.list {
		for _, s := range scenario.All {
			_, _ = fmt.Fprintf(stdout, "%-20s %s\n", s.Name, s.About)
		}
		return 0
	}
	play := c.play
	switch {
	case c.table != nil:
		play = c.table.print
	case c.windows != "":
		play = func(ctx context.Context, _, stderr io.Writer) error {
			return c.drawWindows(ctx, stderr)
		}
	}
	if err := play(ctx, stdout, stderr); err != nil {
		if errors.Is(err, context.Canceled) {
			_, _ = fmt.Fprintln(stderr, "fleet: interrupted: the last line is of what was played")
			return 130
		}
		_, _ = fmt.Fprintln(stderr, "fleet:", err)
		return 1
	}
	return 0
}

// play plays everything that was asked for, and shows what there is of it in the end.
func (c *command) play(ctx context.Context, stdout, stderr io.Writer) error {
	var figures []report.Figures
	var curves []report.Curve
	var failure error
	for _, one := range c.plays() {
		done := c.watch(one, stderr)
		m, f, err := one.Run(ctx)
		done()
		figures = append(figures, f)
		curves = append(curves, report.Curve{Name: f.Name, Measure: m})
		if err != nil {
			failure = err
			break
		}
		if !c.keeps() {
			curves = nil // a million devices are measured in 100 MB
		}
	}
	if err := report.Table(stdout, figures); err != nil {
		return err
	}
	if err := c.write(curves); err != nil {
		return err
	}
	return failure
}

func (c *command) keeps() bool { return c.csv != "" || c.svg != "" }

// write writes the files that were asked for.
func (c *command) write(curves []report.Curve) error {
	if c.csv != "" && len(curves) > 0 {
		if err := toFile(c.csv, curves[0].CSV); err != nil {
			return fmt.Errorf("-csv: %w", err)
		}
	}
	if c.svg != "" && len(curves) > 0 {
		draw := func(w io.Writer) error { return report.SVG(w, c.title(), curves) }
		if err := toFile(c.svg, draw); err != nil {
			return fmt.Errorf("-svg: %w", err)
		}
	}
	return nil
}

func toFile(name string, write func(io.Writer) error) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

// watch shows on a terminal how far a simulation is, five times a second. What it returns ends
// that.
func (c *command) watch(p *scenario.Play, stderr io.Writer) (done func()) {
	if !c.progress {
		return func() {}
	}
	var shown time.Time
	p.Progress = func(now time.Duration, m *report.Measure) {
		if time.Since(shown) < 200*time.Millisecond {
			return
		}
		shown = time.Now()
		arrived, expected := m.Arrived()
		share := 100 * float64(arrived) / float64(max(expected, 1))
		_, _ = fmt.Fprintf(stderr, "\r\033[K%s, seed %d: %v of virtual time, %.2f %% have arrived",
			p.Name, p.Seed, now.Truncate(time.Second), share)
	}
	return func() { _, _ = fmt.Fprint(stderr, "\r\033[K") }
}
