// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/internal/entry"
	"github.com/rehome-iot/rehome/internal/keyring"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// errRingForeign is a ring that this device has not sealed, as it is now: one of another scope or
// endpoint, of an onboarding credential that was replaced, or one that somebody has changed.
var errRingForeign = errors.New("the stored certificates do not carry this device's seal: they " +
	"are another's, or those of a credential that was replaced, or were tampered with")

// load reads what is stored. What cannot be used is a miss, and a problem.
func (c *certificates) load(ctx context.Context) {
	if err := c.read(ctx); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.problem = fmt.Errorf("stored certificates: %w", err)
	}
}

// readAgain makes up for a load that failed, if nothing has been issued since. It may have been the
// moment: a medium that is slow to come up, a chip that was busy.
func (c *certificates) readAgain(ctx context.Context) {
	c.mu.Lock()
	again := c.unread && c.ring.Empty()
	c.mu.Unlock()
	if again {
		_ = c.read(ctx) // it is known to have failed
	}
}

func (c *certificates) read(ctx context.Context) error {
	if c.owner.store == nil {
		return nil
	}
	c.storing <- struct{}{} // whoever is there has a limit
	defer func() { <-c.storing }()
	data, err := c.owner.store.Get(ctx, c.key())
	missing := errors.Is(err, cache.ErrMiss)
	ring := &keyring.Ring{}
	if err == nil {
		ring, err = c.open(ctx, data)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unread = false; missing {
		return nil
	}
	if err == nil && c.ring.Empty() {
		err = c.use(*ring)
	}
	c.unread = err != nil && !isDamage(err)
	return err
}

// isDamage says that to read again what is stored would lead to the same.
func isDamage(err error) bool {
	return isAny(err, entry.ErrTorn, entry.ErrNewer, keyring.ErrDamaged, keyring.ErrNewer)
}

// sealed is what the seal covers: the ring, and whose it is.
func (c *certificates) sealed(body []byte) []byte {
	o := c.owner
	whose := o.scope + "\x00" + o.attestation.RegistrationID() + "\x00" + o.endpoint + "\x00"
	return append([]byte(whose), body...)
}

func (c *certificates) open(ctx context.Context, data []byte) (*keyring.Ring, error) {
	body, seal, err := entry.Unframe(data)
	if err != nil {
		return nil, err
	}
	if c.owner.attestation.Verify(ctx, c.sealed(body), seal) != nil {
		return nil, errRingForeign
	}
	if p, ok := c.owner.attestation.(dps.Protector); ok {
		if body, err = p.Unprotect(ctx, body); err != nil {
			return nil, errRingForeign
		}
	}
	return keyring.Parse(body)
}

// seal makes a ring this device's, in the form that is stored.
func (c *certificates) seal(ctx context.Context, ring *keyring.Ring) ([]byte, error) {
	body, err := ring.Marshal()
	if err != nil {
		return nil, err
	}
	if p, ok := c.owner.attestation.(dps.Protector); ok {
		if body, err = p.Protect(ctx, body); err != nil {
			return nil, err
		}
	}
	seal, err := c.owner.attestation.Seal(ctx, c.sealed(body))
	if err != nil {
		return nil, err
	}
	return entry.Frame(body, seal), nil
}

// put stores the ring as it is. The keys that it does not name any more are removed after that.
func (c *certificates) put(ctx context.Context) {
	c.storing <- struct{}{} // whoever is there has a limit
	defer func() { <-c.storing }()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout+storeGrace)
	defer cancel()
	err := c.write(ctx)
	if err != nil {
		err = fmt.Errorf("the issued certificates could not be stored: %w", err)
	} else if err = c.removeUnused(ctx); err != nil {
		err = fmt.Errorf("a key that is not used any more was not removed: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problem = cmp.Or(err, c.problem)
}

// write puts what there is into the store.
func (c *certificates) write(ctx context.Context) error {
	if c.owner.store == nil {
		return nil
	}
	c.mu.Lock()
	ring := c.ring.Clone()
	c.unstored, c.unread = false, false
	c.mu.Unlock()
	data, err := c.seal(ctx, ring)
	if err == nil {
		err = c.owner.store.Put(ctx, c.key(), data)
	}
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.unstored = true
	}
	return err
}

// removeUnused removes the keys that nothing names any more: not those that were made again under
// the same name.
func (c *certificates) removeUnused(ctx context.Context) (failed error) {
	c.mu.Lock()
	keys := c.ring.Unreferenced(c.unused)
	c.unused = nil
	c.mu.Unlock()
	for _, key := range keys {
		failed = oneline.Join(failed, c.keys.Delete(ctx, key))
	}
	return failed
}

// makeUp stores what could not be stored before.
func (c *certificates) makeUp(ctx context.Context) {
	c.mu.Lock()
	unstored := c.unstored
	c.mu.Unlock()
	if unstored {
		c.put(ctx)
	}
}

// reseal stores the ring anew: the credential that seals it has changed.
func (c *certificates) reseal(ctx context.Context) {
	c.mu.Lock()
	empty := c.ring.Empty()
	c.mu.Unlock()
	if !empty {
		c.put(ctx)
	}
}

// forget removes certificates and keys.
func (c *certificates) forget(ctx context.Context) error {
	c.storing <- struct{}{} // whoever is there has a limit
	defer func() { <-c.storing }()
	c.mu.Lock()
	for _, p := range c.ring.Pairs {
		c.unused = append(c.unused, p.Key)
	}
	if c.ring.Pending != nil {
		c.unused = append(c.unused, c.ring.Pending.Key)
	}
	c.ring, c.pairs, c.waiting, c.unstored, c.unread = keyring.Ring{}, nil, nil, false, false
	c.mu.Unlock()
	if c.owner.store != nil {
		if err := c.owner.store.Delete(ctx, c.key()); err != nil {
			return err
		}
	}
	return c.removeUnused(ctx)
}

// certificatesStored tells of what went wrong with the store or the keys.
func (l *loop) certificatesStored() {
	if l.certs == nil {
		return
	}
	if err := l.certs.takeProblem(); err != nil {
		l.storeFailed("certificates not stored", err)
	}
}

// storeCertificates makes up for a write that failed.
func (l *loop) storeCertificates() {
	if l.certs != nil {
		l.certs.makeUp(l.ctx)
		l.certificatesStored()
	}
}
