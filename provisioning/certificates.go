// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/internal/keyring"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/uuid"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// adoptTimeout bounds what is done with a certificate that has come: the key is loaded, the pair
// stored.
const adoptTimeout = time.Minute

// certificates are those that were issued to a device: what the store keeps of them, and the keys.
// Every change is stored before it counts, so far as the store can be written. It is safe for
// concurrent use. Nobody waits for the keys, or for the store, while holding mu: either may be
// slow, and the device goes on meanwhile with what it has.
type certificates struct {
	owner *entryOwner
	keys  KeyStore
	clock *wallClock

	asking  chan struct{} // room for the one who makes a key
	storing chan struct{} // room for the one who uses the store

	mu       sync.Mutex
	ring     keyring.Ring
	pairs    []*issued     // of the ring, in its order
	waiting  crypto.Signer // the pending key, once it was made or loaded
	unstored bool          // the last change is in memory only
	unread   bool          // what is stored may be of use, and could not be read
	unused   [][]byte      // keys to be removed once what is stored does not name them
	problem  error         // of the store or the keys, that the log does not know yet
}

func newCertificates(owner *entryOwner, keys KeyStore, clock *wallClock) *certificates {
	return &certificates{
		owner: owner, keys: keys, clock: clock,
		asking: make(chan struct{}, 1), storing: make(chan struct{}, 1),
	}
}

func (c *certificates) key() string { return c.owner.attestation.RegistrationID() + "~issued" }

// use takes a ring for what is kept. A pair that cannot be read makes it a damaged one. mu is held.
func (c *certificates) use(ring keyring.Ring) error {
	pairs := make([]*issued, 0, len(ring.Pairs))
	for _, p := range ring.Pairs {
		leaf, err := x509.ParseCertificate(p.Chain[0])
		if err != nil {
			return keyring.ErrDamaged
		}
		next := &issued{keys: c.keys, key: p.Key, chain: p.Chain, leaf: leaf}
		for _, known := range c.pairs {
			if known.leaf.Equal(leaf) {
				next = known
			}
		}
		pairs = append(pairs, next)
	}
	c.ring, c.pairs = ring, pairs
	return nil
}

// takeProblem returns what has gone wrong since it was last called.
func (c *certificates) takeProblem() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.problem
	c.problem = nil
	return err
}

// certificateRequest is what asks for a certificate: a key, and the request that it has signed.
type certificateRequest struct {
	id  string // the request ID at the hub
	csr []byte
}

// request returns the key that waits for its certificate, or makes one. It is stored before anyone
// is asked: a chain for a key that is lost would be worth nothing.
func (c *certificates) request(ctx context.Context, name string) (certificateRequest, error) {
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return certificateRequest{}, context.Cause(ctx)
	}
	c.readAgain(ctx) // what could not be read would be overwritten
	signer, id, err := c.pendingKey(ctx)
	if err != nil {
		return certificateRequest{}, fmt.Errorf("key for a certificate: %w", err)
	}
	csr, err := dps.NewCSR(signer, name)
	if err != nil {
		return certificateRequest{}, err
	}
	return certificateRequest{id: id, csr: csr}, nil
}

// pending is the key that waits for its certificate, nil if none does, and the key itself if it is
// at hand.
func (c *certificates) pending() (*keyring.Pending, crypto.Signer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ring.Clone().Pending, c.waiting
}

// setWaiting has the pending key at hand: if it could not be loaded again, a chain would be lost.
func (c *certificates) setWaiting(key []byte, signer crypto.Signer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.ring.Pending; p != nil && bytes.Equal(p.Key, key) {
		c.waiting = signer
	}
}

func (c *certificates) pendingKey(ctx context.Context) (crypto.Signer, string, error) {
	var unused [][]byte
	if p, signer := c.pending(); p != nil {
		var err error
		if signer == nil {
			signer, err = c.keys.Load(ctx, p.Key)
		}
		if err == nil || ctx.Err() != nil {
			c.setWaiting(p.Key, signer)
			return signer, p.Request, err
		}
		unused = [][]byte{p.Key}
	}
	signer, reference, err := c.keys.Generate(ctx)
	if err != nil {
		return nil, "", err
	}
	if len(reference) == 0 || len(reference) > maxKeyReference {
		return nil, "", fmt.Errorf("a reference of %d bytes is not 1 to %d", len(reference),
			maxKeyReference)
	}
	p := keyring.Pending{Key: reference, Request: uuid.New()}
	c.change(ctx, func(ring *keyring.Ring) ([][]byte, bool) {
		ring.Pending, c.waiting = &p, signer
		return unused, true
	})
	return signer, p.Request, nil
}

// adopt checks a chain that was issued, and keeps it beside what there is. One that is no good
// changes nothing.
func (c *certificates) adopt(
	ctx context.Context, chain dps.Chain, name string, now time.Time,
) (*issued, error) {
	// The end of ctx does not cut it short: what was issued would be lost.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), adoptTimeout)
	defer cancel()
	p, signer := c.pending()
	if p == nil {
		return c.known(ctx, chain, name, now, false)
	}
	var err error
	if signer == nil {
		signer, err = c.keys.Load(ctx, p.Key)
	}
	if err != nil {
		return nil, fmt.Errorf("key of the issued certificate: %w", err)
	}
	pair, err := chain.KeyPair(signer, name, now)
	if err != nil {
		if other, none := c.known(ctx, chain, name, now, true); none == nil {
			return other, nil
		}
		return nil, err
	}
	return c.add(ctx, p.Key, pair)
}

