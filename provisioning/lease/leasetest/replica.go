// SPDX-License-Identifier: Apache-2.0

package leasetest

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/rehome-iot/rehome/provisioning/lease"
)

// A Replica is one of a Group's.
type Replica struct {
	group    *Group
	name     string
	cut      bool
	closed   bool
	lost     time.Time   // since when it is cut off, or the service away; zero if neither
	expiry   *time.Timer // until it is taken for dead
	leases   map[string]*groupLease
	watchers map[*watcher]struct{}
}

type groupLease struct {
	replica  *Replica
	identity string
	fence    uint64
	ctx      context.Context
	end      context.CancelCauseFunc
}

type watcher struct {
	freed []string
	wake  chan struct{}
}

var (
	_ lease.Leases = (*Replica)(nil)

	errClosed = errors.New("the replica has left its group")
)

func (w *watcher) tell() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Name returns the name that it joined by.
func (r *Replica) Name() string { return r.name }

// Acquire takes the lease if no replica that is alive has it.
func (r *Replica) Acquire(ctx context.Context, identity string) (lease.Lease, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	g := r.group
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case r.closed:
		return nil, errClosed
	case !r.lost.IsZero():
		return nil, lease.ErrUnconfirmed
	}
	if l := g.holder(identity); l != nil {
		return nil, &lease.HeldError{Identity: identity, Holder: l.replica.name, Fence: l.fence}
	}
	g.fence++
	l := &groupLease{replica: r, identity: identity, fence: g.fence}
	l.ctx, l.end = context.WithCancelCause(context.Background())
	g.held[identity], r.leases[identity] = l, l
	return l, nil
}

// Watch tells who is alive. While the replica is cut off, or the service is away, that is an
// ErrUnconfirmed.
func (r *Replica) Watch(ctx context.Context) iter.Seq2[lease.Change, error] {
	return func(yield func(lease.Change, error) bool) {
		g := r.group
		w := &watcher{wake: make(chan struct{}, 1)}
		g.mu.Lock()
		r.watchers[w] = struct{}{}
		g.mu.Unlock()
		defer func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			delete(r.watchers, w)
		}()
		for ctx.Err() == nil {
			change, err := r.seen(w)
			if errors.Is(err, errClosed) || !yield(change, err) {
				return
			}
			select {
			case <-w.wake:
			case <-ctx.Done():
			}
		}
	}
}

func (r *Replica) seen(w *watcher) (lease.Change, error) {
	g := r.group
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case r.closed:
		return lease.Change{}, errClosed
	case !r.lost.IsZero():
		return lease.Change{}, lease.ErrUnconfirmed
	}
	c := lease.Change{Members: slices.Sorted(maps.Keys(g.alive)), Freed: w.freed}
	w.freed = nil
	return c, nil
}

// Close leaves the group. What the replica held is to be had at once, and its leases end.
func (r *Replica) Close(context.Context) error {
	g := r.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	if r.expiry != nil {
		r.expiry.Stop()
	}
	if g.alive[r.name] == r {
		delete(g.alive, r.name)
	}
	for _, l := range r.leases {
		l.end(errClosed)
	}
	clear(r.leases)
	g.changed()
	g.all = slices.DeleteFunc(g.all, func(other *Replica) bool { return other == r })
	return nil
}

func (l *groupLease) Identity() string         { return l.identity }
func (l *groupLease) Context() context.Context { return l.ctx }

func (l *groupLease) Fence() uint64 {
	l.replica.group.mu.Lock()
	defer l.replica.group.mu.Unlock()
	return l.fence
}

func (l *groupLease) Held() error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	g := l.replica.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if lost := l.replica.lost; !lost.IsZero() && time.Since(lost) >= g.lease() {
		return lease.ErrUnconfirmed
	}
	return nil
}

func (l *groupLease) Release(context.Context) error {
	g := l.replica.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.replica.leases[l.identity] != l {
		return nil
	}
	delete(l.replica.leases, l.identity)
	l.end(lease.ErrReleased)
	if g.held[l.identity] != l {
		return nil
	}
	// A service that is away is told when it is back; here nobody can ask it before.
	delete(g.held, l.identity)
	for _, r := range g.all {
		for w := range r.watchers {
			w.freed = append(w.freed, l.identity)
			w.tell()
		}
	}
	return nil
}
