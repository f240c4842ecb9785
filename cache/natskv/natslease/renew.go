// SPDX-License-Identifier: Apache-2.0

package natslease

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rehome-iot/rehome/cache/natskv/internal/bucket"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

// renewal writes the replica's key each third of the duration.
func (r *Replica) renewal(ctx context.Context) {
	third := r.config.Duration / 3
	connected := r.config.Conn.StatusChanged(nats.CONNECTED)
	defer r.config.Conn.RemoveStatusListener(connected)
	next := time.Now().Add(third)
	for {
		r.untilRenewal(ctx, connected, next)
		if ctx.Err() != nil || r.isEnded() {
			return
		}
		if !r.lapsed() && time.Now().Before(next) {
			continue
		}
		// A tenth earlier or later, so that replicas started together do not stay so.
		next = time.Now().Add(third - third/10 + rand.N(third/5))
		if !r.renew(ctx) {
			next = time.Now().Add(third / 3)
		}
		signal(r.work)
	}
}

// untilRenewal waits for the next renewal, for news of the key or the connection, or for the end of
// what is confirmed.
func (r *Replica) untilRenewal(ctx context.Context, connected <-chan nats.Status, next time.Time) {
	r.mu.Lock()
	until := r.confirmed.Add(r.config.Duration)
	if r.away == nil && until.Before(next) {
		next = until
	}
	r.mu.Unlock()
	// No loop without a pause, however often the same answer comes.
	pause := r.config.Duration / 100
	timer := time.NewTimer(max(time.Until(next), pause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return
	case <-connected:
	case <-r.kick:
	case <-ctx.Done():
		return
	}
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

func (r *Replica) isEnded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended != nil
}

// lapsed says whether the session is in doubt, so that the renewal is due at once: it is not
// confirmed, or its key holds something else.
func (r *Replica) lapsed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.view.members[r.key]
	overwritten := r.watched > r.revision && (m == nil || m.Session != r.session)
	return overwritten || time.Since(r.confirmed) >= r.config.Duration ||
		r.away != nil && r.config.Conn.IsConnected()
}

// renewTimeout is how long a renewal may take, by the duration of leases.
func renewTimeout(duration time.Duration) time.Duration {
	return max(duration/3, 2*time.Second)
}

// renew confirms the session, or begins another. It reports whether the session is confirmed.
func (r *Replica) renew(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout(r.config.Duration))
	defer cancel()
	for try := range tries {
		r.mu.Lock()
		session, revision, seen := r.session, r.revision, r.watched >= r.revision
		r.mu.Unlock()
		began := time.Now()
		written, err := r.bucket.Update(ctx, r.key, r.record(session), revision)
		if err == nil {
			r.confirm(began, written, seen)
			return true
		}
		if bucket.IsConflict(err) {
			if err = r.resolve(ctx, session, revision); err == nil {
				pause(ctx, try)
			}
		}
		if err != nil {
			r.unconfirmed(err)
			return false
		}
	}
	r.unconfirmed(errBusy)
	return false
}

// mostUnseen is how many renewals the watch may fail to tell of before it is begun anew.
const mostUnseen = 2

// confirm notes a renewal that succeeded. seen says whether the watch has told of the one before.
func (r *Replica) confirm(began time.Time, revision uint64, seen bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revision = revision
	missed := began.Sub(r.confirmed) > r.config.Duration*2/3
	r.confirmed = began
	if missed {
		r.view.amnesty(time.Now())
	}
	if r.away != nil {
		r.away = nil
		r.config.Logger.Info("NATS is back: leases are confirmed", "replica", r.config.Name)
		r.tell()
	}
	if r.unseen++; seen {
		r.unseen = 0
	}
	if missed || r.unseen >= mostUnseen {
		r.unseen = 0
		signal(r.rewatch)
	}
}

// unconfirmed notes a renewal that failed. It is said once the lease has run out.
func (r *Replica) unconfirmed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away != nil || r.ended != nil || time.Since(r.confirmed) < r.config.Duration {
		return
	}
	r.away = fmt.Errorf("%w: %w", lease.ErrUnconfirmed, err)
	r.config.Logger.Warn("NATS is away: leases are not confirmed", "replica", r.config.Name,
		"err", err)
	r.tell()
}

// resolve finds out why the replica's key is not at the revision that it was left at. Nil says that
// the next write has a chance.
func (r *Replica) resolve(ctx context.Context, session string, revision uint64) error {
	e, err := r.bucket.Get(ctx, r.key)
	if err != nil {
		return err
	}
	var m *member
	if !e.Deleted {
		m, _ = parseMember(r.key, e)
	}
	switch {
	case m != nil && m.Session == session && e.Revision >= revision:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.revision = e.Revision // a write whose answer was lost
		return nil
	case m != nil && r.adopt(m.Session, e.Revision):
		return nil
	case m != nil && e.Revision > revision:
		r.config.Logger.Error("another process has this replica's name: it ends here",
			"replica", r.config.Name, "bucket", r.config.Bucket)
		r.end(ErrNameTaken)
		return ErrNameTaken
	case e.Revision < revision:
		r.config.Logger.Warn("the bucket of leases has gone back to an older state",
			"bucket", r.config.Bucket, "revision", e.Revision, "known", revision)
		r.mu.Lock()
		fresh := newView()
		fresh.dead = r.view.dead
		r.view, r.watched = fresh, 0
		for _, l := range r.leases {
			l.revision = 0
		}
		r.mu.Unlock()
		signal(r.rewatch)
	default:
		r.config.Logger.Warn("this replica was taken for dead: it joins again",
			"replica", r.config.Name, "bucket", r.config.Bucket)
	}
	_, err = r.begin(ctx, e.Revision)
	return err
}
