// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/provisioning/fleet"
)

// register is who holds what, as another process might decide.
type register struct {
	mu       sync.Mutex
	away     chan struct{} // not nil while nobody can say who holds what
	lose     context.CancelFunc
	acquired int
	released int
}

func (r *register) leases() fleet.Leases {
	return fleet.Leases{Acquire: func(context.Context, string) (fleet.Lease, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.acquired++; r.acquired == 1 {
			return fleet.Lease{}, errors.New("no one to ask")
		}
		lost, lose := context.WithCancel(context.Background())
		r.lose = lose
		return fleet.Lease{Held: r.held, Lost: lost, Release: func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.released++
			lose()
		}}, nil
	}}
}

func (r *register) held() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away == nil {
		return nil
	}
	return r.away
}

func (r *register) setAway(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if away {
		r.away = make(chan struct{})
		return
	}
	close(r.away)
	r.away = nil
}

func TestALeasedIdentityIsConnectedAnewOnlyWhileItsLeaseIsHeld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, r := devicetest.Start(t), &register{}
		g := newGateway(t, s, 1)
		g.SetLeases(r.leases())
		g.change = func(dev *provisioning.Device) { dev.Hub.TokenTTL = 10 * time.Minute }
		stop := g.start()
		wait(time.Minute)
		require.Equal(t, 1, g.connected(), "the first try has failed, the second has it")
		require.EqualError(t, g.of(g.ids[0]).Err, "no one to ask")

		r.setAway(true)
		wait(7 * time.Minute)
		require.Equal(t, 1, g.connected(), "a connection that is up stays")
		require.Len(t, s.Hub.Attempts(), 1, "but its token is not renewed")
		s.Hub.Disconnect(g.ids[0])
		wait(time.Hour)
		require.Equal(t, 1, g.Count()[provisioning.StateQueued])
		require.Len(t, s.Hub.Attempts(), 1)
		require.Equal(t, 1, s.DPS.Count(dpstest.Register, dpstest.Lookup))
		r.setAway(false)
		wait(time.Second)
		require.Equal(t, 1, g.connected())

		r.setAway(true)
		s.Hub.Disconnect(g.ids[0])
		wait(time.Minute)
		require.Equal(t, 1, g.Count()[provisioning.StateQueued])
		took, err := stop()
		require.ErrorIs(t, err, errStopped)
		require.Zero(t, took)
		require.Equal(t, 1, r.released)
	})
}

func TestAnIdentityWhoseLeaseIsLostEndsAndBeginsAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, r := devicetest.Start(t), &register{acquired: 1}
		g := newGateway(t, s, 1)
		g.SetLeases(r.leases())
		g.start()
		wait(time.Minute)
		require.Equal(t, 1, g.connected())
		before := g.Get(g.ids[0])
		r.lose()
		wait(time.Minute)
		require.Equal(t, 1, g.connected())
		require.Equal(t, 2, g.ran(g.ids[0]))
		require.Equal(t, 3, r.acquired)
		require.NotSame(t, before, g.Get(g.ids[0]), "what it remembers may have changed")
		require.Zero(t, g.of(g.ids[0]).Restarts, "that was no failure")
		require.Equal(t, 1, s.DPS.Count(dpstest.Register))
	})
}
