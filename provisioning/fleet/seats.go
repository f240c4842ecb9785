// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/provisioning/lease"
)

// askedAgain is how soon a lease that is not confirmed is looked at again. That asks nobody.
const askedAgain = time.Second

// seats are the leases of this process, by identity in lower case. A Keeper fills and clears them,
// and the members run as long as they sit on one.
type seats struct {
	keeper *lease.Keeper

	mu sync.Mutex
	of map[string]*seat
}

// seat is where an identity's lease is, while this process has it.
type seat struct {
	all     *seats
	lease   lease.Lease // nil: another process has it, or none
	ctx     context.Context
	clear   context.CancelCauseFunc // ends ctx: whoever sits here has to leave
	taken   bool
	changed chan struct{} // closed at the next change
}

// newSeats has a Keeper for the fleet's leases. It takes identities before it runs.
func newSeats(f *Fleet) *seats {
	s := &seats{of: map[string]*seat{}}
	s.keeper = &lease.Keeper{
		Leases: f.Leases, Logger: f.Logger, Start: s.fill, Stop: s.empty,
		StopTimeout: cmp.Or(f.StopTimeout, DefaultStopTimeout),
	}
	return s
}

// add has the Keeper run identities, wherever they are placed.
func (s *seats) add(ids ...string) {
	lower := make([]string, len(ids))
	for i, id := range ids {
		lower[i] = strings.ToLower(id)
	}
	s.keeper.Add(lower...)
}

func (s *seats) remove(id string) { s.keeper.Remove(strings.ToLower(id)) }

// seat is that of an identity. mu is held.
func (s *seats) seat(id string) *seat {
	at := s.of[id]
	if at == nil {
		at = &seat{all: s, changed: make(chan struct{})}
		s.of[id] = at
	}
	return at
}

// fill is the Keeper's Start.
func (s *seats) fill(held lease.Lease) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.seat(held.Identity())
	at.lease = held
	at.ctx, at.clear = context.WithCancelCause(held.Context())
	at.tell()
	return nil
}

// empty is the Keeper's Stop: the lease is given back after whoever sits there has left.
func (s *seats) empty(ctx context.Context, id string, cause error) {
	s.mu.Lock()
	at := s.seat(id)
	at.clear(cause)
	for late := false; at.taken && !late; {
		changed := at.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			late = true
		}
		s.mu.Lock()
	}
	at.lease = nil
	if !at.taken && at == s.of[id] {
		delete(s.of, id)
		at.tell() // who waits there looks for the next one
	}
	s.mu.Unlock()
}

// tell wakes those who wait for a change. all.mu is held.
func (at *seat) tell() {
	close(at.changed)
	at.changed = make(chan struct{})
}

// acquire implements leases: it waits for a seat with a lease.
func (s *seats) acquire(ctx context.Context, id string) (tenancy, error) {
	id = strings.ToLower(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		at := s.seat(id)
		if at.lease != nil && at.ctx.Err() == nil && !at.taken {
			at.taken = true
			return sitting{at, at.lease, at.ctx}, nil
		}
		changed := at.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// sitting implements lease: that of a member which has a seat.
type sitting struct {
	at    *seat
	lease lease.Lease
	ctx   context.Context
}

func (s sitting) held() <-chan struct{} {
	if s.lease.Held() == nil {
		return nil
	}
	again := make(chan struct{})
	time.AfterFunc(askedAgain, func() { close(again) })
	return again
}

func (s sitting) lost() context.Context { return s.ctx }

func (s sitting) release() {
	s.at.all.mu.Lock()
	defer s.at.all.mu.Unlock()
	s.at.taken = false
	s.at.tell()
}
