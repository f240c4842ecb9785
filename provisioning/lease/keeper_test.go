// SPDX-License-Identifier: Apache-2.0

package lease_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/lease"
	"github.com/rehome-iot/rehome/provisioning/lease/leasetest"
)

const term = 15 * time.Second

// A site is where replicas run, and who runs what there.
type site struct {
	t     *testing.T
	group leasetest.Group

	mu      sync.Mutex
	running map[string]map[string]lease.Lease // by identity, then by replica
	twice   int                               // identities started while another could connect
	most    int                               // stops and starts at a time
	now     int
}

type replica struct {
	*leasetest.Replica
	keeper *lease.Keeper
	end    context.CancelCauseFunc
	ended  chan error
}

func newSite(t *testing.T) *site {
	return &site{
		t: t, group: leasetest.Group{Lease: term}, running: map[string]map[string]lease.Lease{},
	}
}

func (s *site) start(name string, identities int) *replica {
	r := &replica{Replica: s.group.Join(name), ended: make(chan error, 1)}
	r.keeper = &lease.Keeper{
		Leases: r.Replica, Concurrency: 8,
		Start: func(held lease.Lease) error {
			defer s.job()()
			s.mu.Lock()
			defer s.mu.Unlock()
			others := s.running[held.Identity()]
			for _, other := range others {
				if other.Held() == nil {
					s.twice++
				}
			}
			if others == nil {
				s.running[held.Identity()] = map[string]lease.Lease{}
			}
			s.running[held.Identity()][name] = held
			return nil
		},
		Stop: func(_ context.Context, identity string, cause error) {
			defer s.job()()
			assert.Error(s.t, cause)
			time.Sleep(100 * time.Millisecond)
			s.mu.Lock()
			defer s.mu.Unlock()
			assert.Contains(s.t, s.running[identity], name)
			delete(s.running[identity], name)
		},
	}
	for i := range identities {
		r.keeper.Add(sensor(i))
	}
	ctx, cancel := context.WithCancelCause(s.t.Context())
	r.end = cancel
	go func() { r.ended <- r.keeper.Run(ctx) }()
	return r
}

func (s *site) job() (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now++
	s.most = max(s.most, s.now)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.now--
	}
}

var errEnd = errors.New("the test ends")

func (r *replica) stop() error {
	r.end(errEnd)
	err := <-r.ended
	_ = r.Close(context.Background())
	return err
}

// count says how many identities run on each replica, and that none does twice.
func (s *site) count() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[string]int{}
	for identity, on := range s.running {
		assert.LessOrEqual(s.t, len(on), 1, identity)
		for name := range on {
			n[name]++
		}
	}
	return n
}

func (s *site) total() (sum int) {
	for _, n := range s.count() {
		sum += n
	}
	return sum
}

func TestEachIdentityRunsOnTheReplicaWhereItIsPlaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		a, b, c := s.start("a", 300), s.start("b", 300), s.start("c", 300)
		time.Sleep(time.Minute)
		assert.Equal(t, 300, s.total())
		assert.Zero(t, s.twice)
		for _, r := range []*replica{a, b, c} {
			status := r.keeper.Status()
			assert.Equal(t, []string{"a", "b", "c"}, status.Members)
			assert.Equal(t, status.Placed, status.Held)
			assert.Equal(t, s.count()[r.Name()], status.Held)
			assert.Equal(t, 300, status.Identities)
			assert.NoError(t, status.Away)
		}
		for _, r := range []*replica{a, b, c} {
			require.ErrorIs(t, r.stop(), errEnd)
		}
		assert.Zero(t, s.total())
	})
}

func TestAReplicaThatComesIsGivenItsShareAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		a := s.start("a", 80)
		time.Sleep(time.Minute)
		assert.Equal(t, map[string]int{"a": 80}, s.count())
		b := s.start("b", 80)
		// 40 stops of 100 ms, 8 at a time; the time that a refused one waits is 5 s at least.
		time.Sleep(2 * time.Second)
		n := s.count()
		assert.Equal(t, 80, n["a"]+n["b"])
		assert.InDelta(t, 40, n["b"], 15)
		assert.Zero(t, s.twice)
		assert.LessOrEqual(t, s.most, 16, "of two replicas, eight at a time each")
		assert.EqualValues(t, n["b"], a.keeper.Status().Moved)
		require.ErrorIs(t, a.stop(), errEnd)
		time.Sleep(time.Second)
		assert.Equal(t, map[string]int{"b": 80}, s.count())
		require.ErrorIs(t, b.stop(), errEnd)
	})
}

