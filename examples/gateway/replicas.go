// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"iter"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rehome-iot/rehome/cache/natskv"
	"github.com/rehome-iot/rehome/cache/natskv/natslease"
	"github.com/rehome-iot/rehome/examples/gateway/intake"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

// leaveTimeout is how long a replica has at its end to tell the others that it ends.
const leaveTimeout = 500 * time.Millisecond

// replicas is what is known of where devices run. It stands between the fleet and its leases, since
// each message asks it.
type replicas struct {
	lease.Leases
	conn     *nats.Conn
	group    string        // name of these replicas in NATS
	patience time.Duration // with another replica

	mu      sync.RWMutex
	members []string
	held    map[string]lease.Lease // by identity, which is in lower case
}

// errNotJoined is for messages that come before it is known who runs what.
var errNotJoined = &intake.Refusal{
	Status: http.StatusServiceUnavailable, RetryAfter: later,
	Text: "the other replicas are not known yet: NATS does not answer",
}

// Acquire implements lease.Leases.
func (r *replicas) Acquire(ctx context.Context, identity string) (lease.Lease, error) {
	l, err := r.Leases.Acquire(ctx, identity)
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.held[identity] = l
	}
	return l, err
}

// Watch implements lease.Leases.
func (r *replicas) Watch(ctx context.Context) iter.Seq2[lease.Change, error] {
	return func(yield func(lease.Change, error) bool) {
		for change, err := range r.Leases.Watch(ctx) {
			if err == nil {
				r.mu.Lock()
				r.members = change.Members
				r.mu.Unlock()
			}
			if !yield(change, err) {
				return
			}
		}
	}
}

// holder is the replica that runs a device, or is to; "" is this one. The error is a *Refusal.
func (r *replicas) holder(device string) (string, error) {
	device = strings.ToLower(device)
	r.mu.RLock()
	defer r.mu.RUnlock()
	if l := r.held[device]; l != nil && l.Context().Err() == nil {
		return "", nil
	}
	switch at := lease.Place(device, r.members); at {
	case "":
		return "", errNotJoined
	case r.Name():
		return "", nil
	default:
		return at, nil
	}
}

// runsHere says that this replica runs a device, or is to.
func (g *gateway) runsHere(device string) bool {
	if !g.o.replicated() {
		return true
	}
	r := g.joined.Load()
	if r == nil {
		return false
	}
	holder, err := r.holder(device)
	return err == nil && holder == ""
}

// join meets the other replicas, and waits for NATS if it must. What is opened is in leaving.
func (g *gateway) join(ctx context.Context) (err error) {
	log := newNATSLog(g.log)
	conn, err := g.connect(ctx, log)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { g.watchJoin(watching, conn, log) })
	leases, err := natslease.Join(ctx, natslease.Config{
		Conn: conn, Bucket: g.o.natsName + leasesSuffix, Name: g.o.replica, Replicas: g.o.copies,
		Duration: g.o.leaseFor, Logger: g.log,
	})
	stop()
	watch.Wait()
	if err != nil {
		return err
	}
	g.leaving = append(g.leaving, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		return leases.Close(ctx)
	})
	r := &replicas{
		Leases: leases, conn: conn, group: g.o.natsName, held: map[string]lease.Lease{},
		patience: forwardTimeout + g.o.commitInterval,
	}
	end, err := g.takeForwarded(r)
	if err != nil {
		return err
	}
	g.leaving = append(g.leaving, end)
	g.store = &natskv.Store{Conn: conn, Bucket: g.o.natsName, Replicas: g.o.copies}
	g.fleet.Leases = r
	g.joined.Store(r)
	return nil
}

// leave takes leave of the other replicas: they take over at once.
func (g *gateway) leave() {
	for i := len(g.leaving) - 1; i >= 0; i-- {
		if err := g.leaving[i](); err != nil {
			g.log.Warn("replica has not left in good order: the others wait for its lease",
				"cause", err.Error())
		}
	}
}
