// SPDX-License-Identifier: Apache-2.0

package natslease_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/natskv"
	"github.com/rehome-iot/rehome/cache/natskv/internal/natstest"
	"github.com/rehome-iot/rehome/cache/natskv/natslease"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/provisioning/fleet"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

// A gateway is a replica with a Fleet, beside a server of its own, as it is meant to be used:
// leases and store in NATS, real devices, and a simulated hub.
type gateway struct {
	*fleet.Fleet
	replica *natslease.Replica
	store   *natskv.Store
	link    *natstest.Link
	end     context.CancelCauseFunc
	ended   chan struct{}
}

var errDied = errors.New("the power goes")

// A trio are three gateways, and what they have in common.
type trio struct {
	*testing.T
	*chronicle
	network  *simnet.Network
	dps      *dpstest.Server
	hub      *hubtest.Hub
	servers  *natstest.Servers
	ids      []string
	gateways [3]*gateway
}

var deviceKey = base64.StdEncoding.EncodeToString([]byte("canary-key of all devices"))

// enroll has DPS know so many identities, and set no quota: ten thousand would take ten minutes.
func (s *trio) enroll(identities int) {
	s.Helper()
	s.network = simnet.ForTest(s)
	s.dps = dpstest.New(s.network, dpstest.Config{
		RetryAfter: time.Second, RegistrationsPerMinute: -1, AssignTime: -1,
	})
	s.hub = hubtest.NewHub(s.network, devicetest.HubHost)
	s.dps.Link(s.hub)
	for i := range identities {
		s.ids = append(s.ids, fmt.Sprintf("sensor-%05d", i))
		require.NoError(s, s.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: s.ids[i], Attestation: dpstest.Keys(deviceKey, ""),
		}))
	}
}

func (s *trio) device(id string, store cache.Store) *provisioning.Device {
	return &provisioning.Device{
		IDScope: s.dps.IDScope(), Attestation: dps.SymmetricKey{ID: id, Key: deviceKey},
		Store: store, DialContext: s.network.DialContext, TLSConfig: s.network.TLSConfig(),
	}
}

func (s *trio) powerOn(i int) {
	s.Helper()
	g := &gateway{link: new(natstest.Link), ended: make(chan struct{})}
	conn := s.servers.Connect(i, nats.SetCustomDialer(g.link))
	g.store = &natskv.Store{Conn: conn, Replicas: 3}
	joining, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	var err error
	g.replica, err = natslease.Join(joining, natslease.Config{
		Conn: conn, Name: fmt.Sprint("gateway-", i), Duration: termOfMany, Replicas: 3,
	})
	require.NoError(s, err)
	g.Fleet = &fleet.Fleet{
		Leases: g.replica,
		Budget: &fleet.Budget{DPSPerMinute: 1e6, DPSUnderWay: 64, HubPerSecond: 1e4},
		Device: func(id string) (*provisioning.Device, error) {
			return s.device(id, readStore{g.store, s.chronicle}), nil
		},
		Session: func(ctx context.Context, id string, hub *hubconn.Conn) error {
			s.connected(id, g)
			defer s.disconnected(id, g)
			if err := hub.Send(ctx, hubconn.Message{Body: []byte(id)}); err != nil {
				return err
			}
			<-ctx.Done()
			return context.Cause(ctx)
		},
	}
	require.NoError(s, g.Add(s.ids...))
	var ctx context.Context
	ctx, g.end = context.WithCancelCause(context.Background())
	go func() {
		defer close(g.ended)
		_ = g.Run(ctx)
		_ = g.replica.Close(context.Background())
		conn.Close()
	}()
	s.gateways[i] = g
}

// die ends the gateway before it can say anything to the others.
func (g *gateway) die() {
	g.link.Cut(true)
	g.end(errDied)
	<-g.ended
}

