// SPDX-License-Identifier: Apache-2.0

package oteldevice_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/measure/measuretest"
	"github.com/rehome-iot/rehome/provisioning"
)

// fleet yields a device in trouble, with a certificate, and a module of it.
func fleet(yield func(string, provisioning.Status) bool) {
	s := provisioning.Status{
		State: provisioning.StateWaiting, Err: &hubconn.Error{Class: hubconn.Throttled},
		DownSince: time.Now().Add(-time.Hour), RetryAfter: time.Now().Add(time.Minute),
	}
	s.Certificate.ValidUntil = time.Now().Add(24 * time.Hour)
	module := s
	module.ModuleID = "camera"
	_ = yield("sensor-1", s) && yield("sensor-1", module)
}

// everything is all that can be exported of metrics, in a bubble of virtual time.
func everything(
	t *testing.T, perDevice bool,
) (series map[string]float64, all []metricdata.Metrics) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSDK()
		s.Devices, s.PerDevice = fleet, perDevice
		l := measuretest.Start(t, s.Trace)
		require.NoError(t, l.FirstBoot())
		require.NoError(t, l.HubAway())
		require.NoError(t, l.Move())
		l.End()
		series, all = s.collect(t)
	})
	return series, all
}

func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	return string(text)
}

func TestThePageOfMetricsHasEachNameAndNoOther(t *testing.T) {
	text := page(t)
	short := map[string]string{} // names of attributes, as the page shortens them
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z._]+)` \\| ([a-z]+) \\| [^|]*\\|$").
		FindAllStringSubmatch(text, -1) {
		short[m[1]] = m[2]
	}
	listed, there := map[string]string{}, map[string]string{}
	row := "(?m)^\\| `([a-z_]+\\.[a-z._]+)` \\| ([a-z]+) \\| `([^`]+)` \\| ([a-z, ]*?) ?\\|$"
	for _, m := range regexp.MustCompile(row).FindAllStringSubmatch(text, -1) {
		assert.NotContains(t, listed, m[1], "it is there twice")
		attrs := strings.Split(m[4], ", ")
		slices.Sort(attrs)
		listed[m[1]] = m[2] + " " + m[3] + " " + strings.Join(attrs, ", ")
	}
	_, all := everything(t, false)
	for _, m := range all {
		kind, sets := kindOf(t, m)
		var attrs []string
		for _, set := range sets {
			for _, kv := range set.ToSlice() {
				word, ok := short[string(kv.Key)]
				assert.True(t, ok, "the page lacks the attribute %s", kv.Key)
				if !slices.Contains(attrs, word) {
					attrs = append(attrs, word)
				}
			}
		}
		slices.Sort(attrs)
		there[m.Name] = kind + " " + m.Unit + " " + strings.Join(attrs, ", ")
		assert.NotEmpty(t, m.Description, m.Name)
	}
	assert.Equal(t, there, listed)
}

// kindOf is what a metric is called on the page, and the attributes of its time series.
func kindOf(t *testing.T, m metricdata.Metrics) (kind string, sets []attribute.Set) {
	t.Helper()
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
		if data.IsMonotonic {
			return "counter", sets
		}
		return "updowncounter", sets
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
		return "gauge", sets
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
		return "histogram", sets
	}
	t.Errorf("%s is a %T", m.Name, m.Data)
	return "", nil
}

// https://opentelemetry.io/docs/specs/semconv/general/naming/
func TestNamesAreAsTheConventionsWantThem(t *testing.T) {
	name := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)+$`)
	unit := regexp.MustCompile(`^(s|By|\{[a-z]+\})$`)
	_, all := everything(t, true)
	require.Greater(t, len(all), 15)
	for _, m := range all {
		assert.Regexp(t, name, m.Name)
		assert.Regexp(t, unit, m.Unit, m.Name)
		_, sets := kindOf(t, m)
		for _, set := range sets {
			for _, kv := range set.ToSlice() {
				assert.Regexp(t, name, string(kv.Key))
			}
		}
	}
}

func TestASeriesForEachDeviceIsAChoice(t *testing.T) {
	shared, _ := everything(t, false)
	for series := range shared {
		assert.NotContains(t, series, "registration_id")
	}
	assert.Equal(t, 1.0, shared["rehome.device.moves{}"])
	assert.Equal(t, 2.0, shared["rehome.device.count"+
		"{error.type=throttled,rehome.device.state=waiting}"])
	assert.Equal(t, 0.0, shared["rehome.device.count{rehome.device.state=connected}"])
	assert.Equal(t, 2.0, shared["rehome.device.held_back.count{}"])

	each, _ := everything(t, true)
	assert.Equal(t, 1.0, each["rehome.device.moves{rehome.device.registration_id=sensor-042}"])
	assert.Equal(t, 1.0, each["rehome.device.count{error.type=throttled,"+
		"rehome.device.module_id=camera,rehome.device.registration_id=sensor-1,"+
		"rehome.device.state=waiting}"])
	assert.Greater(t, each["rehome.device.down.longest"+
		"{rehome.device.registration_id=sensor-1}"], 3599.0)
	assert.Greater(t, each["rehome.device.certificate.time_to_expiry"+
		"{rehome.device.registration_id=sensor-1}"], 80000.0)
}

func TestThePageOfMetricsHasEachSpanEventAndAttribute(t *testing.T) {
	text := page(t)
	synctest.Test(t, func(t *testing.T) {
		s := newSDK()
		l := measuretest.Start(t, s.Trace)
		require.NoError(t, l.FirstBoot())
		require.NoError(t, l.HubAway())
		require.NoError(t, l.Move())
		l.End()
		events := map[string]bool{}
		for _, span := range s.spans.Ended() {
			assert.Contains(t, text, "`"+span.Name()+"`")
			for _, kv := range span.Attributes() {
				assert.Contains(t, text, "`"+string(kv.Key)+"`", span.Name())
			}
			for _, e := range span.Events() {
				events[e.Name] = true
				assert.Contains(t, text, "`"+e.Name+"`")
			}
		}
		assert.Len(t, events, 4)
	})
}
