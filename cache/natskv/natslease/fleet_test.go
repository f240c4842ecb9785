// SPDX-License-Identifier: Apache-2.0

package natslease_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/natskv"
	"github.com/rehome-iot/rehome/cache/natskv/internal/natstest"
	"github.com/rehome-iot/rehome/cache/natskv/natslease"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/provisioning/fleet"
)

// A gateway is a replica with a Fleet, on a server of its own, as it is meant to be used: leases
// and store in NATS, real devices, and a simulated hub.
type gateway struct {
	*fleet.Fleet
	replica *natslease.Replica
	store   *natskv.Store
	link    *natstest.Link
	end     context.CancelCauseFunc
	ended   chan struct{}
}

var errDied = errors.New("the power goes")

func powerOn(
	t *testing.T, s *devicetest.Simulation, servers *natstest.Servers, i int, ids []string,
) *gateway {
	t.Helper()
	g := &gateway{link: new(natstest.Link), ended: make(chan struct{})}
	conn := servers.Connect(i, nats.SetCustomDialer(g.link))
	g.store = &natskv.Store{Conn: conn, Replicas: 3}
	joining, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	g.replica, err = natslease.Join(joining, natslease.Config{
		Conn: conn, Name: fmt.Sprint("gateway-", i), Duration: term, Replicas: 3,
	})
	require.NoError(t, err)
	g.Fleet = &fleet.Fleet{
		Leases: g.replica,
		Budget: &fleet.Budget{DPSPerMinute: 1e6, DPSUnderWay: 64, HubPerSecond: 1e4},
		Device: func(id string) (*provisioning.Device, error) {
			dev := s.Restart(id)
			dev.Store = g.store
			return dev, nil
		},
		Session: func(ctx context.Context, id string, hub *hubconn.Conn) error {
			if err := hub.Send(ctx, hubconn.Message{Body: []byte(id)}); err != nil {
				return err
			}
			<-ctx.Done()
			return context.Cause(ctx)
		},
	}
	require.NoError(t, g.Add(ids...))
	var ctx context.Context
	ctx, g.end = context.WithCancelCause(context.Background())
	go func() {
		defer close(g.ended)
		_ = g.Run(ctx)
		_ = g.replica.Close(context.Background())
		conn.Close()
	}()
	t.Cleanup(g.die)
	return g
}

// die ends the gateway before it can say anything to the others.
func (g *gateway) die() {
	g.link.Cut(true)
	g.end(errDied)
	<-g.ended
}

func TestTheDeathOfOneOfThreeGatewaysMovesItsDevicesAlone(t *testing.T) {
	t.Parallel()
	identities, deaths := 90, 1
	if long {
		identities, deaths = 10_000, 10
	}
	var ids []string
	for i := range identities {
		ids = append(ids, fmt.Sprintf("sensor-%05d", i))
	}
	servers := natstest.Start(t, 3)
	s := devicetest.Start(t)
	for _, id := range ids {
		s.Enroll(id)
	}
	gateways := make([]*gateway, 3)
	for i := range gateways {
		gateways[i] = powerOn(t, s, servers, i, ids)
	}
	connected := func(n int) func() bool {
		return func() bool {
			sum := 0
			for _, g := range gateways {
				if g != nil {
					sum += g.Count()[provisioning.StateConnected]
				}
			}
			return sum == n
		}
	}
	balanced := func() bool {
		for _, g := range gateways {
			if l := g.Leased(); l.Away != nil || len(l.Members) != 3 || l.Held != l.Placed {
				return false
			}
		}
		return connected(identities)()
	}
	until(t, balanced, "all are connected, each where it is placed")
	until(t, func() bool {
		for _, id := range ids {
			dev := s.Restart(id)
			dev.Store = gateways[0].store
			if k, err := dev.Remembered(t.Context()); err != nil || k.Confirmed == nil {
				return false
			}
		}
		return true
	}, "the others can know where each belongs")
	registered := s.DPS.Count(dpstest.Register)
	require.Equal(t, identities, registered)
	for death := range deaths {
		i := death % 3
		s.Hub.ResetLog()
		lost := gateways[i].Count()[provisioning.StateConnected]
		began := time.Now()
		servers.Down(i)
		gateways[i].die()
		gateways[i] = nil
		until(t, connected(identities), "the others have its devices")
		t.Logf("death %d: %d of %d devices with the others after %v, of which the lease is %v",
			death+1, lost, identities, time.Since(began).Round(time.Millisecond), term)
		assert.Len(t, s.Hub.Attempts(), lost, "nothing else has moved")
		servers.Up(i)
		gateways[i] = powerOn(t, s, servers, i, ids)
		until(t, balanced, "it has back what it had")
	}
	// A store that says nothing for ten seconds is one that fails, and then DPS is asked: the
	// servers may take that long to choose one for a bucket. It is an exception.
	asked := s.DPS.Count(dpstest.Register, dpstest.Lookup) - registered
	t.Logf("%d questions to dps", asked)
	assert.LessOrEqual(t, asked, identities*deaths/20)
}
