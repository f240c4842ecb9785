// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// echo is a custom allocation: the last hub of those it may choose from, and the device's own
// payload.
func echo(_ context.Context, a dpstest.Allocation) (dpstest.Allocated, error) {
	return dpstest.Allocated{Hub: slices.Max(a.LinkedHubs), Payload: a.Payload}, nil
}

// scenario is a device that registers, and registers again after the operator has, perhaps, changed
// where it belongs.
type scenario struct {
	transport  string
	policy     string // reprovision policy
	allocation string
	other      bool // the second registration is allocated to the other hub
}

func (s scenario) id() string {
	to := "same"
	if s.other {
		to = "other"
	}
	return strings.ToLower(s.transport + "-" + s.policy + "-" + s.allocation + "-" + to)
}

var reprovision = map[string]*dpstest.ReprovisionPolicy{
	"none":    nil,
	"migrate": {UpdateHubAssignment: true, MigrateDeviceData: true},
	"reset":   {UpdateHubAssignment: true},
	"never":   {},
}

func scenarios() []scenario {
	var all []scenario
	for _, transport := range allTransports {
		for _, policy := range []string{"none", "migrate", "reset", "never"} {
			for _, allocation := range []string{
				dpstest.PolicyHashed, dpstest.PolicyGeoLatency, dpstest.PolicyStatic,
				dpstest.PolicyCustom,
			} {
				all = append(all, scenario{transport, policy, allocation, false}, scenario{
					transport, policy, allocation, true,
				})
			}
		}
	}
	return all
}

// board says which hub is meant for each device, whatever the allocation policy it gets there by.
type board struct {
	mu    sync.Mutex
	hosts map[string]string
}

func (b *board) set(id, host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hosts[id] = host
}

func (b *board) get(id string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hosts[id]
}

func (b *board) config() dpstest.Config {
	return dpstest.Config{
		Latency: func(id, host string) time.Duration {
			if host == b.get(id) {
				return time.Millisecond
			}
			return time.Second
		},
		Allocate: func(_ context.Context, a dpstest.Allocation) (dpstest.Allocated, error) {
			if len(a.LinkedHubs) == 1 {
				return dpstest.Allocated{Hub: a.LinkedHubs[0]}, nil // it may not move
			}
			return dpstest.Allocated{Hub: b.get(a.RegistrationID)}, nil
		},
	}
}

// enroll is the operator's side of a scenario: the device belongs to this hub from now on.
func (s scenario) enroll(w *world, b *board, host string) error {
	b.set(s.id(), host)
	e := dpstest.IndividualEnrollment{
		RegistrationID: s.id(), Attestation: dpstest.Keys(key(s.id()), ""),
		AllocationPolicy: s.allocation, ReprovisionPolicy: reprovision[s.policy],
		InitialTwin: &dpstest.InitialTwin{
			Tags:       map[string]any{"site": "north"},
			Properties: &dpstest.TwinProperties{Desired: map[string]any{"target": 20}},
		},
	}
	if s.allocation == dpstest.PolicyHashed || s.allocation == dpstest.PolicyStatic {
		e.IoTHubs = []string{host}
	}
	return w.dps.Enroll(e)
}

// outcome is what a device and the service know after a registration.
type outcome struct {
	Hub, DeviceID, Status, Substatus string    // as the client tells
	Record                           [3]string // as the service tells: hub, status, substatus
	At                               []string  // hubs that have an identity of the device
	Twin                             twin      // there
}

type twin struct{ Tags, Desired, Reported map[string]any }

// What a device's twin starts with, and what it is made to be between the device's registrations.
var (
	initial = twin{
		Tags: map[string]any{"site": "north"}, Desired: map[string]any{"target": 20.0},
		Reported: map[string]any{},
	}
	lived = twin{
		Tags: map[string]any{"site": "south"}, Desired: map[string]any{"target": 23.0},
		Reported: map[string]any{"firmware": "1.1"},
	}
)

type registerFunc func(s scenario) (outcome, error)

