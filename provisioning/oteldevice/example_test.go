// SPDX-License-Identifier: Apache-2.0

package oteldevice_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/oteldevice"
)

// A program sets up OpenTelemetry's SDK, with an exporter in place of what only remembers here.
func Example() {
	reader, spans := metric.NewManualReader(), tracetest.NewSpanRecorder()
	tel := &oteldevice.Telemetry{
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(reader)),
		TracerProvider: trace.NewTracerProvider(trace.WithSpanProcessor(spans)),
	}
	defer tel.Close()

	s := devicetest.New() // a program has a Device of its own, without the simulators
	defer s.Close()
	s.Device.Trace = tel.Trace(nil)
	err := s.Device.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
		return hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
	})

	for _, span := range spans.Ended() {
		fmt.Println("span:", span.Name())
	}
	var collected metricdata.ResourceMetrics
	fmt.Println(err, reader.Collect(context.Background(), &collected))
	for _, m := range collected.ScopeMetrics[0].Metrics {
		if m.Name == "messaging.client.sent.messages" {
			fmt.Println(m.Name, m.Data.(metricdata.Sum[int64]).DataPoints[0].Value, m.Unit)
		}
	}
	// Output:
	// span: dps register
	// span: hub connect
	// span: device connect
	// <nil> <nil>
	// messaging.client.sent.messages 1 {message}
}
