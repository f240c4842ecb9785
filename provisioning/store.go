// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
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
	unstored bool // the last write failed, and nothing has made up for it
	fallback entry.Fallback
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
	sealing, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	fingerprint, err := o.attestation.Fingerprint(sealing)
	if err != nil {
		s.unstored = true
		return fmt.Errorf("fingerprint of the credential: %w", err)
	}
	e := entry.Entry{
		Sequence: s.sequence + 1, Saved: o.now(), Scope: o.scope,
		RegistrationID: o.attestation.RegistrationID(), Endpoint: o.endpoint,
		Fingerprint: fingerprint, Fallback: s.fallback,
		Confirmed: confirmed.toStore(), Candidate: candidate.toStore(),
	}
	if s.last != nil && s.last.Fingerprint == e.Fingerprint &&
		s.last.Confirmed.Equal(e.Confirmed) && s.last.Candidate.Equal(e.Candidate) &&
		s.last.Fallback.Equal(e.Fallback) && !s.savedAhead() {
		s.unstored = false
		return nil
	}
	s.unstored = true
	data, err := o.seal(sealing, &e)
	if err != nil {
		return err
	}
	if err := o.store.Put(ctx, e.RegistrationID, data); err != nil {
		s.last = nil // what is stored now is unknown: write again at the next occasion
		return err
	}
	s.last, s.sequence, s.unstored = &e, e.Sequence, false
	return nil
}

// fallbackIsNews says that what is stored does not tell what was learned of the network since.
func (s *entryStore) fallbackIsNews() bool {
	return s.last != nil && !s.last.Fallback.Equal(s.fallback)
}

// savedAhead says that the clock was found to be wrong after what is stored was saved by it. It
// would be a floor to the clock at the next boot.
func (s *entryStore) savedAhead() bool {
	return s.last != nil && s.last.Saved.After(s.owner.now().Add(skewTolerance))
}

// seal makes an entry this device's, in the form that is stored.
func (o *entryOwner) seal(ctx context.Context, e *entry.Entry) ([]byte, error) {
	body := e.Body()
	seal, err := o.attestation.Seal(ctx, body)
	if err != nil {
		return nil, fmt.Errorf("seal of the entry: %w", err)
	}
	return entry.Frame(body, seal), nil
}

func (s *entryStore) forget(ctx context.Context) error {
	s.last, s.unstored = nil, false
	if s.owner.store == nil {
		return nil
	}
	return s.owner.store.Delete(ctx, s.owner.attestation.RegistrationID())
}

// storeTimeout is how long a store may take for one operation, if it does not say. Flash that is
// worn out takes seconds and answers; a file server that is gone does not.
const storeTimeout = 10 * time.Second

// longestStoreTimeout bounds what a store may say: a device that cannot read it is to ask DPS.
const longestStoreTimeout = 2 * time.Minute

// storeGrace is how much longer a store is waited for once its context has ended, so that one that
// heeds it is heard, and is not taken for one that hangs.
const storeGrace = time.Second

var (
	errStoreSilent = errors.New("the store has not returned within 10 s, or its CallTimeout")
	errStoreStuck  = errors.New("the store has not returned from an earlier call")
)

// boundedStore is a store that may hang. A call that does can be left, but not stopped, so there is
// never more than one: until it has returned there is no other, which also keeps a late Put from
// overwriting a newer one.
type boundedStore struct {
	_       [0]func() // never compared, which saves code in a device's program
	store   cache.Store
	timeout time.Duration

	mu    sync.Mutex
	under *storeCall // way; nil if no call is
}

type storeCall struct {
	limit time.Time     // when it is given up
	done  chan struct{} // closed when it has returned; data and err are set then
	data  []byte
	err   error
}

// bounded is the store with a limit to each call; nil for none.
func bounded(store cache.Store) cache.Store {
	if store == nil {
		return nil
	}
	timeout := storeTimeout
	if patient, ok := store.(interface{ CallTimeout() time.Duration }); ok {
		timeout = min(max(timeout, patient.CallTimeout()), longestStoreTimeout)
	}
	return &boundedStore{store: store, timeout: timeout}
}

func (s *boundedStore) Get(ctx context.Context, key string) ([]byte, error) {
	return s.call(ctx, func(ctx context.Context) ([]byte, error) { return s.store.Get(ctx, key) })
}

func (s *boundedStore) Put(ctx context.Context, key string, data []byte) error {
	_, err := s.call(ctx, func(ctx context.Context) ([]byte, error) {
		return nil, s.store.Put(ctx, key, data)
	})
	return err
}

func (s *boundedStore) Delete(ctx context.Context, key string) error {
	_, err := s.call(ctx, func(ctx context.Context) ([]byte, error) {
		return nil, s.store.Delete(ctx, key)
	})
	return err
}

// boundedWaits is a bounded store that keeps waits, too.
type boundedWaits struct {
	_ [0]func() // never compared, either
	*boundedStore
	waits cache.WaitStore
}

// waitStore is the part of the store that keeps waits, within the same limits; nil if it keeps
// none.
func waitStore(store cache.Store) cache.WaitStore {
	s, ok := store.(*boundedStore)
	if !ok {
		return nil
	}
	waits, ok := s.store.(cache.WaitStore)
	if !ok {
		return nil
	}
	return boundedWaits{boundedStore: s, waits: waits}
}

func (s boundedWaits) GetWaits(
	ctx context.Context, key string,
) (data []byte, age time.Duration, err error) {
	var told time.Duration // read only after the call has returned in time
	data, err = s.call(ctx, func(ctx context.Context) (data []byte, err error) {
		data, told, err = s.waits.GetWaits(ctx, key)
		return data, err
	})
	if err != nil {
		return nil, 0, err
	}
	return data, told, nil
}

func (s boundedWaits) PutWaits(ctx context.Context, key string, data []byte) error {
	_, err := s.call(ctx, func(ctx context.Context) ([]byte, error) {
		return nil, s.waits.PutWaits(ctx, key, data)
	})
	return err
}

// call returns what operation does, or an error soon after the timeout or the end of ctx.
func (s *boundedStore) call(
	ctx context.Context, operation func(context.Context) ([]byte, error),
) ([]byte, error) {
	own, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, errStoreSilent)
	defer cancel()
	go func() {
		own.err = errStoreSilent // in case it ends its goroutine instead of returning
		defer func() {
			s.mu.Lock()
			s.under = nil
			s.mu.Unlock()
			close(own.done)
		}()
		own.data, own.err = operation(ctx)
	}()
	select {
	case <-own.done:
		return own.data, own.err
	case <-ctx.Done():
	}
	select {
	case <-own.done:
		return own.data, own.err
	case <-time.After(storeGrace):
		return nil, context.Cause(ctx)
	}
}

// begin waits for the turn of a new call, as long as the one before it may yet return in time.
func (s *boundedStore) begin(ctx context.Context) (*storeCall, error) {
	patience := time.Now().Add(s.timeout)
	for {
		s.mu.Lock()
		other := s.under
		if other == nil {
			own := &storeCall{
				limit: time.Now().Add(s.timeout + storeGrace), done: make(chan struct{}),
			}
			s.under = own
			s.mu.Unlock()
			return own, nil
		}
		s.mu.Unlock()
		left := min(time.Until(other.limit), time.Until(patience))
		if left <= 0 {
			return nil, errStoreStuck
		}
		select {
		case <-other.done:
		case <-time.After(left):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
