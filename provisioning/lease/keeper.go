// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

var (
	// ErrMoved is the cause of a Stop for an identity that is placed on another replica now.
	ErrMoved = errors.New("the identity is placed on another replica")
	// ErrRemoved is the cause of a Stop for an identity that was removed from the Keeper.
	ErrRemoved = errors.New("the identity was removed")
)

// A Keeper runs the identities that are placed on this replica. It acquires the lease of each and
// starts it, stops what is placed elsewhere and releases its lease, so that the other replica takes
// over at once, and stops what another has taken over.
//
// While the service of leases is away, nothing is started and nothing is moved; what runs goes on.
// What may be connected anew is for the lease to say: see [Guard].
//
// Leases and Start are required; the fields must not be changed once Run was called. A Keeper must
// not be copied. Its methods are safe for concurrent use.
type Keeper struct {
	// Leases is the service of leases, joined as this replica.
	Leases Leases

	// Start begins to run the lease's identity, and returns soon: what takes longer is done
	// beside it. After an error the lease is released, and Start called again later, after 1 s at
	// first and a minute at most. It is called for several identities at once, never for one that
	// runs.
	Start func(held Lease) error

	// Stop ends what Start began, and returns when it has ended or ctx has; cause says why:
	// ErrMoved, ErrRemoved, the cause of the lease's Context or that of Run's. The lease is
	// released after it. It is called once for each Start that returned nil. Nil: nothing is
	// done beyond the lease's Context, which ends.
	Stop func(ctx context.Context, identity string, cause error)

	// Concurrency is how many identities are started or stopped at a time, 32 by default. At the
	// end of Run all are stopped at once.
	Concurrency int

	// StopTimeout bounds each Stop, and at the end of Run all of them and the releases after them
	// once more. The default is 10 s.
	StopTimeout time.Duration

	// Logger is told what goes wrong; nil is silence.
	Logger *slog.Logger

	mu      sync.Mutex
	tenants map[string]*tenant
	queue   []*tenant
	active  int           // jobs under way
	idle    chan struct{} // not nil while the end waits for them; closed when there are none
	ctx     context.Context
	members []string
	away    error // why the members cannot be told
	since   time.Time
	counted counters
	lastErr error
}

// A tenant is an identity as the Keeper knows it. Keeper.mu guards it.
type tenant struct {
	identity string
	removed  bool
	lease    Lease
	unwatch  func() bool // ends the watch for the end of the lease
	busy     bool        // a job is under way
	queued   bool
	again    bool // something happened meanwhile
	refused  bool // by another's lease, or because leases were away, when it was tried last
	news     bool // it may be had since the job began that is under way
	failures int
	retry    *time.Timer
}

type counters struct{ started, lost, moved uint64 }

var errNotYet = errors.New("the replicas are not known yet")

// Add adds identities to those that the replicas run. All replicas have to have the same ones.
// What is there already is left as it is.
func (k *Keeper) Add(identities ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.tenants == nil {
		k.tenants = make(map[string]*tenant, len(identities))
	}
	for _, identity := range identities {
		t := k.tenants[identity]
		if t == nil {
			t = &tenant{identity: identity}
			k.tenants[identity] = t
		}
		t.removed = false
		k.look(t)
	}
}

// Remove takes identities away. Those that run here are stopped, and their leases released; it does
// not wait for that.
func (k *Keeper) Remove(identities ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, identity := range identities {
		if t := k.tenants[identity]; t != nil {
			t.removed = true
			k.look(t)
			k.forget(t)
		}
	}
}

// Run keeps the identities until ctx ends, and returns its cause once all are stopped and released.
// It returns earlier, with an error, if the service of leases was closed. Call it once.
func (k *Keeper) Run(ctx context.Context) error {
	if k.Leases == nil || k.Start == nil {
		return errors.New("lease.Keeper: set Leases and Start")
	}
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	k.mu.Lock()
	if k.ctx != nil {
		k.mu.Unlock()
		return errors.New("lease.Keeper: Run was called already")
	}
	k.ctx, k.away, k.since = running, errNotYet, time.Now()
	k.mu.Unlock()

	for change, err := range k.Leases.Watch(running) {
		if err != nil {
			k.lose(err)
			continue
		}
		k.apply(change)
	}
	err := context.Cause(ctx)
	if err == nil {
		err = k.closed()
	}
	cancel(err)
	k.finish(context.WithoutCancel(ctx), err)
	return err
}

// closed is why the service of leases tells nothing any more.
func (k *Keeper) closed() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away != nil {
		return fmt.Errorf("the service of leases was closed: %w", k.away)
	}
	return errors.New("the service of leases was closed")
}

// lose notes that the members cannot be told.
func (k *Keeper) lose(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away == nil || errors.Is(k.away, errNotYet) {
		k.since = time.Now()
		k.log().Warn("leases are away: what runs goes on, nothing is connected anew", "err", err)
	}
	k.away = err
}

// apply looks at what a change may concern: first what is to be stopped, for others wait for it.
func (k *Keeper) apply(change Change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	wasAway := k.away != nil
	if wasAway {
		if !errors.Is(k.away, errNotYet) {
			k.log().Info("leases are back", "away", time.Since(k.since).Round(time.Second))
		}
		k.away, k.since = nil, time.Now()
	}
	all := wasAway || !slices.Equal(k.members, change.Members)
	k.members = change.Members
	for _, t := range k.tenants {
		if t.lease != nil {
			k.look(t)
		}
	}
	for _, identity := range change.Freed {
		if t := k.tenants[identity]; t != nil {
			k.lookSoon(t)
		}
	}
	if !all {
		return
	}
	for _, t := range k.tenants {
		if t.lease == nil {
			k.lookSoon(t)
		}
	}
}

// lookSoon is for what may be had now, however often it was refused. What failed here, and not
// because of another, has its time: it is this replica that released it. mu is held.
func (k *Keeper) lookSoon(t *tenant) {
	if t.news = t.busy; t.refused {
		t.failures = 0
		k.cancelRetry(t)
	}
	k.look(t)
}

func (k *Keeper) log() *slog.Logger {
	if k.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return k.Logger
}

func (k *Keeper) concurrency() int {
	if k.Concurrency > 0 {
		return k.Concurrency
	}
	return 32
}

func (k *Keeper) stopTimeout() time.Duration {
	if k.StopTimeout > 0 {
		return k.StopTimeout
	}
	return 10 * time.Second
}
