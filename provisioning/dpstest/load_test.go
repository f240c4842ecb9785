// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Devices register over every transport while the operator changes everything there is to change.
// In the end each device lives at one hub, the one its record tells.
func TestManyDevicesAndABusyOperator(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.dps.Link(w.b)
		require.NoError(t, w.dps.EnrollGroup(
			dpstest.EnrollmentGroup{EnrollmentGroupID: "g", Attestation: dpstest.Keys(key1, "")},
		))
		const devices = 24
		var running, operator sync.WaitGroup
		for i := range devices {
			running.Go(func() {
				id := "dev-" + strconv.Itoa(i)
				transport := []string{dpstest.HTTPS, dpstest.MQTT, dpstest.WebSocket}[i%3]
				for range 5 {
					d := w.device(transport, id, byKey(id, derived(key1, id)))
					assert.Equal(w.t, 200, w.finish(d, `{"payload":1}`).status)
					d.close()
				}
			})
		}
		done := make(chan struct{})
		operator.Go(func() {
			hubs := []string{hubA, hubB}
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				case <-time.After(100 * time.Millisecond):
				}
				id := "dev-" + strconv.Itoa(n%devices)
				if err := w.dps.MoveNow(id, hubs[n%2]); err != nil {
					assert.ErrorContains(w.t, err, "not registered")
				}
				assert.NoError(w.t, w.dps.Move(id, hubs[n/2%2]))
				assert.NoError(w.t, w.dps.SetEnabled("g", n%10 != 0))
				assert.NoError(w.t, w.dps.SetWeight(hubA, 1+n%1000))
				w.dps.Inject(dpstest.Fault{On: dpstest.Lookup, Status: 500})
				w.dps.ClearFaults()
				w.dps.Requests()
				w.dps.Registration(id)
				w.dps.Enrollment(id)
				w.dps.Group("g")
			}
		})
		running.Wait()
		close(done)
		operator.Wait()
		for i := range devices {
			id := "dev-" + strconv.Itoa(i)
			assert.NotEqual(t, has(w.a, id), has(w.b, id), "%s lives at one hub", id)
			if record, ok := w.dps.Registration(id); assert.True(t, ok) &&
				record.Status == dpstest.StatusAssigned {
				assert.Equal(t, record.AssignedHub == hubA, has(w.a, id), id)
			}
		}
		assert.Equal(t, devices*5, w.dps.Count(dpstest.Register))
	})
}
