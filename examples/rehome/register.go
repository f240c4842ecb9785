// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"

	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/examples/internal/stored"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// assignment is what DPS has said.
type assignment struct {
	Status         string  `json:"status"`
	Hub            string  `json:"hub"`
	DeviceID       string  `json:"deviceId"`
	RegistrationID string  `json:"registrationId"`
	Substatus      string  `json:"substatus,omitempty"`
	Created        string  `json:"created,omitempty"`
	Updated        string  `json:"updated,omitempty"`
	Payload        payload `json:"payload,omitempty"`
	Took           float64 `json:"seconds"`
}

// errNoCertificate: a registration that asks for no certificate may leave the device without the
// one that it has.
var errNoCertificate = settings.UsageError{Err: errors.New("a registration by hand asks for no " +
	"certificate: have send register the device, which does, or leave out -csr")}

// register registers once, and stores nothing.
func register(ctx context.Context, p *program) error {
	if p.CSR {
		return errNoCertificate
	}
	return p.ask(ctx, func(ctx context.Context, c *dps.Client) (dps.Assignment, error) {
		return c.Register(ctx, dps.Registration{})
	})
}

// lookup asks once where the device is assigned. It changes nothing.
func lookup(ctx context.Context, p *program) error {
	return p.ask(ctx, func(ctx context.Context, c *dps.Client) (dps.Assignment, error) {
		return c.Lookup(ctx)
	})
}

func (p *program) ask(
	ctx context.Context, how func(context.Context, *dps.Client) (dps.Assignment, error),
) error {
	dev, err := p.device()
	if err != nil {
		return err
	}
	ctx, cancel := p.limited(ctx)
	defer cancel()
	began := time.Now()
	a, err := how(ctx, client(dev))
	if err != nil {
		return err
	}
	out := assignment{
		Status: a.Status, Hub: a.Hub, DeviceID: a.DeviceID, RegistrationID: a.RegistrationID,
		Substatus: a.Substatus, Created: stored.Timestamp(a.Created),
		Updated: stored.Timestamp(a.Updated), Payload: payload(a.Payload),
		Took: time.Since(began).Round(time.Millisecond).Seconds(),
	}
	lines := row("status", out.Status)
	for _, next := range [][]string{
		row("hub", shown([]byte(out.Hub))), row("device id", shown([]byte(out.DeviceID))),
		row("substatus", shown([]byte(out.Substatus))), row("created", out.Created),
		row("updated", out.Updated), row("payload", shown(a.Payload)),
	} {
		lines = append(lines, next...)
	}
	return p.print(out, lines...)
}
