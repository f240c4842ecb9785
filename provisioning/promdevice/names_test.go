// SPDX-License-Identifier: Apache-2.0

package promdevice_test

import (
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/measure/measuretest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/promdevice"
)

// fleet yields devices, one of each state in turn.
func fleet(n int) iter.Seq2[string, provisioning.Status] {
	states := []provisioning.State{
		provisioning.StateConnected, provisioning.StateWaiting, provisioning.StateConnected,
	}
	return func(yield func(string, provisioning.Status) bool) {
		for i := range n {
			s := provisioning.Status{
				State: states[i%len(states)], Source: provisioning.SourceStore,
				Hub: hubconn.Hub{Host: "hub-a.azure-devices.net", DeviceID: fmt.Sprint("d", i)},
			}
			s.Certificate.ValidUntil = time.Unix(1893456000+int64(i), 0)
			if s.State == provisioning.StateWaiting {
				s.DownSince = time.Now().Add(-time.Duration(i) * time.Second)
				s.RetryAfter, s.DownAttempts = time.Now().Add(time.Minute), 2
				s.Err = &hubconn.Error{Op: "connect", Class: hubconn.Throttled}
			}
			if !yield(fmt.Sprint("d", i), s) {
				return
			}
		}
	}
}

// everything is a Collector that has told all it can, in a bubble of virtual time, and what it
// exposes.
func everything(t *testing.T) (families []*dto.MetricFamily) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &promdevice.Collector{Devices: fleet(6), PerDevice: true}
		l := measuretest.Start(t, c.Trace)
		require.NoError(t, l.FirstBoot())
		require.NoError(t, l.HubAway())
		require.NoError(t, l.Move())
		l.End()
		problems, err := testutil.CollectAndLint(c)
		require.NoError(t, err)
		assert.Empty(t, problems)
		r := prometheus.NewPedanticRegistry()
		require.NoError(t, r.Register(c))
		families, err = r.Gather()
		require.NoError(t, err)
	})
	return families
}

func TestNamesAreAsPrometheusAdvises(t *testing.T) {
	assert.Greater(t, len(everything(t)), 20)
}

func TestTenThousandDevicesMakeNoMoreSeriesThanOne(t *testing.T) {
	few := testutil.CollectAndCount(&promdevice.Collector{Devices: fleet(3)})
	c := &promdevice.Collector{Devices: fleet(10_000)}
	assert.Equal(t, few, testutil.CollectAndCount(c))
	assert.Less(t, few, 100)
	got := gathered(t, c)
	assert.Equal(t, 6667.0, got[`rehome_devices{state="connected"}`])
	assert.Equal(t, 3333.0, got[`rehome_devices{state="waiting",trouble="throttled"}`])
	assert.Equal(t, 3333.0, got["rehome_devices_held_back"])
	assert.InDelta(t, 9997, got["rehome_device_down_longest_seconds"], 60)
	assert.Equal(t, 1893456000.0, got["rehome_device_certificate_first_expiry_timestamp_seconds"])
	each := testutil.CollectAndCount(&promdevice.Collector{Devices: fleet(100), PerDevice: true})
	assert.Equal(t, few+5*100, each)
}

func TestAModuleIsNamedBesideItsDevice(t *testing.T) {
	c := &promdevice.Collector{
		PerDevice: true,
		Devices: func(yield func(string, provisioning.Status) bool) {
			device := provisioning.Status{State: provisioning.StateConnected}
			module := device
			module.ModuleID = "camera"
			_ = yield("sensor-1", device) && yield("sensor-1", module)
		},
	}
	got := gathered(t, c)
	assert.Equal(t, 1.0, got[`rehome_device_connected{device="sensor-1"}`])
	assert.Equal(t, 1.0, got[`rehome_device_connected{device="sensor-1",module="camera"}`])
}
