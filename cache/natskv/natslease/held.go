// SPDX-License-Identifier: Apache-2.0

package natslease

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rehome-iot/rehome/cache/natskv/internal/bucket"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

// held is a lease of this replica. Replica.mu guards what changes.
type held struct {
	replica  *Replica
	key      string
	identity string
	ctx      context.Context
	end      context.CancelCauseFunc

	session  string // by which it is held; empty while it is being acquired
	revision uint64
	doubt    bool // its key holds something else, and nobody's session
}

// tries is how often a write is tried that meets those of others.
const tries = 8

// pause lets the servers of a cluster agree on the write of another: 4 ms at first, half a second
// in the end, and up to twice that.
func pause(ctx context.Context, try int) {
	delay := 4 * time.Millisecond << try
	select {
	case <-time.After(delay + rand.N(delay)):
	case <-ctx.Done():
	}
}

var errBusy = errors.New("others write the same key over and over")

// Acquire takes the lease of identity. It needs one write; before it refuses, it asks NATS
// itself who holds the lease. Without a deadline, ctx gives it five seconds.
func (r *Replica) Acquire(ctx context.Context, identity string) (lease.Lease, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	key := identityKey(identity)
	r.mu.Lock()
	if err := r.confirmedNow(); err != nil {
		r.mu.Unlock()
		return nil, r.fail(ctx, "acquire", identity, err)
	}
	if own := r.leases[key]; own != nil {
		defer r.mu.Unlock()
		return nil, &lease.HeldError{
			Identity: identity, Holder: r.config.Name, Fence: own.revision,
		}
	}
	l := &held{replica: r, key: key, identity: identity}
	l.ctx, l.end = context.WithCancelCause(context.Background())
	r.leases[key] = l // nobody else in this process acquires it meanwhile
	session, known := r.session, r.view.holdings[key]
	r.mu.Unlock()

	revision, err := r.take(ctx, l, session, known)

	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		if err = r.confirmedNow(); err == nil && r.session != session {
			err = lease.ErrUnconfirmed // the session ended meanwhile, and the lease with it
		}
		if now := r.view.holdings[key]; err == nil && now.revision > revision {
			err = &lease.HeldError{Identity: identity, Holder: now.Replica, Fence: now.revision}
		}
	}
	if err != nil {
		if r.leases[key] == l {
			delete(r.leases, key)
		}
		l.end(err)
		if _, ok := errors.AsType[*lease.HeldError](err); ok {
			return nil, err
		}
		r.strays[key] = identity // the write may have come through
		return nil, r.fail(ctx, "acquire", identity, err)
	}
	l.session, l.revision = session, revision
	delete(r.strays, key)
	return l, nil
}

func (r *Replica) fail(ctx context.Context, op, identity string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &Error{
		Op: op, Bucket: r.config.Bucket, Replica: r.config.Name, Identity: identity, Err: err,
	}
}

// take writes session into the key of l, in place of known, if no other that lives stands there. It
// returns the new revision, which the view has too.
func (r *Replica) take(ctx context.Context, l *held, session string, known holding) (
	uint64, error,
) {
	value := holding{Identity: l.identity, Replica: r.config.Name, Session: session}
	data := value.encode()
	fresh := false // what the watch told may be over
	for try := range tries {
		if known.Session != "" && known.Session != session {
			alive, err := r.lives(ctx, known)
			if err != nil {
				return 0, err
			}
			if alive && !fresh {
				if known, err = r.read(ctx, l.key); err != nil {
					return 0, err
				}
				fresh = true
				continue
			}
			if alive {
				return 0, &lease.HeldError{
					Identity: l.identity, Holder: known.Replica, Fence: known.revision,
				}
			}
		}
		revision, err := r.bucket.Update(ctx, l.key, data, known.revision)
		if err == nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.view.holdings[l.key].revision < revision {
				value.revision = revision
				r.view.holdings[l.key] = value
			}
			return revision, nil
		}
		if !bucket.IsConflict(err) {
			return 0, err
		}
		tried := known.revision
		if known, err = r.read(ctx, l.key); err != nil {
			return 0, err
		}
		if fresh = true; known.revision == tried {
			pause(ctx, try) // another write is under way, which may come to nothing
		}
	}
	return 0, errBusy
}

// read asks the bucket itself who holds a lease. What no replica wrote is free.
func (r *Replica) read(ctx context.Context, key string) (holding, error) {
	e, err := r.bucket.Get(ctx, key)
	if err != nil || e.Deleted {
		return holding{revision: e.Revision}, err
	}
	h, err := parseHolding(key, e)
	if e.Revision > 0 && err != nil {
		r.foreign(key, e.Revision, err)
	}
	return h, nil
}

// lives says whether the session that holds a lease lives. One that is not known is looked up: its
// replica may have only just come.
func (r *Replica) lives(ctx context.Context, h holding) (bool, error) {
	r.mu.Lock()
	alive, known := r.view.lives(h.Replica, h.Session)
	r.mu.Unlock()
	if known {
		return alive, nil
	}
	key := memberKey(h.Replica)
	e, err := r.bucket.Get(ctx, key)
	if err != nil {
		return false, err
	}
	if !e.Deleted {
		if m, err := parseMember(key, e); err == nil && m.Session == h.Session {
			return true, nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view.bury(h.Session)
	return false, nil
}

func (l *held) Identity() string         { return l.identity }
func (l *held) Context() context.Context { return l.ctx }

func (l *held) Fence() uint64 {
	l.replica.mu.Lock()
	defer l.replica.mu.Unlock()
	return l.revision
}

func (l *held) Held() error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	r := l.replica
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.session != r.session || l.doubt {
		return lease.ErrUnconfirmed // until it is taken anew
	}
	return r.confirmedNow()
}

func (l *held) Release(ctx context.Context) error {
	r := l.replica
	r.mu.Lock()
	if r.leases[l.key] != l {
		r.mu.Unlock()
		return nil
	}
	delete(r.leases, l.key)
	current, revision := l.session == r.session, l.revision
	r.mu.Unlock()
	l.end(lease.ErrReleased)
	if !current {
		return nil // it ended with its session
	}
	err := r.free(ctx, l.key, l.identity, revision)
	if err == nil || bucket.IsConflict(err) { // another has it
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strays[l.key] = l.identity
	return r.fail(ctx, "release", l.identity, err)
}

// free writes that the lease is to be had. The key stays: the next fence has to be greater.
func (r *Replica) free(ctx context.Context, key, identity string, revision uint64) error {
	h := holding{Identity: identity}
	revision, err := r.bucket.Update(ctx, key, h.encode(), revision)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.revision = revision; r.view.holdings[key].revision < revision {
		r.view.holdings[key] = h
		r.tellFreed(identity)
	}
	return nil
}