// add keeps a pair beside what there is.
func (c *certificates) add(
	ctx context.Context, key []byte, pair tls.Certificate,
) (added *issued, err error) {
	c.change(ctx, func(ring *keyring.Ring) (unused [][]byte, changed bool) {
		waits := ring.Pending
		ring.Pending = &keyring.Pending{Key: key}
		unused = ring.Add(pair.Certificate)
		if waits != nil && !bytes.Equal(waits.Key, key) {
			ring.Pending = waits
		}
		return unused, true
	})
	for _, i := range c.all() {
		if i.leaf.Equal(pair.Leaf) {
			i.setTaken(pair.PrivateKey.(crypto.Signer))
			return i, nil
		}
	}
	return nil, keyring.ErrDamaged
}

// known takes in a chain for a key that has a certificate already: hub and DPS were asked with one
// key, and both have issued, or an earlier process has taken the chain in, and has not lived to say
// so. One that is older than what is held does not replace it, and is no answer to one who asked
// after that.
func (c *certificates) known(
	ctx context.Context, chain dps.Chain, name string, now time.Time, asked bool,
) (*issued, error) {
	pairs := c.all()
	for _, pair := range pairs {
		signer, err := pair.load(ctx)
		if err != nil {
			continue
		}
		got, err := chain.KeyPair(signer, name, now)
		switch {
		case err != nil:
		case got.Leaf.Equal(pairs[0].leaf):
			return pairs[0], nil
		case !got.Leaf.NotBefore.Before(pairs[0].leaf.NotBefore):
			return c.add(ctx, pair.key, got)
		case !asked: // what is held is newer, and nothing more is wanted
			return pairs[0], nil
		}
	}
	return nil, errors.New("a certificate came that was not asked for")
}

// requestFailed gives the request at the hub another ID, since the one before is over, and notes
// why.
func (c *certificates) requestFailed(ctx context.Context, why error) {
	c.change(ctx, func(ring *keyring.Ring) (unused [][]byte, changed bool) {
		if ring.Pending == nil {
			return nil, false
		}
		ring.Pending.Request = uuid.New()
		ring.Pending.Failed = oneline.Of(why.Error(), causeMax)
		return nil, true
	})
}

// accepted notes that a hub has accepted a pair: the ones before it are not needed any more.
func (c *certificates) accepted(ctx context.Context, i *issued) {
	c.change(ctx, func(ring *keyring.Ring) ([][]byte, bool) { return ring.Accept(i.leaf.Raw) })
}

// unreported says that the twin does not show yet how long a pair is valid.
func (c *certificates) unreported(i *issued) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ring := c.ring.Clone()
	return ring.Report(i.leaf.Raw)
}

// reported notes that it does.
func (c *certificates) reported(ctx context.Context, i *issued) {
	c.change(ctx, func(ring *keyring.Ring) ([][]byte, bool) {
		return nil, ring.Report(i.leaf.Raw)
	})
}

// unissued notes that DPS issues no certificate to the device.
func (c *certificates) unissued(ctx context.Context) {
	c.change(ctx, func(ring *keyring.Ring) (unused [][]byte, changed bool) {
		changed = ring.Unissued.IsZero()
		ring.Unissued = c.clock.Now().Truncate(time.Second)
		return nil, changed
	})
}

// change makes a change to what is kept, and stores it. What cannot be stored is used all the same,
// from memory. change is called with mu held.
func (c *certificates) change(
	ctx context.Context, change func(*keyring.Ring) (unused [][]byte, changed bool),
) {
	if c.changeInMemory(change) {
		c.put(ctx)
	}
}

func (c *certificates) changeInMemory(
	change func(*keyring.Ring) (unused [][]byte, changed bool),
) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ring := c.ring.Clone()
	unused, changed := change(ring)
	if !changed || c.use(*ring) != nil { // which cannot fail: what is new was parsed before
		return false
	}
	if ring.Pending == nil {
		c.waiting = nil
	}
	c.unused, c.unstored = append(c.unused, unused...), true
	return true
}

// all are the pairs, the newest first.
func (c *certificates) all() []*issued {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pairs
}

// newest is the pair that was issued last, nil if there is none, and what hubs have said to it.
func (c *certificates) newest() (pair *issued, known keyring.Pair) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pairs) == 0 {
		return nil, keyring.Pair{}
	}
	return c.pairs[0], c.ring.Pairs[0]
}

// refused notes that a hub has refused a pair.
func (c *certificates) refused(ctx context.Context, i *issued) {
	c.change(ctx, func(ring *keyring.Ring) ([][]byte, bool) {
		return nil, ring.Refuse(i.leaf.Raw)
	})
}

// isUnissued says that DPS was asked for a certificate and has issued none.
func (c *certificates) isUnissued() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.ring.Unissued.IsZero()
}
