// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"iter"
	"sync"
)

// Local is Leases of a program that has no replicas: every lease is to be had, and held until it
// is released. Its zero value is ready. It must not be copied after first use.
type Local struct {
	// Replica is the name; "local" by default.
	Replica string

	mu       sync.Mutex
	fence    uint64
	held     map[string]*localLease
	watchers map[*localWatcher]struct{}
}

var _ Leases = (*Local)(nil)

// Name returns Replica or its default.
func (l *Local) Name() string {
	if l.Replica == "" {
		return "local"
	}
	return l.Replica
}

// Acquire takes the lease, or returns a HeldError that names this replica. Fences begin at 1 with
// each process.
func (l *Local) Acquire(ctx context.Context, identity string) (Lease, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.held[identity]; other != nil {
		return nil, &HeldError{Identity: identity, Holder: l.Name(), Fence: other.fence}
	}
	if l.held == nil {
		l.held = map[string]*localLease{}
	}
	l.fence++
	held := &localLease{local: l, identity: identity, fence: l.fence}
	held.ctx, held.end = context.WithCancelCause(context.Background())
	l.held[identity] = held
	return held, nil
}

// Watch yields this replica, and then what it has released itself.
func (l *Local) Watch(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		w := &localWatcher{wake: make(chan struct{}, 1)}
		l.mu.Lock()
		if l.watchers == nil {
			l.watchers = map[*localWatcher]struct{}{}
		}
		l.watchers[w] = struct{}{}
		l.mu.Unlock()
		defer func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.watchers, w)
		}()
		for ctx.Err() == nil {
			l.mu.Lock()
			freed := w.freed
			w.freed = nil
			l.mu.Unlock()
			if !yield(Change{Members: []string{l.Name()}, Freed: freed}, nil) {
				return
			}
			select {
			case <-w.wake:
			case <-ctx.Done():
			}
		}
	}
}

type localWatcher struct {
	freed []string
	wake  chan struct{}
}

type localLease struct {
	local    *Local
	identity string
	fence    uint64
	ctx      context.Context
	end      context.CancelCauseFunc
}

func (h *localLease) Identity() string         { return h.identity }
func (h *localLease) Fence() uint64            { return h.fence }
func (h *localLease) Context() context.Context { return h.ctx }
func (h *localLease) Held() error              { return context.Cause(h.ctx) }

func (h *localLease) Release(context.Context) error {
	l := h.local
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[h.identity] != h {
		return nil
	}
	delete(l.held, h.identity)
	h.end(ErrReleased)
	for w := range l.watchers {
		w.freed = append(w.freed, h.identity)
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return nil
}
