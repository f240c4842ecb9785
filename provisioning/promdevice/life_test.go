// SPDX-License-Identifier: Apache-2.0

package promdevice_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/measure/measuretest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/provisioning/promdevice"
)

// exposition is what Prometheus reads of the counters when the life is over. It holds no time,
// which depends on jitter, and no bytes.
const exposition = `
# HELP rehome_device_disconnections_total Connections to hubs that have ended.
# TYPE rehome_device_disconnections_total counter
rehome_device_disconnections_total{reason="closed"} 1
rehome_device_disconnections_total{reason="unreachable"} 2
# HELP rehome_device_dps_requests_total Requests to DPS that have ended.
# TYPE rehome_device_dps_requests_total counter
rehome_device_dps_requests_total{kind="register",outcome="ok",reason="nothing remembered"} 1
rehome_device_dps_requests_total{kind="register",outcome="ok",reason="rejected by the hub"} 1
rehome_device_dps_requests_total{kind="register",outcome="throttled",reason="nothing remembered"} 1
rehome_device_dps_requests_total{kind="time",outcome="ok",reason="rejected by the hub"} 1
# HELP rehome_device_hub_attempts_total Attempts at a hub that have ended.
# TYPE rehome_device_hub_attempts_total counter
rehome_device_hub_attempts_total{hub="hub-a.azure-devices.net",operation="connect",outcome="ok"} 2
rehome_device_hub_attempts_total{hub="hub-a.azure-devices.net",operation="connect",outcome="rejected"} 1
rehome_device_hub_attempts_total{hub="hub-a.azure-devices.net",operation="connect",outcome="server"} 2
rehome_device_hub_attempts_total{hub="hub-b.azure-devices.net",operation="connect",outcome="ok"} 1
# HELP rehome_device_messages_acknowledged_total Messages of Send that a hub has acknowledged.
# TYPE rehome_device_messages_acknowledged_total counter
rehome_device_messages_acknowledged_total 9
# HELP rehome_device_messages_in_flight Messages of Send that wait for a place or an acknowledgement.
# TYPE rehome_device_messages_in_flight gauge
rehome_device_messages_in_flight 0
# HELP rehome_device_messages_sent_total Messages of Send, but for those that it refused.
# TYPE rehome_device_messages_sent_total counter
rehome_device_messages_sent_total 9
# HELP rehome_device_moves_total Assignments to another hub or device ID than before.
# TYPE rehome_device_moves_total counter
rehome_device_moves_total 1
`

func TestTheExpositionOfALifeIsWhatTheSimulatorsHaveSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &promdevice.Collector{}
		l := measuretest.Start(t, c.Trace)
		require.NoError(t, l.FirstBoot())
		gauges := gathered(t, c)
		assert.Equal(t, 1.0, gauges[`rehome_devices{state="connected"}`])
		assert.Equal(t, 0.0, gauges[`rehome_devices{state="waiting"}`])
		assert.Zero(t, gauges["rehome_device_down_longest_seconds"])

		require.NoError(t, l.HubAway())
		require.NoError(t, l.Move())
		l.End()
		var names []string
		for line := range strings.Lines(exposition) {
			if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
				names = append(names, strings.Fields(name)[0])
			}
		}
		assert.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(exposition), names...))
		assert.Equal(t, 3, l.DPS.Count(dpstest.Register))
		assert.Equal(t, 1, l.DPS.Count(dpstest.Clock))
		assert.Len(t, l.Hub.Attempts(), 5)
		assert.Len(t, l.OtherHub.Attempts(), 1)
		assert.Equal(t, 9, len(l.Hub.Messages())+len(l.OtherHub.Messages()))

		got := gathered(t, c)
		assert.Equal(t, float64(l.Calls["store failed"]), got["rehome_device_store_failures_total"])
		assert.Positive(t, l.Calls["store failed"])
		assert.Equal(t, 3.0, got["rehome_device_disconnected_duration_seconds"])
		assert.Equal(t, 4.0, got[`rehome_device_dps_request_duration_seconds{kind="register"}`]+
			got[`rehome_device_dps_request_duration_seconds{kind="time"}`])
		assert.Equal(t, 1.0, got[`rehome_device_retry_after_seconds{service="dps"}`])
		assert.Greater(t, got[`rehome_device_network_bytes_total{direction="sent"}`], 1000.0)
		assert.Equal(t, 4, l.Calls["response"], "the program's own hooks are called, too")
		assert.Zero(t, got[`rehome_devices{state="connected"}`])
	})
}

// gathered returns each time series with its value: of a histogram, how many there are.
func gathered(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, r.Register(c))
	families, err := r.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				if l.GetValue() != "" {
					labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
				}
			}
			name := f.GetName()
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() +
				float64(m.GetHistogram().GetSampleCount())
		}
	}
	return got
}
