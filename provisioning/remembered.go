// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/internal/entry"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/internal/waits"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// Remembered is what a device's store holds for it.
type Remembered struct {
	// Confirmed is the assignment that last led to a connection, or to a message sent over HTTPS;
	// Candidate the one that DPS named since and that has not yet. Either may be nil; both are, if
	// nothing usable is stored.
	Confirmed, Candidate *dps.Assignment

	// Saved is when it was stored, by the corrected clock. Sequence counts the times that something
	// was stored.
	Saved    time.Time
	Sequence uint64

	// Problem is why what is stored is not used, in one line; empty if it is used, or if there is
	// nothing.
	Problem string

	// Credential is what Run shows a hub first with it.
	Credential CredentialKind

	// Certificate is about the certificate that was issued to the device, if Issuance is set.
	// NextRenewal is where it falls in the certificate's life: failures have put it off. Err is
	// what the hub, or the check of a chain, had against the last request, or what is wrong with
	// what is stored.
	Certificate CertificateStatus

	// Next is what Run does first with it: [retry.Wait] connects to the hub, [retry.Lookup] asks
	// DPS where the device belongs, and [retry.Register] registers.
	Next retry.Verdict

	// NextHub is when a start tries the hub, and NextDPS when it asks DPS, by what the process has
	// planned that last drove the device, or drives it now; zero if it planned nothing, so that
	// what Next says comes at once.
	NextHub, NextDPS time.Time

	// HubRetryAfter and DPSRetryAfter are until when they have asked to be left alone; zero if they
	// have not, or it is over.
	HubRetryAfter, DPSRetryAfter time.Time
}

// Remembered reads the store, without any use of the network and without changing anything. The
// error is of a wrong field, or the store's own; what is wrong with the stored entry is in Problem.
func (d *Device) Remembered(ctx context.Context) (Remembered, error) {
	c, err := d.prepare()
	if err != nil {
		return Remembered{}, err
	}
	s := entryStore{owner: c.store.owner}
	boot, why := s.read(ctx)
	r := Remembered{
		Confirmed: knownFrom(boot.Confirmed).assignment(),
		Candidate: knownFrom(boot.Candidate).assignment(), Next: boot.Next,
	}
	r.Credential = CredentialAttestation
	if c.certs != nil {
		stored := newCertificates(c.certs.owner, c.certs.keys, c.clock)
		stored.load(ctx)
		r.Credential, r.Certificate = stored.remembered()
	}
	if s.last != nil {
		r.Saved, r.Sequence = s.last.Saved, s.last.Sequence
	}
	c.rememberedWaits(ctx, &s, &r)
	if why == nil {
		return r, nil
	}
	if !isEntryProblem(why) && !errors.Is(why, cache.ErrMiss) {
		return r, why
	}
	r.Problem = why.Error()
	return r, nil
}

// rememberedWaits reads what is left of the waits that are stored. Who has none is told nothing.
func (c *core) rememberedWaits(ctx context.Context, s *entryStore, r *Remembered) {
	k := waits.Keeper{
		Store: c.waits.Store, Key: c.waits.Key, Clock: c.waits.Clock, Trusted: c.waits.Trusted,
	}
	if k.Store == nil {
		return
	}
	owner, err := s.waitsOwner(ctx)
	if err != nil {
		return
	}
	w, _, err := k.Load(ctx, owner)
	if err != nil {
		return
	}
	at := func(left time.Duration) (t time.Time) {
		if left > 0 {
			t = time.Now().Add(left)
		}
		return t
	}
	if w.DPS.Planned {
		r.NextDPS = at(max(w.DPS.In, w.DPS.Asked))
	}
	r.DPSRetryAfter = at(w.DPS.Asked)
	for _, a := range []*dps.Assignment{r.Candidate, r.Confirmed} {
		for _, h := range w.Hubs {
			if a == nil || h.Hub != a.Hub || h.DeviceID != a.DeviceID {
				continue
			}
			if next := at(max(h.In, h.Asked, h.GapIn)); r.NextHub.IsZero() ||
				next.Before(r.NextHub) {
				r.NextHub, r.HubRetryAfter = next, at(h.Asked)
			}
		}
	}
}

// remembered is what has been loaded of certificates.
func (c *certificates) remembered() (first CredentialKind, s CertificateStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first = CredentialAttestation
	if len(c.pairs) > 0 {
		first, s = CredentialIssued, c.pairs[0].status(c.ring.Pairs[0])
		s.NextRenewal, _, _ = c.pairs[0].moments()
	}
	s.Err = c.problem
	switch {
	case s.Err != nil:
	case c.ring.Pending != nil && c.ring.Pending.Failed != "":
		s.Err = errors.New(c.ring.Pending.Failed)
	case !c.ring.Unissued.IsZero():
		s.Err = errUnissued
	}
	return first, s
}

func isEntryProblem(err error) bool {
	return isAny(
		err, entry.ErrTorn, entry.ErrNewer, errEntryForeign, errEntryRotated, errEntryTampered,
	)
}

// isAny is errors.Is for any of several.
func isAny(err error, of ...error) bool {
	return slices.ContainsFunc(of, func(one error) bool { return errors.Is(err, one) })
}

// owner is whose waits a device's are.
func (c *core) owner() (waits.Owner, error) { return c.store.waitsOwner(context.Background()) }

func (s *entryStore) waitsOwner(ctx context.Context) (waits.Owner, error) {
	o := s.owner
	owner := waits.Owner{
		Scope: o.scope, RegistrationID: o.attestation.RegistrationID(), Endpoint: o.endpoint,
	}
	if e := s.last; e != nil { // an entry is only used if its fingerprint is the credential's
		owner.Fingerprint = e.Fingerprint
		return owner, nil
	}
	var err error
	owner.Fingerprint, err = o.attestation.Fingerprint(ctx)
	return owner, err
}

// loadWaits takes up what an earlier process was told to wait for.
func (c *core) loadWaits(boot *rules.Boot, owner func() (waits.Owner, error)) {
	if c.waits.Store == nil {
		return
	}
	o, err := owner()
	if err != nil {
		return // the credential cannot be used either, which the requests tell
	}
	boot.Waits, boot.WaitsUnknown, err = c.waits.Load(context.Background(), o)
	if err != nil {
		c.storeFailed("waits not read", err)
	}
	c.outage.resume(boot.Waits.Down)
}

// saveWaits keeps what the next process has to know. ending says that nothing drives the device any
// more, after which it may be switched off.
func (c *core) saveWaits(ending bool) {
	c.waits.Down = c.outage.kept()
	if err := c.waits.Save(context.Background(), &c.state, ending); err != nil {
		c.storeFailed("waits not stored", err)
	}
}
