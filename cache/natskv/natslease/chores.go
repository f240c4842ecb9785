// SPDX-License-Identifier: Apache-2.0

package natslease

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rehome-iot/rehome/cache/natskv/internal/bucket"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

// atOnce is how many leases are taken anew, or freed, at a time.
const atOnce = 16

// chores does what may take long beside the renewals: it finds the dead, takes leases anew that are
// in doubt, and gives back what is held and not wanted.
func (r *Replica) chores(ctx context.Context) {
	for {
		timer := time.NewTimer(r.untilDeath())
		select {
		case <-timer.C:
		case <-r.work:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil || r.isEnded() {
			return
		}
		r.buryDead(ctx)
		r.retake(ctx)
		r.freeStrays(ctx)
	}
}

// untilDeath is how long it takes until somebody may be dead, a third of the duration at most.
func (r *Replica) untilDeath() time.Duration {
	wait := r.config.Duration / 3
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, m := range r.view.members {
		if key != r.key {
			wait = min(wait, time.Until(m.seen.Add(m.deadAfter())))
		}
	}
	return max(wait, r.config.Duration/30) // no loop without a pause while it cannot be told
}

// patience bounds one exchange with NATS, for a chore.
func (r *Replica) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, max(r.config.Duration/3, 2*time.Second))
}

// buryDead deletes the keys of replicas that nothing was seen of for long enough.
func (r *Replica) buryDead(ctx context.Context) {
	now := time.Now()
	dead := map[string]member{}
	r.mu.Lock()
	if r.confirmedNow() == nil {
		for key, m := range r.view.members {
			if key != r.key && (now.Sub(m.seen) >= m.deadAfter() || r.config.Sole) {
				dead[key] = *m
			}
		}
	}
	r.mu.Unlock()
	for key, m := range dead {
		ctx, cancel := r.patience(ctx)
		err := r.bucket.DeleteIf(ctx, key, m.revision)
		switch {
		case err == nil:
			r.config.Logger.Warn("a replica is dead: its identities are taken over",
				"replica", m.Replica, "bucket", r.config.Bucket)
			r.gone(key, m)
		case bucket.IsConflict(err):
			r.lookAgain(ctx, key, m)
		}
		cancel()
	}
}

// gone forgets a member that was deleted; the watch may have told already, or of its return.
func (r *Replica) gone(key string, m member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.view.members[key]; now != nil && now.revision == m.revision {
		delete(r.view.members, key)
		r.view.bury(m.Session)
		r.tell()
	}
}

// lookAgain is for a member that is not as it was seen last: the watch lags behind.
func (r *Replica) lookAgain(ctx context.Context, key string, m member) {
	e, err := r.bucket.Get(ctx, key)
	if err != nil {
		return
	}
	if e.Revision == 0 || e.Deleted {
		r.gone(key, m)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.view.apply(key, e, time.Now()); f.members {
		r.tell()
	}
}

// retake takes leases anew that are in doubt: those of a session that has ended, and those whose
// key was overwritten by something else. Those that another has taken meanwhile are lost.
func (r *Replica) retake(ctx context.Context) {
	var doubted []*held
	r.mu.Lock()
	session := r.session
	if r.confirmedNow() == nil {
		for _, l := range r.leases {
			if l.session != "" && (l.session != session || l.doubt) {
				doubted = append(doubted, l)
			}
		}
	}
	r.mu.Unlock()
	inTurn(doubted, func(l *held) error {
		ctx, cancel := r.patience(ctx)
		defer cancel()
		r.mu.Lock()
		known := r.view.holdings[l.key]
		r.mu.Unlock()
		revision, err := r.take(ctx, l, session, known)
		taken, isHeld := errors.AsType[*lease.HeldError](err)
		r.mu.Lock()
		switch {
		case r.leases[l.key] != l: // released meanwhile
			r.strays[l.key] = l.identity
		case err == nil:
			l.session, l.revision, l.doubt = session, revision, false
		case isHeld:
			delete(r.leases, l.key)
			err = nil
		}
		r.mu.Unlock()
		if isHeld {
			l.end(taken)
		}
		return err
	})
}

// freeStrays gives back what may be held under this session and is not wanted: an acquisition whose
// answer was lost, a release that did not come through.
func (r *Replica) freeStrays(ctx context.Context) {
	r.mu.Lock()
	var strays []string
	if r.confirmedNow() == nil {
		strays = slices.Collect(maps.Keys(r.strays))
	}
	r.mu.Unlock()
	inTurn(strays, func(key string) error {
		ctx, cancel := r.patience(ctx)
		defer cancel()
		h, err := r.read(ctx, key)
		if err != nil {
			return err
		}
		r.mu.Lock()
		identity, wanted, ours := r.strays[key], r.leases[key] != nil, h.Session == r.session
		r.mu.Unlock()
		if wanted {
			return nil // whoever acquires it sees to it
		}
		if ours {
			if err := r.free(ctx, key, identity, h.revision); bucket.IsConflict(err) {
				return nil // it is looked at again
			} else if err != nil {
				return err
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.strays, key)
		return nil
	})
}

// inTurn calls f for each, a few at a time, waits for all, and begins no more after an error: NATS
// is away, and the rest would fail as slowly.
func inTurn[T any](all []T, f func(T) error) {
	turns := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	var failed atomic.Bool
	for _, one := range all {
		turns <- struct{}{}
		if failed.Load() {
			break
		}
		running.Go(func() {
			defer func() { <-turns }()
			if f(one) != nil {
				failed.Store(true)
			}
		})
	}
	running.Wait()
}