// until waits for a condition, and tells where everybody is if it does not come.
func (s *trio) until(condition func() bool, what string) {
	s.Helper()
	if assert.Eventually(s, condition, patience, often, what) {
		return
	}
	for i, g := range s.gateways {
		s.Logf("gateway %d has %d connected: %v, %+v", i, s.of(g), g.Count(), g.Leased())
	}
	s.FailNow()
}

// others are connected by all gateways but number i.
func (s *trio) others(i int) int {
	sum := 0
	for j, g := range s.gateways {
		if j != i {
			sum += s.of(g)
		}
	}
	return sum
}

// balanced says that each identity is connected by where it is placed.
func (s *trio) balanced() bool {
	if s.others(-1) != len(s.ids) {
		return false
	}
	for _, g := range s.gateways {
		l := g.Leased()
		if l.Away != nil || len(l.Members) != 3 || l.Held != l.Placed || s.of(g) != l.Placed {
			return false
		}
	}
	return true
}

// remembered says that all stores can tell where each identity belongs.
func (s *trio) remembered() bool {
	for _, id := range s.ids {
		k, err := s.device(id, s.gateways[0].store).Remembered(s.Context())
		if err != nil || k.Confirmed == nil {
			return false
		}
	}
	return true
}

// With every other death, the first too, the gateway lives on, cut off from NATS: it keeps its
// devices connected until the others have them. In all of them its NATS server is killed.
func TestTheDeathOfOneOfThreeGatewaysMovesItsDevicesAlone(t *testing.T) {
	t.Parallel()
	s := &trio{T: t, chronicle: newChronicle()}
	identities, deaths := ofThousands(90, 10_000), ofThousands(1, 10)
	s.servers = natstest.StartProcesses(t, 3)
	t.Cleanup(func() {
		for _, g := range s.gateways {
			if g != nil {
				g.die()
			}
		}
	})
	s.enroll(identities)
	s.begin()
	for i := range s.gateways {
		s.powerOn(i)
	}
	s.until(s.balanced, "all are connected, each where it is placed")
	t.Logf("first boot: %s", s.tell())
	s.until(s.remembered, "the others can know where each belongs")
	asked := func() int { return s.dps.Count(dpstest.Register, dpstest.Lookup) }
	atBoot := asked()
	t.Logf("%d questions to DPS", atBoot)
	for death := range deaths {
		s.dies(death%3, death%2 == 0)
	}
	assert.Zero(t, asked()-atBoot, "questions to DPS")
	failed, err := s.failures()
	assert.Zero(t, failed, "reads of the store that failed, the first of them: %v", err)
	twice := s.longestTwice()
	t.Logf("an identity was connected by two gateways for %v at most", twice)
	assert.Less(t, twice, termOfMany)
}

// dies has gateway i die, and come back.
func (s *trio) dies(i int, livesOn bool) {
	s.Helper()
	dead := s.gateways[i]
	lost := s.of(dead)
	s.hub.ResetLog()
	s.begin()
	s.servers.Down(i)
	dead.link.Cut(true)
	if !livesOn {
		dead.die()
	}
	s.until(func() bool { return s.others(i) == len(s.ids) }, "the others have its devices")
	took := time.Since(s.began)
	s.Logf("%d of %d devices with the others after %.1f s, of which the lease is %v: %s",
		lost, len(s.ids), took.Seconds(), termOfMany, s.tell())
	assert.Less(s, took, termOfMany+10*15*time.Second)
	if livesOn {
		s.until(func() bool { return s.of(dead) == 0 }, "it has lost them")
		assert.ErrorIs(s, dead.Leased().Away, lease.ErrUnconfirmed)
	}
	assert.Len(s, s.hub.Attempts(), lost, "nothing else has moved")
	dead.die()
	s.forget(dead)
	s.servers.Up(i)
	s.begin()
	s.powerOn(i)
	s.until(s.balanced, "it has back what it had")
	s.Logf("back after %.1f s: %s; %d MB of memory", time.Since(s.began).Seconds(), s.tell(),
		inUse()>>20)
}

// inUse is what of the memory is not garbage.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