func TestWhatADeadReplicaRanIsStartedByTheOthersAndNothingElseMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		a, b, c := s.start("a", 300), s.start("b", 300), s.start("c", 300)
		time.Sleep(time.Minute)
		before := s.count()
		started := a.keeper.Status().Started + b.keeper.Status().Started
		moved := a.keeper.Status().Moved + b.keeper.Status().Moved
		c.Cut(true)
		time.Sleep(term + time.Second)
		for _, l := range s.leases("c") {
			assert.ErrorIs(t, l.Held(), lease.ErrUnconfirmed, "it must not connect anew")
		}
		again := a.keeper.Status().Started + b.keeper.Status().Started
		assert.EqualValues(t, before["c"], again-started)
		assert.Equal(t, moved, a.keeper.Status().Moved+b.keeper.Status().Moved)
		status := c.keeper.Status()
		assert.ErrorIs(t, status.Away, lease.ErrUnconfirmed)
		assert.Equal(t, before["c"], status.Held, "what runs there goes on")
		assert.Equal(t, before["c"], status.Unconfirmed)

		c.Cut(false)
		time.Sleep(time.Minute)
		assert.Equal(t, before, s.count(), "it is given back what it had")
		assert.EqualValues(t, before["c"], c.keeper.Status().Lost)
		assert.Zero(t, s.twice)
		for _, r := range []*replica{a, b, c} {
			require.ErrorIs(t, r.stop(), errEnd)
		}
	})
}

func TestNothingStopsOrStartsWhileTheServiceIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		a, b := s.start("a", 100), s.start("b", 100)
		time.Sleep(time.Minute)
		before := s.count()
		s.group.Away(true)
		time.Sleep(5 * time.Minute)
		assert.Equal(t, before, s.count())
		a.keeper.Add("new")
		a.keeper.Remove(sensor(0))
		b.keeper.Remove(sensor(0))
		time.Sleep(time.Minute)
		assert.Equal(t, 99, s.total(), "what is removed stops, what is new waits")
		s.group.Away(false)
		time.Sleep(time.Minute)
		assert.Equal(t, 99, s.total()-len(s.running["new"]))
		for _, r := range []*replica{a, b} {
			status := r.keeper.Status()
			assert.Zero(t, status.Unconfirmed)
			assert.Zero(t, status.Lost)
			assert.NoError(t, status.Away)
			require.ErrorIs(t, r.stop(), errEnd)
		}
	})
}

func TestAFailedStartIsTriedAgainLaterAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Duration
		began := time.Now()
		broken := errors.New("no such key")
		k := &lease.Keeper{Leases: new(lease.Local), Start: func(lease.Lease) error {
			tries = append(tries, time.Since(began))
			return broken
		}}
		k.Add("sensor")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		require.ErrorIs(t, k.Run(ctx), context.DeadlineExceeded)
		require.Greater(t, len(tries), 8)
		assert.Less(t, len(tries), 25)
		assert.ErrorIs(t, k.Status().Err, broken)
		for i := range len(tries) - 1 {
			assert.GreaterOrEqual(t, tries[i+1]-tries[i], time.Second)
		}
	})
}

func TestAnIdentityRemovedIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		a := s.start("a", 10)
		time.Sleep(time.Second)
		for i := range 10 {
			a.keeper.Remove(sensor(i))
		}
		a.keeper.Add(sensor(3))
		time.Sleep(time.Second)
		assert.Equal(t, 1, s.total())
		assert.Equal(t, 1, a.keeper.Status().Identities)
		require.ErrorIs(t, a.stop(), errEnd)
	})
}

func (s *site) leases(name string) (all []lease.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, on := range s.running {
		if l := on[name]; l != nil {
			all = append(all, l)
		}
	}
	return all
}

func TestAGuardRefusesConnectionsWhileTheLeaseIsNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := leasetest.Group{Lease: term}
		r := group.Join("a")
		held, err := r.Acquire(t.Context(), "sensor")
		require.NoError(t, err)
		reached := errors.New("the network was asked")
		dial := lease.Guard(held, stub(reached))
		_, err = dial(t.Context(), "tcp", "hub:8883")
		require.ErrorIs(t, err, reached)
		r.Cut(true)
		_, err = dial(t.Context(), "tcp", "hub:8883")
		require.ErrorIs(t, err, reached, "confirmed a moment ago")
		time.Sleep(term)
		_, err = dial(t.Context(), "tcp", "hub:8883")
		require.ErrorIs(t, err, lease.ErrUnconfirmed)
		require.NoError(t, r.Close(t.Context()))
	})
}

func stub(err error) lease.DialFunc {
	return func(context.Context, string, string) (net.Conn, error) { return nil, err }
}
