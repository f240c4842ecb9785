// SPDX-License-Identifier: Apache-2.0

package natslease

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/cache/natskv/internal/bucket"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

// A Replica is one of the replicas that share out identities. It is safe for concurrent use.
type Replica struct {
	config Config
	bucket *bucket.Bucket
	key    string // of this replica

	stop    context.CancelFunc
	running sync.WaitGroup
	kick    chan struct{} // this replica's key holds something else
	work    chan struct{} // there is something for the chores
	rewatch chan struct{} // the watch tells nothing any more

	mu        sync.Mutex
	view      *view
	session   string
	revision  uint64    // of this replica's key
	confirmed time.Time // when the last write of it that succeeded was begun
	watched   uint64    // the last revision of it that the watch told
	unseen    int       // renewals that it did not tell of in time
	candidate candidate // the session that this one may have ended by
	away      error     // why nothing is confirmed; nil if it is
	ended     error     // why the replica is closed
	leases    map[string]*held
	strays    map[string]string // identities by key, which may be held and are not wanted
	watchers  map[*watcher]struct{}
	told      map[string]uint64 // foreign keys that were logged
}

var _ lease.Leases = (*Replica)(nil)

// Join makes this process one of the replicas, and returns once NATS knows: ctx bounds that, and
// NATS may come up meanwhile. Where an earlier process of the same name was killed, that takes
// until it is dead to the others. Where one runs, the error is ErrNameTaken.
//
// Identities are placed on it from then on: run a Keeper, or a fleet.Fleet of which these are the
// Leases. Close it to leave.
func Join(ctx context.Context, config Config) (*Replica, error) {
	config, err := config.complete()
	fail := func(err error) (*Replica, error) {
		if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return nil, &Error{Op: "join", Bucket: config.Bucket, Replica: config.Name, Err: err}
	}
	if err != nil {
		return fail(err)
	}
	b, err := bucket.OpenPatiently(
		ctx, config.Conn, config.Bucket, "who runs which device", config.Replicas,
	)
	if err != nil {
		return fail(err)
	}
	r := &Replica{
		config: config, bucket: b, key: memberKey(config.Name), view: newView(),
		kick: make(chan struct{}, 1), work: make(chan struct{}, 1),
		rewatch: make(chan struct{}, 1),
		leases:  map[string]*held{}, strays: map[string]string{},
		watchers: map[*watcher]struct{}{}, told: map[string]uint64{},
	}
	if err := r.enter(ctx); err != nil {
		return fail(err)
	}
	running, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	first := make(chan struct{})
	r.running.Go(func() { r.watch(running, first) })
	r.running.Go(func() { r.renewal(running) })
	r.running.Go(func() { r.chores(running) })
	select {
	case <-first: // the others are known
	case <-ctx.Done():
		err := context.Cause(ctx)
		_ = r.Close(context.WithoutCancel(ctx))
		return fail(err)
	}
	return r, nil
}

// Name returns the name from Config, or its default.
func (r *Replica) Name() string { return r.config.Name }

// record is what stands under the replica's key.
func (r *Replica) record(session string) []byte {
	return member{
		Replica: r.config.Name, Session: session, Duration: r.config.Duration.Milliseconds(),
	}.encode()
}

func newSession() string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	return hex.EncodeToString(random[:])
}

// enter writes the replica's key, once nobody else lives under its name.
func (r *Replica) enter(ctx context.Context) error {
	var seen time.Time
	var last bucket.Entry
	for known := false; ; {
		e, err := r.bucket.Get(ctx, r.key)
		wait := 50 * time.Millisecond
		if err == nil {
			other, foreign := parseMember(r.key, e)
			free := e.Revision == 0 || e.Deleted || foreign != nil
			switch changed := e.Revision != last.Revision; {
			case !free && r.adopt(other.Session, e.Revision):
				return nil // a write whose answer was lost
			case changed && known && !free:
				return ErrNameTaken // it has just been written
			case changed || !known:
				seen, last, known = time.Now(), e, true
			}
			if free || r.config.Sole || time.Since(seen) >= other.deadAfter() {
				var done bool
				if done, err = r.begin(ctx, e.Revision); done {
					return nil
				}
			} else {
				wait = other.deadAfter() / 8
			}
		}
		if err != nil && (ctx.Err() != nil || r.config.Conn.IsClosed()) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// A candidate is a session that was written, with an answer that may be lost.
type candidate struct {
	session string
	began   time.Time
}

// begin begins a session in place of what stands under the replica's key at that revision. done is
// false if something else stands there by now.
func (r *Replica) begin(ctx context.Context, revision uint64) (done bool, err error) {
	c := candidate{newSession(), time.Now()}
	r.mu.Lock()
	r.candidate = c
	r.mu.Unlock()
	revision, err = r.bucket.Update(ctx, r.key, r.record(c.session), revision)
	if bucket.IsConflict(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return r.adopt(c.session, revision), nil
}

// adopt makes a session that stands under the replica's key this replica's own, if it has written
// it. Leases of the one before are in doubt from then on.
func (r *Replica) adopt(session string, revision uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.candidate.session != session {
		return false
	}
	if r.session != "" {
		r.view.bury(r.session)
	}
	r.session, r.revision, r.confirmed = session, revision, r.candidate.began
	r.candidate = candidate{}
	r.view.amnesty(time.Now())
	return true
}

// Close leaves: the leases end, and the others are told that what this replica held is to be had.
// Where they cannot be told, which is an error, they find it dead after a while. It waits for all
// that the replica has started. Stop what runs by the leases first: Keeper.Run does.
func (r *Replica) Close(ctx context.Context) error {
	r.end(ErrClosed)
	r.stop()
	r.running.Wait()
	r.mu.Lock()
	revision := r.revision
	superseded := errors.Is(r.ended, ErrNameTaken)
	r.revision = 0
	r.mu.Unlock()
	if revision == 0 || superseded {
		return nil
	}
	err := r.bucket.DeleteIf(ctx, r.key, revision)
	if err == nil || bucket.IsConflict(err) { // another has found it dead
		return nil
	}
	return &Error{Op: "close", Bucket: r.config.Bucket, Replica: r.config.Name, Err: err}
}

// end ends the leases and the watches, the first time that it is called.
func (r *Replica) end(cause error) {
	r.mu.Lock()
	if r.ended != nil {
		r.mu.Unlock()
		return
	}
	r.ended = cause
	leases := r.leases
	r.leases = map[string]*held{}
	r.tell()
	r.mu.Unlock()
	for _, l := range leases {
		l.end(cause)
	}
}

// confirmedNow returns nil while the session is confirmed. mu is held.
func (r *Replica) confirmedNow() error {
	switch {
	case r.ended != nil:
		return r.ended
	case time.Since(r.confirmed) < r.config.Duration:
		return nil
	case r.away != nil:
		return r.away
	}
	return lease.ErrUnconfirmed
}

// signal wakes whoever waits for it, or will.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
