// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/jitter"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/internal/waits"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

func newCore(d *Device) (*core, error) {
	var system func() time.Time
	if d.TLSConfig != nil {
		system = d.TLSConfig.Time
	}
	clock := newWallClock(system)
	client := d.client(clock)
	if err := d.validate(client); err != nil {
		return nil, err
	}
	owner := &entryOwner{
		store: bounded(d.Store), attestation: d.Attestation, scope: d.IDScope,
		endpoint: cmp.Or(d.Endpoint, dps.DefaultEndpoint), now: clock.Now,
	}
	c := &core{
		identity: &identity{credential: d.Attestation}, question: make(chan struct{}, 1),
		payload: d.payload(), settings: d.settings(),
		maxAttempts: d.Retry.MaxAttempts, client: client, dialer: d.dialer(clock), clock: clock,
		toHub: newHubChoice(d), toDPS: newDPSChoice(d),
		dpsHost: cmp.Or(d.Endpoint, dps.DefaultEndpoint),
		lease:   newLease(), calls: make(chan *call), nudges: make(chan struct{}, 1),
		published: make(chan struct{}),
		random:    jitter.New(d.Attestation.RegistrationID()), unlogged: d.Logger == nil,
		name:   name{device: d.Attestation.RegistrationID()},
		status: Status{State: StateStopped, RegistrationID: d.Attestation.RegistrationID()},
		store:  entryStore{owner: owner},
		second: d.SecondAttestation,
	}
	if d.Issuance != nil {
		c.issuance = *d.Issuance
		c.certs = newCertificates(owner, d.Issuance.keyStore(), clock)
	}
	c.budget = d.Budget
	c.waits = waits.Keeper{
		Key: d.Attestation.RegistrationID(), Clock: clock.Now,
		Trusted: func() bool { return !clock.suspect() },
	}
	c.waits.Store = waitStore(c.store.owner.store)
	c.log = slog.New(slog.DiscardHandler)
	if d.Logger != nil {
		c.log = c.name.in(d.Logger)
	}
	if d.Trace != nil {
		c.trace = *d.Trace
	}
	return c, nil
}

func (d *Device) client(clock *wallClock) *dps.Client {
	return &dps.Client{
		IDScope: d.IDScope, Attestation: d.Attestation, Endpoint: d.Endpoint,
		Transport: d.Transport, APIVersion: d.APIVersion, UserAgent: d.UserAgent,
		TLSConfig: withClock(d.TLSConfig, clock), DialContext: d.DialContext, Proxy: d.Proxy,
	}
}

func (d *Device) dialer(clock *wallClock) *hubconn.Dialer {
	h := d.Hub
	if h.DialContext == nil {
		h.DialContext = d.DialContext
	}
	if h.TLSConfig == nil {
		h.TLSConfig = d.TLSConfig
	}
	if h.Proxy == nil {
		h.Proxy = d.Proxy
	}
	if h.UserAgent == "" {
		h.UserAgent = d.UserAgent
	}
	if h.Logger == nil {
		h.Logger = d.Logger
	}
	if h.Logger != nil {
		h.Logger = name{device: d.Attestation.RegistrationID()}.in(h.Logger)
	}
	if h.ModelID == "" {
		h.ModelID = d.ModelID
	}
	if h.APIVersion == "" && d.Issuance != nil {
		h.APIVersion = hubconn.CredentialsAPIVersion
	}
	h.TLSConfig = withClock(h.TLSConfig, clock)
	if h.TLSConfig.ClientSessionCache == nil {
		// So a connection resumes the session of the one before it. A few hubs take turns at most.
		h.TLSConfig.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	}
	return &h
}

// settings are the rules' own, as the fields adjust them.
func (d *Device) settings() rules.Settings {
	r := rules.Defaults()
	r.Stagger = max(d.Stagger, 0)
	elsewhere := newDPSChoice(d)
	r.LookupElsewhere = elsewhere.order[len(elsewhere.order)-1] == dps.MQTT
	r.AfterRejection = rules.AfterRejection(d.AfterRejection)
	for _, p := range []*retry.Policy{&r.Hub, &r.DPS} {
		p.MinDelay = max(p.MinDelay, d.Retry.MinDelay)
		if d.Retry.Multiplier > 0 { // what is below 1 is the policy's own to take for 1
			p.Multiplier = d.Retry.Multiplier
		}
	}
	if d.Retry.MaxDelay > 0 {
		r.Hub.MaxDelay, r.DPS.MaxDelay = d.Retry.MaxDelay, max(r.DPS.MaxDelay, d.Retry.MaxDelay)
	}
	return r
}

func (d *Device) validate(client *dps.Client) error {
	if err := client.Validate(); err != nil {
		return err
	}
	if err := d.validateCredentials(); err != nil {
		return invalid(err)
	}
	if err := d.Hub.Validate(); err != nil {
		return invalid(fmt.Errorf("hub: %w", err))
	}
	if s, ok := d.Store.(interface{ Validate() error }); ok {
		if err := s.Validate(); err != nil {
			return invalid(fmt.Errorf("store: %w", err))
		}
	}
	if err := checkModelID(d.ModelID); err != nil {
		return invalid(err)
	}
	if err := (dps.Registration{Payload: d.payload()}).Validate(); err != nil {
		return err
	}
	if d.AfterRejection < Reregister || d.AfterRejection > StopWhenRejected {
		return invalid(errors.New("afterrejection is unknown: use Reregister, KeepProbing or " +
			"StopWhenRejected"))
	}
	for _, limit := range []struct {
		field string
		wrong bool
	}{
		{"stagger", d.Stagger < 0},
		{"retry.mindelay", d.Retry.MinDelay < 0},
		{"retry.maxdelay", d.Retry.MaxDelay < 0},
		{"retry.maxattempts", d.Retry.MaxAttempts < 0},
		{"retry.multiplier", d.Retry.Multiplier < 0},
	} {
		if limit.wrong {
			return invalid(fmt.Errorf("%s is negative: use zero for the default", limit.field))
		}
	}
	return nil
}

// validateCredentials checks what there is besides the attestation.
func (d *Device) validateCredentials() error {
	if err := d.Issuance.validate(); err != nil || d.SecondAttestation == nil {
		return err
	}
	if err := d.SecondAttestation.Validate(); err != nil {
		return fmt.Errorf("secondattestation: %w", err)
	}
	id, second := d.Attestation.RegistrationID(), d.SecondAttestation.RegistrationID()
	if !strings.EqualFold(id, second) {
		return fmt.Errorf("secondattestation: registration id %q is not the attestation's, %q: "+
			"both must be of one enrollment", second, id)
	}
	return nil
}
