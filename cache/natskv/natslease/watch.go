// SPDX-License-Identifier: Apache-2.0

package natslease

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rehome-iot/rehome/cache/natskv/internal/bucket"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

// A watcher is one loop over Replica.Watch, and what it has to be told.
type watcher struct {
	freed []string
	wake  chan struct{}
}

// mostFreed bounds what is kept for a loop whose body takes long. Who is not told tries again.
const mostFreed = 100_000

// tell wakes those who watch: members, or what is known of them, have changed. mu is held.
func (r *Replica) tell() {
	for w := range r.watchers {
		signal(w.wake)
	}
}

func (r *Replica) tellFreed(identity string) {
	for w := range r.watchers {
		if len(w.freed) < mostFreed {
			w.freed = append(w.freed, identity)
		}
		signal(w.wake)
	}
}

// Watch tells who lives and what was released. While NATS is away it yields a
// lease.ErrUnconfirmed with the reason. Where another process has taken this replica's name, it
// yields ErrNameTaken and ends.
func (r *Replica) Watch(ctx context.Context) iter.Seq2[lease.Change, error] {
	return func(yield func(lease.Change, error) bool) {
		w := &watcher{wake: make(chan struct{}, 1)}
		r.mu.Lock()
		r.watchers[w] = struct{}{}
		r.mu.Unlock()
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.watchers, w)
		}()
		for ctx.Err() == nil {
			change, err, ended := r.seen(w)
			if errors.Is(err, ErrClosed) || !yield(change, err) || ended {
				return
			}
			select {
			case <-w.wake:
			case <-ctx.Done():
			}
		}
	}
}

func (r *Replica) seen(w *watcher) (c lease.Change, err error, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended != nil:
		return c, r.ended, true
	case r.away != nil:
		return c, r.away, false
	}
	c = lease.Change{Members: r.view.names(r.config.Name), Freed: w.freed}
	w.freed = nil
	return c, nil, false
}

// watch follows the bucket until ctx ends. first is closed once all of it was seen.
func (r *Replica) watch(ctx context.Context, first chan<- struct{}) {
	for ctx.Err() == nil {
		err := r.follow(ctx, func() {
			if first != nil {
				close(first)
				first = nil
			}
			signal(r.work)
		})
		if ctx.Err() != nil {
			return
		}
		r.config.Logger.Debug("the bucket of leases is watched anew", "err", err)
		select {
		case <-time.After(min(r.config.Duration/10, time.Second)):
		case <-ctx.Done():
		}
	}
}

var errWatch = errors.New("the watch has ended")

// follow takes in what one watch tells, until it ends or tells nothing any more.
func (r *Replica) follow(ctx context.Context, whole func()) error {
	w, err := r.bucket.Watch(ctx)
	if err != nil {
		return err
	}
	defer stop(w)
	for {
		select {
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errWatch
			case e == nil:
				whole()
			default:
				r.takeIn(e)
			}
		case <-r.rewatch:
			return errWatch
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop ends a watch, and lets it get rid of what it would have told: it waits for that.
func stop(w jetstream.KeyWatcher) {
	_ = w.Stop()
	patience := time.After(time.Second)
	for {
		select {
		case _, ok := <-w.Updates():
			if !ok {
				return
			}
		case <-patience:
			return
		}
	}
}

// takeIn takes in one entry.
func (r *Replica) takeIn(e jetstream.KeyValueEntry) {
	key := e.Key()
	entry := bucket.Entry{
		Value: e.Value(), Revision: e.Revision(), Deleted: e.Operation() != jetstream.KeyValuePut,
	}
	r.mu.Lock()
	f := r.view.apply(key, entry, time.Now())
	if f.members {
		r.tell()
	}
	if f.isFreed {
		r.tellFreed(f.freed)
	}
	if key == r.key {
		r.watched = entry.Revision
		if m := r.view.members[key]; entry.Revision > r.revision &&
			(m == nil || m.Session != r.session) {
			signal(r.kick)
		}
	}
	lost, err := r.overtaken(key)
	r.mu.Unlock()
	if f.err != nil {
		r.foreign(key, entry.Revision, f.err)
	}
	if lost != nil {
		lost.end(err)
	}
}

// overtaken looks whether what stands under key now means that a lease is lost, which it returns
// with the reason, or that it has to be taken anew. mu is held.
func (r *Replica) overtaken(key string) (lost *held, err error) {
	l, h := r.leases[key], r.view.holdings[key]
	if l == nil || l.session == "" || h.revision <= l.revision {
		return nil, nil
	}
	if h.Session == r.session { // a write of this replica whose answer was lost
		l.session, l.revision, l.doubt = h.Session, h.revision, false
		return nil, nil
	}
	alive, known := r.view.lives(h.Replica, h.Session)
	if h.Session == "" || known && !alive {
		l.doubt = true
		signal(r.work)
		return nil, nil
	}
	delete(r.leases, key)
	return l, &lease.HeldError{Identity: l.identity, Holder: h.Replica, Fence: h.revision}
}

// foreign logs what no replica wrote, once for each revision.
func (r *Replica) foreign(key string, revision uint64, err error) {
	r.mu.Lock()
	known := r.told[key] == revision
	if len(r.told) > 1000 {
		clear(r.told)
	}
	r.told[key] = revision
	r.mu.Unlock()
	if !known {
		r.config.Logger.Warn("a key in the bucket of leases is ignored",
			"bucket", r.config.Bucket, "key", key, "revision", revision, "err", err)
	}
}
