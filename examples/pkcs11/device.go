// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/examples/pkcs11/hsm"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
)

// device is the device as the flags say it.
func (s *settings) device(
	ctx context.Context, token *hsm.Token, log *slog.Logger,
) (*provisioning.Device, error) {
	if _, err := token.List(ctx); err != nil { // at the start, where somebody reads it
		return nil, err
	}
	identity, err := s.onboarding(ctx, token)
	if err != nil {
		return nil, err
	}
	dev := &provisioning.Device{
		IDScope:     s.scope,
		Attestation: identity,
		Issuance:    &provisioning.Issuance{Keys: hsm.Keys{Token: token, Device: s.id}},
		Store:       cache.Dir(s.store),
		Logger:      log,
	}
	roots := s.roots
	if s.simulator != "" {
		r, err := readReady(s.simulator)
		if err != nil {
			return nil, err
		}
		roots = cmp.Or(roots, r.CA)
		dev.IDScope, dev.DialContext = cmp.Or(s.scope, r.IDScope), r.dial
	}
	if roots != "" {
		trusted, err := pool(roots)
		if err != nil {
			return nil, fmt.Errorf("-roots: %w", err)
		}
		dev.TLSConfig = &tls.Config{RootCAs: trusted}
	}
	return dev, nil
}

var errCount = errors.New("all messages are sent")

// drive runs the device until ctx ends, or all messages are sent.
func (s *settings) drive(
	ctx context.Context, token *hsm.Token, stdout, stderr io.Writer,
) error {
	dev, err := s.device(ctx, token, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &telemetry{settings: s, dev: dev, out: json.NewEncoder(stdout)}
	err = dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
		err := t.session(ctx, hub)
		if errors.Is(err, errCount) {
			cancel(errCount)
			return nil
		}
		return err
	})
	if errors.Is(err, errCount) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// telemetry is what the device does, over all its connections.
type telemetry struct {
	*settings
	dev  *provisioning.Device
	out  *json.Encoder
	sent int
}

func (t *telemetry) session(ctx context.Context, hub *hubconn.Conn) error {
	for {
		if err := hub.Send(ctx, hubconn.Message{Body: []byte(t.send)}); err != nil {
			return err
		}
		t.sent++
		if err := t.tell(hub); err != nil {
			return err
		}
		if t.sent == t.count {
			return errCount
		}
		if t.renew {
			t.renew = false // once
			if err := t.dev.Renew(ctx); err != nil {
				return err
			}
			continue // over the same connection
		}
		select {
		case <-time.After(t.interval):
		case <-ctx.Done():
			return nil
		}
	}
}

// tell prints what was sent, and with which credential.
func (t *telemetry) tell(hub *hubconn.Conn) error {
	status := t.dev.Status()
	return t.out.Encode(struct {
		Sent       int                         `json:"sent"`
		Hub        string                      `json:"hub"`
		DeviceID   string                      `json:"deviceId"`
		Credential provisioning.CredentialKind `json:"credential"`
		ValidFrom  time.Time                   `json:"validFrom,omitzero"`
		ValidUntil time.Time                   `json:"validUntil,omitzero"`
	}{
		t.sent, hub.Hub().Host, hub.Hub().DeviceID, status.Credential,
		status.Certificate.ValidFrom, status.Certificate.ValidUntil,
	})
}
