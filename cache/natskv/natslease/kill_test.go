// SPDX-License-Identifier: Apache-2.0

package natslease_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/natskv/internal/natstest"
	"github.com/rehome-iot/rehome/cache/natskv/natslease"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

// long is for what takes minutes: REHOME_TESTS=leases.
var long = os.Getenv("REHOME_TESTS") == "leases"

// ofThousands is what takes the place of few where the tests are about thousands of identities.
func ofThousands[T any](few, thousands T) T {
	if long {
		return thousands
	}
	return few
}

// What replicas that die have for a lease, and for how long NATS is away.
var (
	termOfMany = ofThousands(term, natslease.DefaultDuration)
	away       = ofThousands(2*term, 5*time.Minute)
)

// A hub is what lets a device ID be connected once: the newer connection ends the older.
type hub struct {
	mu        sync.Mutex
	connected map[string]string // replica by identity
	moved     int
}

func (h *hub) connect(identity, replica string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.connected[identity] != "" {
		h.moved++
	}
	h.connected[identity] = replica
}

func (h *hub) disconnect(identity, replica string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.connected[identity] == replica {
		delete(h.connected, identity)
	}
}

// shares is how many identities each replica has connected.
func (h *hub) shares() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := map[string]int{}
	for _, replica := range h.connected {
		n[replica]++
	}
	return n
}

// A machine is a replica with a Keeper, on a server of its own.
type machine struct {
	place
	keeper *lease.Keeper
	end    context.CancelFunc
	ended  chan struct{}
}

func (h *hub) boot(t *testing.T, servers *natstest.Servers, i, identities, replicas int) *machine {
	t.Helper()
	name := fmt.Sprint("machine-", i)
	m := &machine{ended: make(chan struct{})}
	m.link = new(natstest.Link)
	m.conn = servers.Connect(i, nats.SetCustomDialer(m.link))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	m.Replica, err = natslease.Join(ctx, natslease.Config{
		Conn: m.conn, Name: name, Duration: termOfMany, Replicas: replicas,
	})
	require.NoError(t, err)
	m.keeper = &lease.Keeper{
		Leases: m.Replica,
		Start: func(held lease.Lease) error {
			h.connect(held.Identity(), name)
			return nil
		},
		Stop: func(_ context.Context, identity string, _ error) { h.disconnect(identity, name) },
	}
	for n := range identities {
		m.keeper.Add(fmt.Sprintf("sensor-%04d", n))
	}
	ctx, m.end = context.WithCancel(context.Background())
	go func() {
		defer close(m.ended)
		_ = m.keeper.Run(ctx)
		_ = m.Close(context.Background())
	}()
	t.Cleanup(m.kill)
	return m
}

// kill ends the machine as far as anybody can see: it is cut off first, so that it says nothing.
func (m *machine) kill() {
	m.link.Cut(true)
	m.conn.Close()
	m.end()
	<-m.ended
}

// One of three dies with its server, and comes back, over and over.
func TestTheDeathOfOneOfThreeMovesItsIdentitiesAlone(t *testing.T) {
	t.Parallel()
	identities, deaths := ofThousands(300, 10_000), ofThousands(1, 10)
	servers := natstest.Start(t, 3)
	h := &hub{connected: map[string]string{}}
	machines := make([]*machine, 3)
	for i := range machines {
		machines[i] = h.boot(t, servers, i, identities, 3)
	}
	balanced := func() bool {
		n := h.shares()
		for _, m := range machines {
			s := m.keeper.Status()
			if s.Away != nil || len(s.Members) != 3 || s.Held != s.Placed || n[s.Name] != s.Placed {
				return false
			}
		}
		return n["machine-0"]+n["machine-1"]+n["machine-2"] == identities
	}
	until(t, balanced, "every identity runs where it is placed")
	first := h.shares()
	for death := range deaths {
		i := death % 3
		before := h.shares()
		h.mu.Lock()
		h.moved = 0
		h.mu.Unlock()
		dead := machines[i]
		name := dead.Name()
		dead.link.Cut(true) // the power goes: the hub notices later, nobody says good-bye
		began := time.Now()
		servers.Down(i)
		until(t, func() bool {
			n := h.shares()
			return n[name] == 0
		}, "the others have them")
		took := time.Since(began)
		h.mu.Lock()
		assert.Equal(t, before[name], h.moved, "nothing else moves")
		h.mu.Unlock()
		t.Logf("death %d of %s: %d identities with the others after %v, of which the lease is %v",
			death+1, name, before[name], took.Round(time.Millisecond), termOfMany)
		assert.Less(t, took, termOfMany+150*time.Second)
		for j, m := range machines {
			if j != i {
				assert.Zero(t, m.keeper.Status().Lost)
			}
		}
		dead.kill()
		servers.Up(i)
		machines[i] = h.boot(t, servers, i, identities, 3)
		until(t, balanced, "it has back what it had")
		assert.Equal(t, first, h.shares())
	}
}

func TestKeepersGoOnWhileNATSIsAwayAndSayIt(t *testing.T) {
	t.Parallel()
	const identities = 60
	servers := natstest.Start(t, 1)
	h := &hub{connected: map[string]string{}}
	a, b := h.boot(t, servers, 0, identities, 1), h.boot(t, servers, 1, identities, 1)
	settled := func() bool {
		for _, m := range []*machine{a, b} {
			s := m.keeper.Status()
			if s.Away != nil || len(s.Members) != 2 || s.Held != s.Placed || s.Unconfirmed > 0 {
				return false
			}
		}
		n := h.shares()
		return n["machine-0"]+n["machine-1"] == identities
	}
	until(t, settled, "every identity runs")
	before := h.shares()
	started := a.keeper.Status().Started + b.keeper.Status().Started
	servers.Down(0)
	for _, m := range []*machine{a, b} {
		until(t, func() bool {
			s := m.keeper.Status()
			return errors.Is(s.Away, lease.ErrUnconfirmed) && s.Unconfirmed == s.Held
		}, "it is said")
	}
	time.Sleep(away)
	assert.Equal(t, before, h.shares(), "devices stay connected")
	servers.Up(0)
	until(t, settled, "all is confirmed again")
	time.Sleep(2 * termOfMany)
	assert.True(t, settled())
	assert.Equal(t, before, h.shares())
	assert.Equal(t, started, a.keeper.Status().Started+b.keeper.Status().Started)
	assert.Zero(t, a.keeper.Status().Lost+b.keeper.Status().Lost)
}
