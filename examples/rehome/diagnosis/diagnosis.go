// SPDX-License-Identifier: Apache-2.0

// Package diagnosis finds out why a device does not connect: it goes the device's own way once,
// step by step, and says of each what it saw, what that means and what mends it.
//
// It makes as few requests as tell something: one status lookup at DPS (or a registration, if it is
// told to), and one connection to the hub. A clock that turns out to be wrong takes one request for
// the time, and the lookup once more; a hub that turns the device away is asked once over HTTPS,
// which says why. Nothing is stored, and no credential is ever in the result.
package diagnosis

import (
	"cmp"
	"context"
	"net"
	"time"

	"github.com/rehome-iot/rehome/examples/internal/live"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// Result is what came of a step.
type Result string

// The results of a step.
const (
	OK      Result = "ok"
	Warning Result = "warning" // worth knowing, and the device mends it by itself
	Failed  Result = "failed"
	Skipped Result = "skipped" // it could not be looked at, or tells nothing here
)

// The names of the steps, in their order.
const (
	StepSettings = "settings"
	StepStore    = "store"
	StepDPSName  = "dps name"
	StepDPSProxy = "dps proxy"
	StepDPSTCP   = "dps tcp"
	StepDPSTLS   = "dps tls"
	StepClock    = "clock"
	StepDPS      = "dps"
	StepHubName  = "hub name"
	StepHubProxy = "hub proxy"
	StepHubTCP   = "hub tcp"
	StepHubTLS   = "hub tls"
	StepHub      = "hub"
)

// Step is one thing that has to work before a device is connected.
type Step struct {
	Name   string        `json:"step"`
	Result Result        `json:"result"`
	Took   time.Duration `json:"-"`
	Saw    []string      `json:"saw,omitempty"`
	Cause  string        `json:"cause,omitempty"` // what a failure means
	Fix    string        `json:"fix,omitempty"`   // what to do, in one line
}

// Options says whose way is gone, and how far.
type Options struct {
	// Device is the device: its fields are used, and its store is read. It is not driven.
	Device *provisioning.Device

	// Register registers with DPS in place of the status lookup.
	Register bool

	// NoConnect goes no further than TLS at the hub. A hub has one connection a device: another one
	// of this identity, such as that of a running program, is ended by the hub.
	NoConnect bool

	// Running is what the program that runs the device says of itself; nil if none runs.
	Running *live.State

	// Redirect says where a connection to host:port really goes. Nil: there.
	Redirect func(address string) string

	// RedirectedBy is the setting that Redirect is from. Empty: -connect-to.
	RedirectedBy string

	// Resolve looks up a name, and Dial opens a TCP connection. Nil: those of package net.
	Resolve func(ctx context.Context, host string) ([]string, error)
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)

	// Report is called with each step when it is over. Nil: nobody is told before Run returns.
	Report func(Step)
}

// Outcome is what Run found.
type Outcome struct {
	Steps []Step   `json:"steps"`
	Next  []string `json:"next"` // what the device would do, and when
}

// Failed is the first step that failed, nil if none did.
func (o Outcome) Failed() *Step {
	for i := range o.Steps {
		if o.Steps[i].Result == Failed {
			return &o.Steps[i]
		}
	}
	return nil
}

// doctor is one diagnosis under way.
type doctor struct {
	Options
	clock *clock

	shown    dps.Attestation // the credential that is tried
	isSecond bool

	outcome Outcome

	stored   provisioning.Remembered
	storeErr error

	dps dpsFinding
	hub hubFinding
}

// Run goes the device's way, and goes on behind a step that failed where that can still tell
// something. It ends early only with ctx.
func Run(ctx context.Context, o Options) Outcome {
	d := &doctor{
		Options: o, clock: newClock(o.Device.TLSConfig), shown: o.Device.Attestation,
	}
	d.RedirectedBy = cmp.Or(d.RedirectedBy, "-connect-to")
	if d.Redirect == nil {
		d.Redirect = func(address string) string { return address }
	}
	if d.Resolve == nil {
		d.Resolve = net.DefaultResolver.LookupHost
	}
	if d.Dial == nil {
		d.Dial = new(net.Dialer).DialContext
	}
	d.settings(ctx)
	d.store(ctx)
	d.askDPS(ctx)
	if target, ok := d.target(); ok {
		d.connect(ctx, target)
	} else {
		for _, name := range []string{StepHubName, StepHubTCP, StepHubTLS, StepHub} {
			d.report(Step{Name: name, Result: Skipped, Cause: "no hub is known"})
		}
	}
	d.outcome.Next = d.next()
	return d.outcome
}

func (d *doctor) report(s Step) {
	d.outcome.Steps = append(d.outcome.Steps, s)
	if d.Report != nil {
		d.Report(s)
	}
}

// second takes the second credential, if there is one that was not shown yet, for where the first
// was refused: as the device does, at once.
func (d *doctor) second() bool {
	if d.Device.SecondAttestation == nil || d.isSecond {
		return false
	}
	d.shown, d.isSecond = d.Device.SecondAttestation, true
	return true
}

// first goes back to the first credential: the second was refused, too.
func (d *doctor) first() { d.shown, d.isSecond = d.Device.Attestation, false }

// secondNeeded tells that the first credential was refused, and the second was not.
func (s *Step) secondNeeded(by string) {
	s.Result = Warning
	s.Cause = by + " refuses the first credential, and accepts the second"
	s.Fix = "replace the first one by a credential that is in force: -key, or -cert and -cert-key"
}

// target is the hub that a start would connect to first.
func (d *doctor) target() (hubconn.Hub, bool) {
	switch {
	case d.storedHub() != "":
		if d.stored.Candidate != nil {
			return d.stored.Candidate.Target(), true
		}
		return d.stored.Confirmed.Target(), true
	case d.dps.assignment.Hub != "":
		return d.dps.assignment.Target(), true
	}
	return hubconn.Hub{}, false
}
