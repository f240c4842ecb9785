// SPDX-License-Identifier: Apache-2.0

package oteldevice_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/rehome-iot/rehome/internal/measure/measuretest"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/provisioning/oteldevice"
)

// sdk is OpenTelemetry's, as a program sets it up, but that what it exports stays here.
type sdk struct {
	reader *metric.ManualReader
	spans  *tracetest.SpanRecorder
	*oteldevice.Telemetry
}

func newSDK() *sdk {
	s := &sdk{reader: metric.NewManualReader(), spans: tracetest.NewSpanRecorder()}
	s.Telemetry = &oteldevice.Telemetry{
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(s.reader)),
		TracerProvider: trace.NewTracerProvider(trace.WithSpanProcessor(s.spans)),
	}
	return s
}

// collect returns each time series with its value: of a histogram, how many there are.
func (s *sdk) collect(t *testing.T) (series map[string]float64, all []metricdata.Metrics) {
	t.Helper()
	var rm metricdata.ResourceMetrics
	require.NoError(t, s.reader.Collect(t.Context(), &rm))
	series = map[string]float64{}
	add := func(name string, attrs attribute.Set, v float64) {
		series[name+seriesOf(attrs)] += v
	}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			all = append(all, m)
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, float64(p.Count))
				}
			default:
				t.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	return series, all
}

func seriesOf(attrs attribute.Set) string {
	var texts []string
	for _, kv := range attrs.ToSlice() {
		texts = append(texts, string(kv.Key)+"="+kv.Value.String())
	}
	return "{" + strings.Join(texts, ",") + "}"
}

func TestTheMetricsOfALifeAreWhatTheSimulatorsHaveSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSDK()
		l := measuretest.Start(t, s.Trace)
		require.NoError(t, l.FirstBoot())
		got, _ := s.collect(t)
		assert.Equal(t, 1.0, got["rehome.device.count{rehome.device.state=connected}"])
		assert.Zero(t, got["rehome.device.down.longest{}"])

		require.NoError(t, l.HubAway())
		require.NoError(t, l.Move())
		l.End()
		got, _ = s.collect(t)
		const dps, a, b = "server.address=global.azure-devices-provisioning.net",
			"server.address=" + devicetest.HubHost, "server.address=" + devicetest.OtherHubHost
		request := func(kind, reason, trouble string) float64 {
			if trouble != "" {
				trouble = "error.type=" + trouble + ","
			}
			return got["rehome.dps.requests{"+trouble+"rehome.dps.request.kind="+kind+
				",rehome.dps.request.reason="+reason+","+dps+"}"]
		}
		assert.Equal(t, 1.0, request("register", "nothing remembered", "throttled"))
		assert.Equal(t, 1.0, request("register", "nothing remembered", ""))
		assert.Equal(t, 1.0, request("time", "rejected by the hub", ""))
		assert.Equal(t, 1.0, request("register", "rejected by the hub", ""))
		assert.Equal(t, 3, l.DPS.Count(dpstest.Register))
		assert.Equal(t, 1, l.DPS.Count(dpstest.Clock))

		attempt := func(hub, trouble string) float64 {
			if trouble != "" {
				trouble = "error.type=" + trouble + ","
			}
			return got["rehome.hub.attempts{"+trouble+"rehome.hub.operation=connect,"+hub+"}"]
		}
		assert.Equal(t, 2.0, attempt(a, ""))
		assert.Equal(t, 2.0, attempt(a, "server"))
		assert.Equal(t, 1.0, attempt(a, "rejected"))
		assert.Equal(t, 1.0, attempt(b, ""))
		assert.Len(t, l.Hub.Attempts(), 5)
		assert.Len(t, l.OtherHub.Attempts(), 1)

		assert.Equal(t, 3.0, got["rehome.device.disconnected.duration{}"], "first boot, and twice")
		assert.Equal(t, 2.0, got["rehome.hub.disconnections{error.type=unreachable}"])
		assert.Equal(t, 1.0, got["rehome.hub.disconnections{}"])
		assert.Equal(t, 1.0, got["rehome.device.moves{}"])
		assert.Equal(t, float64(l.Calls["store failed"]), got["rehome.device.store.failures{}"])
		assert.Positive(t, l.Calls["store failed"])
		assert.Equal(t, 1.0, got["rehome.service.retry_after{rehome.service=dps}"])

		sent := float64(len(l.Hub.Messages()) + len(l.OtherHub.Messages()))
		assert.Equal(t, 3.0*measuretest.MessagesEach, sent)
		assert.Equal(t, sent, got["messaging.client.sent.messages"+
			"{messaging.operation.name=send,messaging.system=mqtt}"])
		assert.Equal(t, sent, got["rehome.hub.messages.acknowledged{}"])
		assert.Zero(t, got["rehome.hub.messages.in_flight{}"])
		assert.Greater(t, got["rehome.hub.network.io{network.io.direction=transmit}"], 1000.0)
		assert.Greater(t, got["rehome.hub.network.io{network.io.direction=receive}"], 1000.0)
		for series := range got {
			assert.NotContains(t, series, devicetest.DeviceID, "a series for each device")
		}
		assert.Equal(t, 4, l.Calls["response"], "the program's own hooks are called, too")
		assert.Equal(t, 4, l.Calls["request"])
		assert.Equal(t, 6, l.Calls["attempt"])
		assert.Equal(t, 2, l.Calls["assigned"])
		assert.Positive(t, l.Calls["changed"])
	})
}

