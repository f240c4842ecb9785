// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/examples/internal/live"
	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/examples/internal/stored"
	"github.com/rehome-iot/rehome/examples/rehome/diagnosis"
)

func (p *program) whyOptions() []settings.Option {
	return []settings.Option{
		{Name: "register", FlagOnly: true, Assign: settings.Toggle(&p.register),
			Usage: "register with DPS in place of the status lookup: it says more, and may move " +
				"the device"},
		{Name: "no-connect", FlagOnly: true, Assign: settings.Toggle(&p.noConnect),
			Usage: "go no further than TLS at the hub"},
		{Name: "connect", FlagOnly: true, Assign: settings.Toggle(&p.connect),
			Usage: "connect even while a program runs as this device, whose connection the hub " +
				"then ends: it comes back by itself"},
	}
}

// why goes the device's way once and explains each step.
func why(ctx context.Context, p *program) error {
	if p.register && p.CSR {
		return errNoCertificate
	}
	dev, err := p.device()
	if err != nil {
		return err
	}
	o := diagnosis.Options{
		Device: dev, Register: p.register, NoConnect: p.noConnect, Redirect: p.Redirects.Apply,
		RedirectedBy: p.redirectedBy,
	}
	if p.Store != "" {
		o.Running, err = live.Ask(ctx, p.Store, dev.Attestation.RegistrationID())
		if err != nil {
			o.Running = &live.State{State: stored.Unknown, Cause: err.Error()}
		}
		o.NoConnect = o.NoConnect || o.Running != nil && !p.connect
	}
	if p.format == "text" {
		o.Report = func(s diagnosis.Step) { fmt.Fprint(p.stdout, stepText(s)) }
	}
	outcome := diagnosis.Run(ctx, o)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	failed := outcome.Failed()
	if err := p.printOutcome(outcome, failed); err != nil {
		return err
	}
	if failed == nil {
		return nil
	}
	return fmt.Errorf("step %q fails: %s", failed.Name, failed.Fix)
}

func (p *program) printOutcome(outcome diagnosis.Outcome, failed *diagnosis.Step) error {
	if p.format == "json" {
		out := struct {
			Steps  []timedStep `json:"steps"`
			Next   []string    `json:"next"`
			Failed string      `json:"failed,omitempty"` // the first step that did
			Fix    string      `json:"fix,omitempty"`
		}{Next: outcome.Next}
		for _, s := range outcome.Steps {
			out.Steps = append(out.Steps, timedStep{s, s.Took.Round(time.Microsecond).Seconds()})
		}
		if failed != nil {
			out.Failed, out.Fix = failed.Name, failed.Fix
		}
		return p.print(out)
	}
	lines := []string{"", "What the device does next:"}
	for _, next := range outcome.Next {
		lines = append(lines, "  - "+next)
	}
	return p.print(nil, lines...)
}

// timedStep is a step with its time as a number.
type timedStep struct {
	diagnosis.Step
	Seconds float64 `json:"seconds"`
}

// marks begin the line of a step.
var marks = map[diagnosis.Result]string{
	diagnosis.OK: "✓", diagnosis.Warning: "!", diagnosis.Failed: "✗", diagnosis.Skipped: "-",
}

func stepText(s diagnosis.Step) string {
	var b strings.Builder
	took := ""
	if rounded := s.Took.Round(100 * time.Microsecond); rounded > 0 {
		took = rounded.String()
	}
	rest := append([]string{}, s.Saw...)
	if s.Cause != "" {
		rest = append(rest, s.Cause)
	}
	if s.Fix != "" {
		rest = append(rest, "fix: "+s.Fix)
	}
	first := ""
	if len(rest) > 0 {
		first, rest = rest[0], rest[1:]
	}
	fmt.Fprintf(&b, "%s %-9s %8s  %s\n", marks[s.Result], s.Name, took, shown([]byte(first)))
	for _, line := range rest {
		fmt.Fprintf(&b, "%22s%s\n", "", shown([]byte(line)))
	}
	return b.String()
}
