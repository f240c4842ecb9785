// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/lease"
	"github.com/rehome-iot/rehome/retry"
)

// DefaultStopTimeout is the StopTimeout of a [Fleet] that has none.
const DefaultStopTimeout = 3 * time.Second

// bootsAtOnce is how many devices may be between their start and the first thing they want of a
// service at once: they read their stores.
const bootsAtOnce = 64

// Fleet runs many identities in one process, each a [provisioning.Device] with its own store and
// connection. What goes wrong with one is its own matter.
//
// Set the fields before the first Run and leave them alone afterwards; what else is called before
// needs none of them. The methods may be called from several goroutines at once, those of a session
// included. A Fleet must not be copied after its first use.
type Fleet struct {
	// Device makes the device of an identity, whose registration ID is id. Required. It is called
	// once for each identity that is added, before it is first run, from several goroutines at
	// once, and again after it has failed. What it returns belongs to the Fleet, which sets the
	// Budget and Logger where they are nil, and sees what Trace sees. Devices may share one Store.
	Device func(id string) (*provisioning.Device, error)

	// Session is run on each connection of each identity, with the contract of
	// [provisioning.Device.Run]. Required. Where it returns nil while the connection is up, the
	// identity has finished: it is not run again before the next Run, or before it is removed and
	// added. Where it returns an error, or panics, its connection is closed and the identity is run
	// again after a while; so it is when Device or its Run fails for any other reason.
	Session func(ctx context.Context, id string, hub *hubconn.Conn) error

	// Budget is shared by the devices. Nil: a [Budget] with its defaults. Several fleets of one
	// process should share one.
	Budget provisioning.Budget

	// Retry says when an identity is run again that has ended with an error. Its failures are in a
	// row until one has run for 10 min. Zero: after 5 to 10 s at first, and up to about an hour
	// later, for ever. With MaxAttempts, it stays ended then.
	Retry retry.Policy

	// Logger gets what the fleet has to say of an identity, and is that of the devices that have
	// none. docs/logs.md has all messages. Nil: the fleet says nothing, and a device without a
	// Logger what nothing but a person mends.
	Logger *slog.Logger

	// StopTimeout bounds how long Run waits, after its ctx has ended, for sessions to return and
	// connections to close. Zero: [DefaultStopTimeout]. A supervisor kills what takes too long; its
	// limit should be longer.
	StopTimeout time.Duration

	// Leases say which of several processes runs which identity, where each has a Fleet with the
	// same identities, and stores that all of them share, such as one in NATS: this one runs those
	// that are placed here, and takes over those of a process that has died. A device opens no
	// connection, and asks DPS nothing, while its lease is not confirmed; one that is connected
	// stays so, and one that could not read its store reads it again after that, before it would
	// ask DPS. Where another has taken an identity over, its session ends. Identities are leased
	// in lower case. An identity that has finished keeps its lease. See [lease.Leases]. Nil:
	// whoever runs the Fleet runs all of its identities.
	Leases lease.Leases

	leases leases // of tests, in place of Leases

	mu      sync.Mutex
	members map[string]*member // by ID in lower case, as DPS compares them
	added   int                // so far
	run     *run               // nil: no Run is under way
}

// run is one call of Run.
type run struct {
	*Fleet
	ctx    context.Context
	cancel context.CancelCauseFunc
	leases leases
	seats  *seats // nil: there are no Leases
	budget provisioning.Budget
	places chan struct{} // of those that boot
	log    *slog.Logger
	ending bool // no member is started any more
}

// Run runs all identities, and those that are added meanwhile, until ctx ends. It begins with those
// that were added first; in the Budget, those that a hub has accepted before go first. Then it ends
// all sessions at once, closes their connections in good order, and returns the cause of ctx.
//
// Where some have not ended after StopTimeout, as a session that does not look at its context, the
// error is an *[Error] that names them: they go on, and to run the Fleet again fails until they
// have ended. Other errors are wrong fields, before anything is run; and with Leases, that their
// service was closed. Leases are given back at the end, for which as much time again is allowed.
func (f *Fleet) Run(ctx context.Context) error {
	r, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer r.cancel(nil)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		if r.seats != nil {
			r.cancel(r.seats.keeper.Run(r.ctx))
		}
	}()
	<-r.ctx.Done()
	f.mu.Lock()
	r.ending = true
	all := slices.Collect(maps.Values(f.members))
	f.mu.Unlock()
	limit := time.NewTimer(cmp.Or(f.StopTimeout, DefaultStopTimeout))
	defer limit.Stop()
	stuck := waitFor(all, limit.C)
	<-kept
	f.mu.Lock()
	f.run = nil
	f.mu.Unlock()
	if len(stuck) > 0 {
		r.log.LogAttrs(ctx, slog.LevelWarn, "identities do not end",
			slog.Int("identities", len(stuck)), slog.String("first", stuck[0]))
		return notEnded(stuck, context.Cause(r.ctx))
	}
	return context.Cause(r.ctx)
}

func (f *Fleet) begin(ctx context.Context) (*run, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.Device == nil:
		return nil, invalid("", "device is nil: set it to the function that makes the devices")
	case f.Session == nil:
		return nil, invalid("", "session is nil: set it to the function to run on each connection")
	case f.StopTimeout < 0:
		return nil, invalid("", "stoptimeout is negative: use zero for the default")
	case f.run != nil:
		return nil, invalid("", "the fleet is running already")
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	all := slices.SortedFunc(maps.Values(f.members), func(a, b *member) int {
		return cmp.Compare(a.number, b.number)
	})
	for _, m := range all {
		if m.ended != nil && !m.hasEnded() {
			return nil, invalid(m.id, "it has not ended since the run before")
		}
	}
	r := &run{
		Fleet: f, budget: f.Budget, places: make(chan struct{}, bootsAtOnce),
		log: slog.New(slog.DiscardHandler), leases: f.leases,
	}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	if f.Leases != nil {
		r.seats = newSeats(f)
		r.leases = r.seats
	}
	if r.budget == nil {
		r.budget = new(Budget)
	}
	if f.Logger != nil {
		r.log = f.Logger
	}
	f.run = r
	for _, m := range all {
		if r.seats != nil {
			r.seats.add(m.id)
		}
		m.start(r)
	}
	return r, nil
}

// waitFor waits for members to end, and returns the IDs of those that have not in time.
func waitFor(all []*member, limit <-chan time.Time) (stuck []string) {
	late := false
	for _, m := range all {
		if m.ended == nil || m.hasEnded() {
			continue
		}
		if !late {
			select {
			case <-m.ended:
				continue
			case <-limit:
				late = true
			}
		}
		if !m.hasEnded() {
			stuck = append(stuck, m.id)
		}
	}
	slices.Sort(stuck)
	return stuck
}