// play takes every scenario through its two registrations, all at the same time.
func play(t *testing.T, w *world, b *board, register registerFunc) map[string]outcome {
	t.Helper()
	all, mu := map[string]outcome{}, sync.Mutex{}
	var wg sync.WaitGroup
	once := func(s scenario, name, host string) error {
		if err := s.enroll(w, b, host); err != nil {
			return err
		}
		got, err := register(s)
		if err != nil {
			return err
		}
		record, _ := w.dps.Registration(s.id())
		got.Record = [3]string{record.AssignedHub, record.Status, record.Substatus}
		for _, hub := range []*hubtest.Hub{w.a, w.b} {
			if t, ok := hub.Twin(s.id()); ok {
				got.At, got.Twin = append(got.At, hub.Host()), twin{t.Tags, t.Desired, t.Reported}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		all[s.id()+", "+name] = got
		return nil
	}
	for _, s := range scenarios() {
		wg.Go(func() {
			if !assert.NoError(t, once(s, "first", hostA), s.id()) {
				return
			}
			if !assert.NoError(t, w.a.SetTwin(s.id(), hubtest.Twin{
				Tags: lived.Tags, Desired: lived.Desired, Reported: lived.Reported,
			}), s.id()) {
				return
			}
			second := hostA
			if s.other {
				second = hostB
			}
			assert.NoError(t, once(s, "again", second), s.id())
		})
	}
	wg.Wait()
	return all
}

// Both clients speak the same API version, since the service's answers depend on it: the official
// one's.
const officialVersion = "2019-03-31"

var ourTransports = map[string]dps.Transport{
	"https": dps.HTTPS, "mqtt": dps.MQTT, "ws": dps.MQTTWebSocket,
}

func TestOurClientAndTheOfficialOneEndTheSameInEveryScenario(t *testing.T) {
	need(t)
	official, ours := map[string]outcome{}, map[string]outcome{}
	var both sync.WaitGroup
	both.Go(func() {
		b := &board{hosts: map[string]string{}}
		w := newWorld(t, b.config())
		node := newDriver(t, w.network)
		official = play(t, w, b, func(s scenario) (outcome, error) {
			var got state
			err := node.try(
				"register", w.registering(s.id(), s.transport, with{"key": key(s.id())}), &got,
			)
			return outcome{
				Hub: got.AssignedHub, DeviceID: got.DeviceID, Status: got.Status,
				Substatus: got.Substatus,
			}, err
		})
	})
	both.Go(func() {
		b := &board{hosts: map[string]string{}}
		n := simnet.New() // its own, so that both can have the real names
		t.Cleanup(func() { _ = n.Close() })
		w := newService(n, b.config())
		ours = play(t, w, b, func(s scenario) (outcome, error) {
			client := &dps.Client{
				IDScope:     w.dps.IDScope(),
				Attestation: dps.SymmetricKey{ID: s.id(), Key: key(s.id())},
				Transport:   ourTransports[s.transport], APIVersion: officialVersion,
				TLSConfig: n.TLSConfig(), DialContext: n.DialContext,
			}
			got, err := client.Register(t.Context(), dps.Registration{})
			return outcome{
				Hub: got.Hub, DeviceID: got.DeviceID, Status: got.Status, Substatus: got.Substatus,
			}, err
		})
	})
	both.Wait()
	require.Len(t, official, 2*len(scenarios()))
	assert.Equal(t, official, ours)

	// That they agree says nothing if nothing happened.
	for _, s := range scenarios() {
		want := outcome{
			Hub: hostA, DeviceID: s.id(), Status: "assigned", Substatus: "initialAssignment",
			Twin: initial,
		}
		want.Record, want.At = [3]string{want.Hub, want.Status, want.Substatus}, []string{want.Hub}
		assert.Equal(t, want, official[s.id()+", first"], s.id())

		want.Twin = lived
		if s.other && s.policy != "never" {
			want.Hub, want.Substatus = hostB, "deviceDataMigrated"
		}
		if s.policy == "reset" {
			want.Substatus, want.Twin = "deviceDataReset", initial
		}
		want.Record, want.At = [3]string{want.Hub, want.Status, want.Substatus}, []string{want.Hub}
		assert.Equal(t, want, official[s.id()+", again"], s.id())
	}
}
