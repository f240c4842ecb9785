package provisioning

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/internal/entry"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// Reasons why an entry is not used, besides those of package entry. None of them is an error to the
// program: the device asks DPS instead.
var (
	errEntryForeign = errors.New(
		"the stored entry belongs to another ID scope, registration ID or endpoint")
	errEntryRotated  = errors.New("the credential has changed since the entry was stored")
	errEntryTampered = errors.New(
		"the stored entry does not carry this device's seal: it may have been tampered with")
)

// entryOwner is whose entry it is, and where it is stored. It does not change.
type entryOwner struct {
	store       cache.Store
	attestation dps.Attestation
	scope       string
	endpoint    string
	now         func() time.Time
}

// entryStore reads and writes the entry of one device.
type entryStore struct {
	owner    *entryOwner
	last     *entry.Entry // as stored, if sound; nil if the store holds nothing of ours
	sequence uint64
}

// read says what the store calls for at boot. The error is the reason why nothing is used, for the
// log; it is nil where there is nothing.
func (s *entryStore) read(ctx context.Context) (rules.Boot, error) {
	o := s.owner
	if o.store == nil {
		return rules.Boot{Next: retry.Lookup}, nil
	}
	data, err := o.store.Get(ctx, o.attestation.RegistrationID())
	if errors.Is(err, cache.ErrMiss) {
		return rules.Boot{Next: retry.Register}, nil
	}
	if err != nil {
		return rules.Boot{Next: retry.Lookup}, err
	}
	e, err := o.open(ctx, data)
	switch {
	case err == nil:
		s.last, s.sequence = e, e.Sequence
		id := e.RegistrationID
		return rules.Boot{
			Next:      retry.Wait,
			Confirmed: stored(id, e.Confirmed).named(), Candidate: stored(id, e.Candidate).named(),
		}, nil
	case errors.Is(err, errEntryForeign), errors.Is(err, errEntryRotated):
		return rules.Boot{Next: retry.Register}, err
	}
	return rules.Boot{Next: retry.Lookup}, err
}

// open takes an entry that is sound, this device's, and sealed by it.
func (o *entryOwner) open(ctx context.Context, data []byte) (*entry.Entry, error) {
	body, seal, err := entry.Unframe(data)
	if err != nil {
		return nil, err
	}
	e, err := entry.Parse(body)
	if err != nil {
		return nil, err
	}
	id := o.attestation.RegistrationID()
	if e.Scope != o.scope || !strings.EqualFold(e.RegistrationID, id) ||
		!strings.EqualFold(e.Endpoint, o.endpoint) {
		return nil, errEntryForeign
	}
	fingerprint, err := o.attestation.Fingerprint(ctx)
	if err != nil {
		return nil, fmt.Errorf("fingerprint of the credential: %w", err)
	}
	if e.Fingerprint != fingerprint {
		return nil, errEntryRotated
	}
	if o.attestation.Verify(ctx, body, seal) != nil {
		return nil, errEntryTampered
	}
	if e.Confirmed == nil && e.Candidate == nil {
		return nil, entry.ErrTorn
	}
	return e, nil
}

// write stores the assignments, if they differ from what is stored: flash wears out, and a steady
// reboot has nothing to say.
func (s *entryStore) write(ctx context.Context, confirmed, candidate *known) error {
	o := s.owner
	if o.store == nil || confirmed == nil && candidate == nil {
		return nil
	}
	e := entry.Entry{
		Sequence: s.sequence + 1, Saved: o.now(), Scope: o.scope,
		RegistrationID: o.attestation.RegistrationID(), Endpoint: o.endpoint,
		Confirmed: confirmed.toStore(), Candidate: candidate.toStore(),
	}
	if s.last != nil && s.last.Confirmed.Equal(e.Confirmed) && s.last.Candidate.Equal(e.Candidate) {
		return nil
	}
	data, err := o.seal(ctx, &e)
	if err != nil {
		return err
	}
	if err := o.store.Put(ctx, e.RegistrationID, data); err != nil {
		s.last = nil // what is stored now is unknown: write again at the next occasion
		return err
	}
	s.last, s.sequence = &e, e.Sequence
	return nil
}

// seal makes an entry this device's, in the form that is stored.
func (o *entryOwner) seal(ctx context.Context, e *entry.Entry) ([]byte, error) {
	var err error
	if e.Fingerprint, err = o.attestation.Fingerprint(ctx); err != nil {
		return nil, fmt.Errorf("fingerprint of the credential: %w", err)
	}
	body := e.Body()
	seal, err := o.attestation.Seal(ctx, body)
	if err != nil {
		return nil, fmt.Errorf("seal of the entry: %w", err)
	}
	return entry.Frame(body, seal), nil
}

func (s *entryStore) forget(ctx context.Context) error {
	s.last = nil
	if s.owner.store == nil {
		return nil
	}
	return s.owner.store.Delete(ctx, s.owner.attestation.RegistrationID())
}

// stored is an assignment as it comes from the store.
func stored(registrationID string, a *entry.Assignment) *known {
	if a == nil {
		return nil
	}
	return &known{source: SourceStore, Assignment: dps.Assignment{
		Hub: a.Hub, DeviceID: a.DeviceID, RegistrationID: registrationID,
		Status: dps.StatusAssigned, Substatus: a.Substatus, Payload: a.Payload,
		Created: a.Created, Updated: a.Updated, ConnectionProfile: a.Profile,
	}}
}

func (k *known) toStore() *entry.Assignment {
	if k == nil {
		return nil
	}
	return &entry.Assignment{
		Hub: k.Hub, DeviceID: k.DeviceID, Substatus: k.Substatus, Payload: k.Payload,
		Created: k.Created, Updated: k.Updated, Profile: k.ConnectionProfile,
	}
}
