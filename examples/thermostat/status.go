package main

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// stored is what -status prints.
type stored struct {
	Store          string      `json:"store"`
	IDScope        string      `json:"idScope"`
	RegistrationID string      `json:"registrationId"`
	Confirmed      *assignment `json:"confirmed"`           // has led to a connection
	Candidate      *assignment `json:"candidate,omitempty"` // what DPS said since, and has not yet
	Saved          string      `json:"saved,omitempty"`
	Sequence       uint64      `json:"sequence"`          // how often something was stored
	Problem        string      `json:"problem,omitempty"` // why what is stored is not used
	// what a start does first: connect, lookup or register
	Next string `json:"next"`
}

type assignment struct {
	Hub       string          `json:"hub"`
	DeviceID  string          `json:"deviceId"`
	Substatus string          `json:"substatus,omitempty"`
	Created   string          `json:"created,omitempty"`
	Updated   string          `json:"updated,omitempty"`
	Payload   json.RawMessage `json:"payload,omitempty"`
}

// printStatus prints what is stored. It uses no network and changes nothing.
func printStatus(ctx context.Context, w io.Writer, s *settings, dev *provisioning.Device) error {
	r, err := dev.Remembered(ctx)
	if err != nil {
		return usageError{s.wrong("store", err)}
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(stored{
		Store: s.store, IDScope: dev.IDScope, RegistrationID: dev.Attestation.RegistrationID(),
		Confirmed: describe(r.Confirmed), Candidate: describe(r.Candidate),
		Saved: timestamp(r.Saved), Sequence: r.Sequence, Problem: r.Problem, Next: next(r.Next),
	})
}

func describe(a *dps.Assignment) *assignment {
	if a == nil {
		return nil
	}
	return &assignment{
		Hub: a.Hub, DeviceID: a.DeviceID, Substatus: a.Substatus, Created: timestamp(a.Created),
		Updated: timestamp(a.Updated), Payload: a.Payload,
	}
}

func timestamp(t time.Time) string {
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
