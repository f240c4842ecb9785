// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

func TestOneTraceServesManyDevicesWhoseNamesItIsTold(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		f := newFleet(r, 20)
		full := &atomic.Bool{}
		full.Store(true)
		var mu sync.Mutex
		calls := map[string]map[string]int{}
		count := func(hook, device string) {
			mu.Lock()
			defer mu.Unlock()
			if calls[hook] == nil {
				calls[hook] = map[string]int{}
			}
			calls[hook][device]++
		}
		shared := &provisioning.Trace{
			Changed:  func(s provisioning.Status) { count("changed", s.RegistrationID) },
			Request:  func(q provisioning.DPSRequest) { count(q.Kind, q.RegistrationID) },
			Assigned: func(a dps.Assignment, _ bool) { count("assigned", a.RegistrationID) },
			StoreFailed: func(s provisioning.StoreFailure) {
				require.ErrorIs(t, s.Err, errFull)
				require.Empty(t, s.ModuleID)
				count("store", s.RegistrationID)
			},
		}
		stop := f.run(func(dev *provisioning.Device) {
			dev.Trace, dev.Store = shared, fullStore{&cache.Memory{}, full}
			require.Empty(t, dev.Status().RegistrationID)
		})
		time.Sleep(time.Minute)
		stop()
		for _, hook := range []string{"changed", "register", "assigned", "store"} {
			require.Len(t, calls[hook], len(f.stores), hook)
			for i := range f.stores {
				require.Positive(t, calls[hook][f.id(i)], "%s of %s", hook, f.id(i))
			}
		}
	})
}

func TestAModulesTraceIsToldBothNames(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		dev := r.settled(camera)
		seen := make(chan provisioning.Status, 100)
		m := r.module(dev, camera)
		m.Trace = &provisioning.Trace{Changed: func(s provisioning.Status) { seen <- s }}
		stop, g := r.run(dev), r.host(m)
		time.Sleep(time.Minute)
		s := <-seen
		require.Equal(t, rigID, s.RegistrationID)
		require.Equal(t, camera, s.ModuleID)
		require.Equal(t, camera, m.Status().ModuleID)
		require.Empty(t, dev.Status().ModuleID)
		g.stop()
		stop()
	})
}
