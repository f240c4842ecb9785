// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

// Devices that are allowed one attempt each time: what the failure of that calls for is part of it,
// or is done the next time, by whichever process.

// plainStore keeps entries and nothing else.
type plainStore struct{ cache.Store }

// oneTries are the ways to make one attempt in a process of its own.
var oneTries = map[string]func(r *rig, dev *provisioning.Device) error{
	"Send": func(r *rig, dev *provisioning.Device) error {
		return dev.Send(context.Background(), reading)
	},
	"Send, two minutes": func(r *rig, dev *provisioning.Device) error {
		return r.send(dev, wake, reading)
	},
	"Connect": func(r *rig, dev *provisioning.Device) error {
		hub, err := dev.Connect(context.Background())
		if err == nil {
			err = errors.Join(hub.Send(context.Background(), reading), hub.Close())
		}
		return err
	},
	"Run": func(r *rig, dev *provisioning.Device) error {
		return dev.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
			return hub.Send(ctx, reading)
		})
	},
}

// tryOnce wakes the device so often at most, in a new process each time, until its message has
// arrived.
func (r *rig) tryOnce(
	wakes int, try func(*rig, *provisioning.Device) error, change func(*provisioning.Device),
) (took int) {
	r.t.Helper()
	var errs []error
	for took = 1; took <= wakes; took++ {
		dev := r.device()
		dev.Retry.MaxAttempts = 1
		change(dev)
		err := try(r, dev)
		if err == nil {
			return took
		}
		require.NotContains(r.t, err.Error(), "\n")
		errs = append(errs, err)
		time.Sleep(nap)
	}
	require.Fail(r.t, "not moved", "after %d wakes; dps was asked: %v\n%v", wakes,
		r.dps.Requests(), errs)
	return took
}

// stores are what a process finds of those before it.
var stores = map[string]func(*provisioning.Device){
	"waits": func(*provisioning.Device) {},
	"no waits": func(d *provisioning.Device) {
		d.Store = plainStore{d.Store}
	},
	"power cut": func(d *provisioning.Device) {
		d.Store = coldStore{d.Store.(cache.WaitStore)}
	},
}

func eachTry(t *testing.T, wirings []wiring, f func(
	t *testing.T, r *rig, try func(*rig, *provisioning.Device) error,
	store func(*provisioning.Device),
)) {
	for name, try := range oneTries {
		for kind, store := range stores {
			t.Run(name+", "+kind, func(t *testing.T) {
				each(t, wirings, func(t *testing.T, r *rig) {
					r.boot()
					f(t, r, try, store)
				})
			})
		}
	}
}

func TestADeviceWithOneAttemptIsMovedAtOnce(t *testing.T) {
	eachTry(t, allWirings, func(
		t *testing.T, r *rig, try func(*rig, *provisioning.Device) error,
		store func(*provisioning.Device),
	) {
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		require.Equal(t, 1, r.tryOnce(1, try, store))
		require.Len(t, r.b.Messages(), 1)
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

func TestADeviceWithOneAttemptWaitsForItsTurnInTheFleet(t *testing.T) {
	eachTry(t, []wiring{{}}, func(
		t *testing.T, r *rig, try func(*rig, *provisioning.Device) error,
		store func(*provisioning.Device),
	) {
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		most := 1
		r.tryOnce(12, try, func(d *provisioning.Device) {
			store(d)
			d.Stagger = 10 * time.Minute
			switch d.Store.(type) {
			case plainStore:
				d.Stagger = time.Minute // it draws anew at each wake, and has to be awake for it
				most = 2
			case coldStore:
				most = 2 // where a wake ended while DPS was at work, the next one knows nothing
			}
		})
		require.Len(t, r.b.Messages(), 1)
		require.LessOrEqual(t, r.asked(dpstest.Register), most)
	})
}

// DPS fails the first times; it may be its response that ends a wake.
func TestADeviceWithOneAttemptAsksAgainAtItsNextWake(t *testing.T) {
	eachTry(t, dpsWirings, func(
		t *testing.T, r *rig, try func(*rig, *provisioning.Device) error,
		store func(*provisioning.Device),
	) {
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 503, Times: 3})
		took := r.tryOnce(20, try, store)
		require.Greater(t, took, 1)
		require.Len(t, r.b.Messages(), 1)
		require.Equal(t, 4, r.asked(dpstest.Register))
	})
}

// The clock stands at the same moment at each wake, and the hub judges tokens by the right one.
func TestADeviceWithOneAttemptAndNoClockIsMoved(t *testing.T) {
	eachTry(t, []wiring{{}, {ws: true}}, func(
		t *testing.T, r *rig, try func(*rig, *provisioning.Device) error,
		store func(*provisioning.Device),
	) {
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		for range 2 { // until it is there, and once more: a clock check is no reason to register
			require.Equal(t, 1, r.tryOnce(1, try, func(d *provisioning.Device) {
				store(d)
				stoppedClock(d, r.start.Add(-100*24*time.Hour))
			}))
			time.Sleep(nap)
		}
		require.Len(t, r.b.Messages(), 2)
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

// Its old hub is not there any more. What lives for one failure cannot count the minutes of an
// outage, unless they are kept.
func TestADeviceWithOneAttemptIsMovedOffADeadHub(t *testing.T) {
	eachTry(t, dpsWirings, func(
		t *testing.T, r *rig, try func(*rig, *provisioning.Device) error,
		store func(*provisioning.Device),
	) {
		r.network.SetFault(hubA, simnet.Refused)
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		kept := r.device()
		store(kept)
		if _, plain := kept.Store.(plainStore); plain {
			return
		}
		r.tryOnce(140, try, store)
		require.Len(t, r.b.Messages(), 1)
		require.Less(t, r.elapsed(), 24*time.Hour)
	})
}

// What is not moved ends each of its calls soon, and asks DPS no more often than its gaps allow.
func TestADeviceWithOneAttemptThatIsDisabledAsksRarely(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		r.boot()
		require.True(t, r.a.Disable(rigID))
		for range 6 * 24 {
			dev := r.device()
			dev.Retry.MaxAttempts = 1
			began := time.Now()
			err := dev.Send(context.Background(), reading)
			require.Equal(t, hubconn.Rejected, hubconn.ClassOf(err), "%v", err)
			require.Less(t, time.Since(began), 90*time.Minute)
			require.Equal(t, retry.Register, retry.Classify(err))
			time.Sleep(nap)
		}
		most := 6 + int(r.elapsed()/(48*time.Minute)) // the longest gap, 60 min − 20 %
		require.LessOrEqual(t, r.asked(dpstest.Register), most)
		require.Len(t, r.posts(r.a), 6*24, "one attempt each")
	})
}
