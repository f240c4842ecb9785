// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Many devices to which the same happens at once.

// manyDevices is a fleet, each with a store of its own.
type manyDevices struct {
	*rig
	stores []cache.Memory
}

func newFleet(r *rig, size int) *manyDevices {
	f := &manyDevices{rig: r, stores: make([]cache.Memory, size)}
	for i := range f.stores {
		require.NoError(r.t, r.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: f.id(i), Attestation: dpstest.Keys(rigKey, ""),
			IoTHubs: []string{hubA},
		}))
	}
	return f
}

func (f *manyDevices) id(i int) string { return fmt.Sprintf("sensor-%03d", 100+i) }

// run starts all devices, as setUp wants them. The stop function ends them.
func (f *manyDevices) run(setUp func(*provisioning.Device)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range f.stores {
		dev := f.device()
		dev.Attestation = dps.SymmetricKey{ID: f.id(i), Key: rigKey}
		dev.Store = &f.stores[i]
		setUp(dev)
		all.Go(func() { _ = dev.Run(ctx, stays) })
	}
	f.t.Cleanup(func() { cancel(); all.Wait() })
	return func() { cancel(); all.Wait() }
}

// boot registers all devices and connects them once.
func (f *manyDevices) boot() {
	stop := f.run(func(*provisioning.Device) {})
	time.Sleep(20 * time.Second)
	stop()
	require.Len(f.t, f.a.Devices(), len(f.stores))
	f.reset()
}

// stays is a session that sends something and stays.
func stays(ctx context.Context, hub *hubconn.Conn) error {
	_ = hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
	<-ctx.Done()
	return nil
}

// crowd is how many of the times lie within one window, at most.
func crowd(at []time.Duration, window time.Duration) (most int) {
	slices.Sort(at)
	for first, last := 0, 0; last < len(at); last++ {
		for at[last]-at[first] > window {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

const fleetSize = 60

func staggered(dev *provisioning.Device) { dev.Stagger = time.Hour }

func TestStaggerSpreadsWhatAFleetAsksAfterARejection(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		f := newFleet(r, fleetSize)
		f.boot()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: always})
		stop := f.run(staggered)
		time.Sleep(45 * time.Minute)
		stop()
		checks, registers := r.times(dpstest.Clock), r.times(dpstest.Register)
		require.Len(t, checks, fleetSize)
		require.LessOrEqual(t, crowd(checks, 10*time.Second), 8)
		between(t, 7*time.Minute, 10*time.Minute+10*time.Second, checks[fleetSize-1])
		require.LessOrEqual(t, crowd(registers, 10*time.Second), 6)
		require.Greater(t, len(registers), fleetSize/3)
		require.Greater(t, registers[len(registers)-1], 30*time.Minute)
	})
}

func TestStaggerSpreadsWhatAFleetAsksAtItsFirstBoot(t *testing.T) {
	each(t, []wiring{{dps: dps.MQTT}}, func(t *testing.T, r *rig) {
		stop := newFleet(r, fleetSize).run(staggered)
		time.Sleep(time.Hour + time.Minute)
		stop()
		at := r.times(dpstest.Register)
		require.Len(t, at, fleetSize)
		require.LessOrEqual(t, crowd(at, 10*time.Second), 6)
		require.Greater(t, at[fleetSize-1], 45*time.Minute)
	})
}

func TestStaggerSpreadsTheQuestionsOfAFleetWhoseHubIsDead(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		f := newFleet(r, fleetSize)
		f.boot()
		r.network.SetFault(hubA, simnet.Refused)
		stop := f.run(staggered)
		time.Sleep(90 * time.Minute)
		stop()
		at := r.times(dpstest.Lookup)
		require.GreaterOrEqual(t, len(at), fleetSize)
		require.LessOrEqual(t, crowd(at[:fleetSize*3/4], 10*time.Second), 6)
		require.GreaterOrEqual(t, at[0], 15*time.Minute)
		require.Greater(t, at[fleetSize*3/4], 45*time.Minute)
	})
}

// turnstile lets one pass to DPS at each interval: a Budget of the program's own.
type turnstile struct {
	interval time.Duration
	mu       sync.Mutex
	next     time.Time
}

func (b *turnstile) Enter(e provisioning.Entrant) *provisioning.Turn {
	if e.IDScope == "" { // a hub
		return &provisioning.Turn{Done: func(error) {}}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	wait := max(time.Until(b.next), 0)
	b.next = time.Now().Add(wait + b.interval)
	ready := make(chan struct{})
	timer := time.AfterFunc(wait, func() { close(ready) })
	return &provisioning.Turn{Ready: ready, Done: func(error) { timer.Stop() }}
}

func TestDevicesThatShareABudgetAskDPSOneAfterTheOther(t *testing.T) {
	const devices, interval = 50, 2 * time.Second
	each(t, []wiring{{dps: dps.MQTT}}, func(t *testing.T, r *rig) {
		budget := &turnstile{interval: interval}
		limited := func(dev *provisioning.Device) { dev.Budget = budget }
		f := newFleet(r, devices)
		stop := f.run(limited)
		time.Sleep(3 * time.Minute)
		stop()
		at := r.times(dpstest.Register)
		require.Len(t, at, devices)
		apart(t, interval, at)
		require.Len(t, r.a.Devices(), devices)

		r.reset()
		for i := range devices {
			require.True(t, r.a.Delete(f.id(i)))
		}
		stop = f.run(limited)
		time.Sleep(5 * time.Minute)
		stop()
		at = r.times(dpstest.Register, dpstest.Clock)
		require.GreaterOrEqual(t, len(at), 2*devices)
		apart(t, interval, at)
		require.Len(t, r.a.Devices(), devices, "all are back")
	})
}
