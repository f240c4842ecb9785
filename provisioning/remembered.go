package provisioning

import (
	"context"
	"errors"
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

	// Next is what Run does first with it: [retry.Wait] connects to the hub, [retry.Lookup] asks
	// DPS where the device belongs, and [retry.Register] registers.
	Next retry.Verdict
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
	if s.last != nil {
		r.Saved, r.Sequence = s.last.Saved, s.last.Sequence
	}
	if why == nil {
		return r, nil
	}
	if !isEntryProblem(why) && !errors.Is(why, cache.ErrMiss) {
		return r, why
	}
	r.Problem = why.Error()
	return r, nil
}

func isEntryProblem(err error) bool {
	for _, problem := range []error{
		entry.ErrTorn, entry.ErrNewer, errEntryForeign, errEntryRotated, errEntryTampered,
	} {
		if errors.Is(err, problem) {
			return true
		}
	}
	return false
}

// owner is whose waits a device's are.
func (c *core) owner() (waits.Owner, error) {
	o := c.store.owner
	owner := waits.Owner{
		Scope: o.scope, RegistrationID: o.attestation.RegistrationID(), Endpoint: o.endpoint,
	}
	if e := c.store.last; e != nil { // an entry is only used if its fingerprint is the credential's
		owner.Fingerprint = e.Fingerprint
		return owner, nil
	}
	var err error
	owner.Fingerprint, err = o.attestation.Fingerprint(context.Background())
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
		c.storeFailed("what was to be waited for could not be read", err)
	}
}

// saveWaits keeps what the next process has to know. ending says that nothing drives the device any
// more, after which it may be switched off.
func (c *core) saveWaits(ending bool) {
	if err := c.waits.Save(context.Background(), &c.state, ending); err != nil {
		c.storeFailed("what is to be waited for could not be stored", err)
	}
}
