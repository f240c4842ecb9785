// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// A custom allocation says how to spread the fleet's next questions to DPS.

// allocation is what a custom allocation returns at the time.
type allocation struct {
	atomic.Pointer[dpstest.Allocated]
}

func (a *allocation) says(hub, payload string) {
	a.Store(&dpstest.Allocated{Hub: hub, Payload: json.RawMessage(payload)})
}

// allocates makes the device's enrollment one with a custom allocation.
func (r *rig) allocates(hub, payload string) *allocation {
	r.t.Helper()
	a := new(allocation)
	a.says(hub, payload)
	r.dps = dpstest.New(r.network, dpstest.Config{
		Allocate: func(context.Context, dpstest.Allocation) (dpstest.Allocated, error) {
			return *a.Load(), nil
		},
	})
	r.dps.Link(r.a, r.b, r.c)
	r.enrollWith(hubA, func(e *dpstest.IndividualEnrollment) {
		e.AllocationPolicy, e.IoTHubs = dpstest.PolicyCustom, nil
	})
	return a
}

// hinted is a fleet that a custom allocation has said that to at its first boot.
func hinted(r *rig, payload string) (*manyDevices, *allocation) {
	a := r.allocates(hubA, payload)
	f := newFleet(r, fleetSize)
	for i := range f.stores {
		require.NoError(r.t, r.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: f.id(i), Attestation: dpstest.Keys(rigKey, ""),
			AllocationPolicy: dpstest.PolicyCustom,
		}))
	}
	f.boot()
	return f, a
}

// loses makes the hub turn all devices away, and returns when they have registered, as new
// processes, within a time.
func (f *manyDevices) loses(
	within time.Duration, setUp func(*provisioning.Device),
) []time.Duration {
	for i := range f.stores {
		require.True(f.t, f.a.Delete(f.id(i)))
	}
	f.reset()
	stop := f.run(setUp)
	time.Sleep(within)
	stop()
	return f.times(dpstest.Register)
}

const hintOfAnHour = `{"room": 4, "rehome": {"staggerSeconds": 3600}}`

func TestACustomAllocationSpreadsWhatItsFleetAsksNext(t *testing.T) {
	each(t, []wiring{{}, {dps: dps.MQTT}}, func(t *testing.T, r *rig) {
		f, a := hinted(r, hintOfAnHour)
		a.says(hubA, `{"room": 4}`)
		at := f.loses(75*time.Minute, func(*provisioning.Device) {})
		require.Len(t, at, fleetSize)
		require.LessOrEqual(t, crowd(at, 10*time.Second), 6)
		require.Greater(t, at[fleetSize-1], 45*time.Minute)
		require.Len(t, r.a.Devices(), fleetSize, "all are back")

		// Their newer answer says nothing of it.
		at = f.loses(2*time.Minute, func(*provisioning.Device) {})
		require.Len(t, at, fleetSize)
	})
}

func TestTheProgramsStaggerGoesBeforeTheAllocations(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		f, _ := hinted(r, `{"rehome": {"staggerSeconds": 604800}}`)
		require.Len(t, f.loses(75*time.Minute, staggered), fleetSize)
		at := f.loses(time.Minute, func(dev *provisioning.Device) { dev.Stagger = 1 })
		require.Len(t, at, fleetSize, "at once")
		at = f.loses(75*time.Minute, func(*provisioning.Device) {})
		require.Less(t, len(at), fleetSize/4, "but a program that says nothing follows DPS")
	})
}

func TestADeviceWithOneAttemptWaitsForTheTurnThatDPSHasGivenIt(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		a := r.allocates(hubA, hintOfAnHour)
		r.boot()
		require.True(t, r.a.Delete(rigID))
		a.says(hubB, hintOfAnHour)
		dev := r.device()
		dev.Retry.MaxAttempts = 1
		conn, err := dev.Connect(t.Context())
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

func TestAHintThatIsWrongStopsNobodyAndIsSaidOnce(t *testing.T) {
	for payload, wrong := range map[string]bool{
		`{"rehome": {"staggerSeconds": -1}}`:         true,
		`{"rehome": {"staggerSeconds": 604801}}`:     true,
		`{"rehome": {"staggerSeconds": 1e999}}`:      true,
		`{"rehome": {"staggerSeconds": "3600"}}`:     true,
		`{"rehome": {"staggerSeconds": {"a": [1]}}}`: true,
		`{"rehome": 3600}`:                           true,
		`{"rehome": null}`:                           false,
		`{"rehome": {"staggerSeconds": null}}`:       false,
		`[{"rehome": {"staggerSeconds": 3600}}]`:     false,
		`"3600"`:                                     false,
	} {
		t.Run(payload, func(t *testing.T) {
			each(t, []wiring{{x509: true}}, func(t *testing.T, r *rig) {
				r.allocates(hubA, payload)
				var log journal
				dev := r.device()
				dev.Logger = log.logger()
				stop := r.run(dev)
				r.await(0, time.Minute)
				_, err := dev.Reprovision(t.Context(), "once more")
				require.NoError(t, err)
				stop()
				var said []map[string]any
				for _, line := range log.at(t, slog.LevelWarn) {
					if line["msg"] == "stagger of dps not used" {
						said = append(said, line)
					}
				}
				if wrong {
					require.Len(t, said, 1)
					require.Contains(t, said[0]["cause"], "staggerSeconds")
				} else {
					require.Empty(t, said)
				}

				r.reset()
				require.True(t, r.a.Delete(rigID))
				stop = r.run(r.device())
				s := r.await(0, time.Minute)
				stop()
				require.Equal(t, hubA, s.hub, "it asks at once")
			})
		})
	}
}
