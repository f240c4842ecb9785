// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// An identity that needs something done stands in the queue once, and a job does what it needs by
// what is so when its turn comes. What happens during the job makes it stand in the queue again.

// The delays before another try. Those of a lease that another holds are there for want of news
// alone: a release and a death are told.
const (
	retryAfter    = time.Second
	heldAfter     = 5 * time.Second
	retryAtLatest = time.Minute
)

// look queues t if something is to be done for it. mu is held.
func (k *Keeper) look(t *tenant) {
	if k.ctx == nil || k.ctx.Err() != nil {
		return // not running yet, or finish sees to it
	}
	want := k.wants(t)
	if t.lease != nil && want && t.lease.Context().Err() == nil || t.lease == nil && !want {
		k.cancelRetry(t)
		t.again = t.busy // the job may be about to change what was seen here
		return
	}
	if t.busy {
		t.again = true
		return
	}
	if t.lease == nil && t.retry != nil {
		return // it has failed a moment ago
	}
	if !t.queued {
		t.queued = true
		k.queue = append(k.queue, t)
	}
	k.dispatch()
}

// wants says whether t is to run here. While the members cannot be told, that is what runs already.
func (k *Keeper) wants(t *tenant) bool {
	switch {
	case t.removed || k.ctx.Err() != nil:
		return false
	case k.away != nil:
		return t.lease != nil
	}
	return Place(t.identity, k.members) == k.Leases.Name()
}

// dispatch starts jobs, as many as may be under way. mu is held.
func (k *Keeper) dispatch() {
	for k.active < k.concurrency() && len(k.queue) > 0 && k.ctx.Err() == nil {
		t := k.queue[0]
		k.queue[0] = nil
		k.queue = k.queue[1:]
		t.queued, t.busy = false, true
		k.active++
		go k.job(t)
	}
}

func (k *Keeper) job(t *tenant) {
	k.mu.Lock()
	held, want := t.lease, k.wants(t)
	k.mu.Unlock()
	switch {
	case held != nil && (!want || held.Context().Err() != nil):
		k.end(t, held, k.reason(t, held))
	case held == nil && want:
		k.begin(t)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.active--
	t.busy = false
	again, news := t.again, t.news
	t.again, t.news = false, false
	switch {
	case news: // what the job was refused may be had by now
		k.lookSoon(t)
	case again:
		k.look(t)
	}
	k.forget(t)
	k.dispatch()
	if k.active == 0 && k.idle != nil {
		close(k.idle)
		k.idle = nil
	}
}

func (k *Keeper) begin(t *tenant) {
	held, err := k.Leases.Acquire(k.ctx, t.identity)
	if err == nil {
		if err = k.Start(held); err == nil {
			k.mu.Lock()
			defer k.mu.Unlock()
			t.lease, t.failures, t.again = held, 0, true // look whether it is still wanted
			t.unwatch = context.AfterFunc(held.Context(), func() {
				k.mu.Lock()
				defer k.mu.Unlock()
				k.look(t)
			})
			k.counted.started++
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ctx), k.stopTimeout())
		defer cancel()
		_ = held.Release(ctx)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ctx.Err() != nil {
		return
	}
	delay := retryAfter
	_, isHeld := errors.AsType[*HeldError](err)
	t.refused = isHeld || errors.Is(err, ErrUnconfirmed)
	if t.refused {
		delay = heldAfter
	}
	if !isHeld {
		k.lastErr = err
		k.log().Warn("an identity could not be started", "identity", t.identity, "err", err)
	}
	delay = min(delay<<min(t.failures, 6), retryAtLatest)
	t.failures++
	delay += rand.N(delay)
	t.retry = time.AfterFunc(delay, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		t.retry = nil
		k.look(t)
	})
}

func (k *Keeper) end(t *tenant, held Lease, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ctx), k.stopTimeout())
	defer cancel()
	t.unwatch()
	if k.Stop != nil {
		k.Stop(ctx, t.identity, cause)
	}
	lost := held.Context().Err() != nil
	err := held.Release(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	t.lease, t.again = nil, true
	switch {
	case lost:
		k.counted.lost++
		k.log().Info("a lease was lost", "identity", t.identity, "cause", cause)
	case errors.Is(cause, ErrMoved):
		k.counted.moved++
	}
	if err != nil {
		k.lastErr = err
		k.log().Warn("a lease could not be released", "identity", t.identity, "err", err)
	}
}

// reason is why held ends.
func (k *Keeper) reason(t *tenant, held Lease) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case held.Context().Err() != nil:
		return context.Cause(held.Context())
	case t.removed:
		return ErrRemoved
	}
	return ErrMoved
}

// forget drops what was removed and has no lease. mu is held.
func (k *Keeper) forget(t *tenant) {
	if t.removed && t.lease == nil && !t.busy && !t.queued {
		k.cancelRetry(t)
		delete(k.tenants, t.identity)
	}
}

func (k *Keeper) cancelRetry(t *tenant) {
	if t.retry != nil {
		t.retry.Stop()
		t.retry = nil
	}
}

// finish stops everything at once, and then releases the leases a few at a time: a stop mostly
// waits, a release is work for the service of leases.
func (k *Keeper) finish(ctx context.Context, cause error) {
	k.mu.Lock()
	if k.active > 0 {
		k.idle = make(chan struct{})
		idle := k.idle
		k.mu.Unlock()
		<-idle
		k.mu.Lock()
	}
	var running []*tenant
	for _, t := range k.tenants {
		k.cancelRetry(t)
		t.queued = false
		if t.lease != nil {
			running = append(running, t)
		}
	}
	k.queue = nil
	k.mu.Unlock()

	stopping, cancel := context.WithTimeout(ctx, k.stopTimeout())
	defer cancel()
	var all sync.WaitGroup
	for _, t := range running {
		t.unwatch()
		if k.Stop != nil {
			all.Go(func() { k.Stop(stopping, t.identity, cause) })
		}
	}
	all.Wait()
	releasing, cancel := context.WithTimeout(ctx, k.stopTimeout())
	defer cancel()
	turns := make(chan struct{}, k.concurrency())
	for _, t := range running {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			err := t.lease.Release(releasing)
			k.mu.Lock()
			defer k.mu.Unlock()
			t.lease = nil
			if err != nil {
				k.lastErr = err
			}
		})
	}
	all.Wait()
}
