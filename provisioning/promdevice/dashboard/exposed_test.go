// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/measure/measuretest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/promdevice"
)

// everything is what a Collector exposes when it has told all it can, but for each device by name,
// which no query of a fleet may ask for.
func everything(t *testing.T) (families []*dto.MetricFamily) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &promdevice.Collector{Devices: func(
			yield func(string, provisioning.Status) bool,
		) {
			s := provisioning.Status{
				State: provisioning.StateWaiting, Err: &hubconn.Error{Class: hubconn.Rejected},
			}
			s.Certificate.ValidUntil = time.Now().Add(time.Hour)
			yield("sensor-1", s)
		}}
		l := measuretest.Start(t, c.Trace)
		require.NoError(t, l.FirstBoot())
		require.NoError(t, l.HubAway())
		require.NoError(t, l.Move())
		l.End()
		r := prometheus.NewPedanticRegistry()
		require.NoError(t, r.Register(c))
		var err error
		families, err = r.Gather()
		require.NoError(t, err)
	})
	return families
}

// exposed is each name that a query may ask for, with the labels it has there.
func exposed(t *testing.T) map[string]map[string]bool {
	t.Helper()
	names := map[string]map[string]bool{}
	for _, f := range everything(t) {
		labels := map[string]bool{"job": true, "instance": true} // of Prometheus itself
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = true
			}
		}
		if f.GetType() != dto.MetricType_HISTOGRAM {
			names[f.GetName()] = labels
			continue
		}
		names[f.GetName()+"_sum"], names[f.GetName()+"_count"] = labels, labels
		buckets := map[string]bool{"le": true}
		for l := range labels {
			buckets[l] = true
		}
		names[f.GetName()+"_bucket"] = buckets
	}
	return names
}