// tree is what the spans tell: each with its trouble, and its children within.
const tree = `
device connect: throttled
  dps register: throttled
device connect, after it
  dps register
  hub connect hub-a.azure-devices.net
device connect, because of unreachable: server
  hub connect hub-a.azure-devices.net: server
device connect, after it, because of server: server
  hub connect hub-a.azure-devices.net: server
device connect, after it, because of server
  hub connect hub-a.azure-devices.net
device connect, because of unreachable
  hub connect hub-a.azure-devices.net: rejected
  dps time
  dps register
  hub connect hub-b.azure-devices.net
`

func TestTheSpansOfALifeAreATreeOfEfforts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSDK()
		l := measuretest.Start(t, s.Trace)
		require.NoError(t, l.FirstBoot())
		require.NoError(t, l.HubAway())
		require.NoError(t, l.Move())
		l.End()
		assert.Equal(t, tree, "\n"+drawn(s.spans.Ended()))
		assert.Len(t, s.spans.Started(), len(s.spans.Ended()), "each span that began has ended")
		for _, span := range s.spans.Ended() {
			assert.Contains(t, span.Attributes(),
				attribute.String("rehome.device.registration_id", devicetest.DeviceID))
		}
	})
}

// drawn draws spans as a tree, by when they began.
func drawn(spans []trace.ReadOnlySpan) string {
	var b strings.Builder
	slices.SortStableFunc(spans, func(a, b trace.ReadOnlySpan) int {
		return a.StartTime().Compare(b.StartTime())
	})
	for _, span := range spans {
		if span.Parent().IsValid() {
			continue
		}
		b.WriteString(described(span))
		for _, child := range spans {
			if child.Parent().SpanID() == span.SpanContext().SpanID() {
				b.WriteString("  " + described(child))
			}
		}
	}
	return b.String()
}

func described(span trace.ReadOnlySpan) string {
	value := func(key attribute.Key, of []attribute.KeyValue) string {
		for _, kv := range of {
			if kv.Key == key {
				return kv.Value.String()
			}
		}
		return ""
	}
	text := span.Name()
	if strings.HasPrefix(text, "hub ") {
		text += " " + value("server.address", span.Attributes())
	}
	if len(span.Links()) > 0 {
		text += ", after it"
	}
	for _, e := range span.Events() {
		if e.Name != "rehome.cause" || span.Parent().IsValid() {
			continue
		}
		for _, class := range []string{"unreachable", "server", "rejected"} {
			if strings.Contains(value("exception.message", e.Attributes), ": "+class) {
				text += ", because of " + class
			}
		}
	}
	return fmt.Sprintln(withTrouble(text, value("error.type", span.Attributes())))
}

func withTrouble(text, trouble string) string {
	if trouble == "" {
		return text
	}
	return text + ": " + trouble
}
