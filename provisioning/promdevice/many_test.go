// SPDX-License-Identifier: Apache-2.0

package promdevice_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/promdevice"
)

func TestManyDevicesShareOneCollectorWhileItIsScraped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const devices = 20
		c, d := &promdevice.Collector{PerDevice: true}, devicetest.Start(t)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for i := range devices {
			dev := d.Enroll(fmt.Sprintf("sensor-%02d", i))
			dev.Trace = c.Trace(nil)
			running.Go(func() {
				_ = dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
					_ = hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
					<-ctx.Done()
					return nil
				})
			})
		}
		for range 10 {
			time.Sleep(200 * time.Millisecond)
			gathered(t, c)
		}
		time.Sleep(time.Minute)
		got := gathered(t, c)
		assert.EqualValues(t, devices, got[`rehome_devices{state="connected"}`])
		assert.EqualValues(t, 1, got[`rehome_device_connected{device="sensor-07"}`])
		stop()
		running.Wait()
		time.Sleep(time.Minute)
		got = gathered(t, c)
		assert.EqualValues(t, devices, got["rehome_device_messages_acknowledged_total"])
		assert.EqualValues(t, devices, got[`rehome_device_disconnections_total{reason="closed"}`])
		assert.NotContains(t, got, `rehome_device_connected{device="sensor-07"}`, "it has stopped")
	})
}
