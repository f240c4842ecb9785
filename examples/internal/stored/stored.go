// SPDX-License-Identifier: Apache-2.0

// Package stored prints what a device's store holds, as the example programs do.
package stored

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/rehome-iot/rehome/examples/internal/live"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// Status is what is stored for a device.
type Status struct {
	_ [0]func() // nobody compares it, and the code for it is 1 KB of a device's program

	Store          string      `json:"store"`
	IDScope        string      `json:"idScope"`
	RegistrationID string      `json:"registrationId"`
	Confirmed      *assignment `json:"confirmed"`           // has led to a connection
	Candidate      *assignment `json:"candidate,omitempty"` // what DPS said since, and has not yet
	Saved          string      `json:"saved,omitempty"`
	Sequence       uint64      `json:"sequence"`          // how often something was stored
	Problem        string      `json:"problem,omitempty"` // why what is stored is not used
	Credential     string      `json:"credential"`        // what a start shows the hub
	Certificate    *lifetime   `json:"certificate,omitempty"`
	// what a start does first: connect, lookup or register
	Next string `json:"next"`
	// when a start does that, if not at once: by the waits that are stored
	NextHub       string `json:"nextHub,omitempty"`
	NextDPS       string `json:"nextDps,omitempty"`
	HubRetryAfter string `json:"hubRetryAfter,omitempty"` // until when they asked to be left alone
	DPSRetryAfter string `json:"dpsRetryAfter,omitempty"`
	// what the program that runs the device does now; left out if none runs
	Running *live.State `json:"running,omitempty"`
}

// lifetime is that of the certificate that a start shows the hub, or why there is none.
type lifetime struct {
	ValidFrom   string `json:"validFrom,omitempty"`
	ValidUntil  string `json:"validUntil,omitempty"`
	Accepted    bool   `json:"accepted,omitempty"`    // a hub has accepted it; of issued ones
	NextRenewal string `json:"nextRenewal,omitempty"` // by its age; of issued ones
	LastFailure string `json:"lastFailure,omitempty"` // since it was issued
}

type assignment struct {
	Hub       string          `json:"hub"`
	DeviceID  string          `json:"deviceId"`
	Substatus string          `json:"substatus,omitempty"`
	Created   string          `json:"created,omitempty"`
	Updated   string          `json:"updated,omitempty"`
	Payload   json.RawMessage `json:"payload,omitempty"`
}

// Read reads what is stored in a directory, the store of the device. It uses no network and changes
// nothing.
func Read(ctx context.Context, dir string, dev *provisioning.Device) (Status, error) {
	r, err := dev.Remembered(ctx)
	if err != nil {
		return Status{}, err
	}
	running, err := live.Ask(ctx, dir, dev.Attestation.RegistrationID())
	if err != nil {
		running = &live.State{State: Unknown, Cause: err.Error()}
	}
	return Status{
		Store: dir, IDScope: dev.IDScope, RegistrationID: dev.Attestation.RegistrationID(),
		Confirmed: describe(r.Confirmed), Candidate: describe(r.Candidate),
		Saved: Timestamp(r.Saved), Sequence: r.Sequence, Problem: r.Problem, Next: next(r.Next),
		Credential: string(r.Credential), Certificate: lifetimeOf(ctx, r, dev),
		NextHub: Timestamp(r.NextHub), NextDPS: Timestamp(r.NextDPS),
		HubRetryAfter: Timestamp(r.HubRetryAfter), DPSRetryAfter: Timestamp(r.DPSRetryAfter),
		Running: running,
	}, nil
}

// Empty says that nothing is stored that a start could use.
func (s Status) Empty() bool { return s.Confirmed == nil && s.Candidate == nil }

// Unknown is the state of a running program that does not answer.
const Unknown = "unknown"

// The exit statuses of a program that is asked for the status.
const (
	ExitConnected    = 0
	ExitEmpty        = 1 // nothing is stored, and no program runs that is connected all the same
	ExitNotConnected = 3 // a program that runs is not connected, or none runs
)

// ExitCode tells a program whether the device is connected now.
func (s Status) ExitCode() int {
	switch {
	case s.Running != nil && s.Running.Connected():
		return ExitConnected
	case s.Empty():
		return ExitEmpty
	}
	return ExitNotConnected
}

// PrintJSON prints it for people and for programs.
func (s Status) PrintJSON(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(s)
}

// lifetimeOf is nil where there is nothing to tell: the credential is a key.
func lifetimeOf(
	ctx context.Context, r provisioning.Remembered, dev *provisioning.Device,
) *lifetime {
	c := r.Certificate
	l := lifetime{
		ValidFrom: Timestamp(c.ValidFrom), ValidUntil: Timestamp(c.ValidUntil),
		Accepted: c.Accepted, NextRenewal: Timestamp(c.NextRenewal),
	}
	if c.Err != nil {
		l.LastFailure = c.Err.Error()
	}
	if l.ValidUntil == "" { // none was issued: the hub is shown what the settings name
		if pair, err := dev.Attestation.Certificate(ctx); err == nil && pair != nil &&
			pair.Leaf != nil {
			leaf := pair.Leaf
			l.ValidFrom, l.ValidUntil = Timestamp(leaf.NotBefore), Timestamp(leaf.NotAfter)
		}
	}
	if l == (lifetime{}) {
		return nil
	}
	return &l
}

func describe(a *dps.Assignment) *assignment {
	if a == nil {
		return nil
	}
	return &assignment{
		Hub: a.Hub, DeviceID: a.DeviceID, Substatus: a.Substatus, Created: Timestamp(a.Created),
		Updated: Timestamp(a.Updated), Payload: a.Payload,
	}
}

// Timestamp is a time as the programs print it, "" for none.
func Timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func next(v retry.Verdict) string {
	if v == retry.Wait {
		return "connect"
	}
	return v.String()
}
