// SPDX-License-Identifier: Apache-2.0

package devicetest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// send is a session that sends one message.
func send(ctx context.Context, hub *hubconn.Conn) error {
	return hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
}

func TestItsDeviceConnectsAndARestartAsksDPSNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := devicetest.Start(t)
		require.NoError(t, s.Device.Run(t.Context(), send))
		require.Len(t, s.Hub.Messages(), 1)
		assert.Equal(t, devicetest.DeviceID, s.Hub.Messages()[0].DeviceID)
		asked := s.DPS.Count()
		require.NoError(t, s.Restart(devicetest.DeviceID).Run(t.Context(), send))
		assert.Len(t, s.Hub.Messages(), 2)
		assert.Equal(t, asked, s.DPS.Count())
	})
}

func TestADeviceIsMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := devicetest.Start(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- s.Device.Run(ctx, func(ctx context.Context, _ *hubconn.Conn) error {
				<-ctx.Done()
				return nil
			})
		}()
		time.Sleep(time.Minute)
		require.True(t, s.Hub.Connected(devicetest.DeviceID))
		require.NoError(t, s.DPS.MoveNow(devicetest.DeviceID, devicetest.OtherHubHost))
		time.Sleep(time.Minute)
		assert.True(t, s.OtherHub.Connected(devicetest.DeviceID))
		assert.Equal(t, 2, s.DPS.Count(dpstest.Register))
		stop()
		<-done
	})
}

func TestEachDeviceHasAStoreOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := devicetest.Start(t)
		one, two := s.Enroll("sensor-1"), s.Enroll("sensor-2")
		for _, dev := range []*provisioning.Device{one, two} {
			require.NoError(t, dev.Run(t.Context(), send))
		}
		assert.NotSame(t, one.Store, two.Store)
		assert.Same(t, one.Store, s.Restart("SENSOR-1").Store, "as DPS compares IDs")
		assert.Len(t, s.Hub.Messages(), 2)
		assert.Panics(t, func() { s.Enroll("sensor 3") })
	})
}

// What a simulation holds open ends with the test that made it.
func TestItEndsWithItsTest(t *testing.T) {
	var s *devicetest.Simulation
	t.Run("inner", func(t *testing.T) { s = devicetest.Start(t) })
	_, err := s.Network.DialContext(t.Context(), "tcp", devicetest.HubHost+":8883")
	assert.Error(t, err)
}
