// SPDX-License-Identifier: Apache-2.0

package oteldevice

import (
	"context"
	"iter"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/rehome-iot/rehome/internal/measure"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// scope names this instrumentation.
const scope = "github.com/rehome-iot/rehome/provisioning/oteldevice"

// Telemetry makes metrics and spans of what devices do. The zero value is ready. Set its fields
// before the first use; its methods are safe for concurrent use.
type Telemetry struct {
	// MeterProvider is where the metrics go. Nil is the global one; the package metric/noop has one
	// that makes none.
	MeterProvider metric.MeterProvider

	// TracerProvider is where the spans go. Nil is the global one; the package trace/noop has one
	// that makes none.
	TracerProvider trace.TracerProvider

	// Devices yields the status of each device of the program by its registration ID
	// (Device.Status), whenever a reader collects. Nil are those devices whose Trace was called, as
	// they were at their last change of state, until they have stopped: how long a certificate is
	// valid may then be known late.
	Devices iter.Seq2[string, provisioning.Status]

	// PerDevice gives metrics the registration ID as an attribute: time series for each device. By
	// default all devices share theirs, which is what thousands of them need.
	PerDevice bool

	once        sync.Once
	devices     measure.Devices
	instruments instruments
	efforts     efforts
	callback    metric.Registration
}

// Trace returns the Trace of any number of devices and modules. It calls the hooks of next, too,
// which may be nil: each after its own.
func (t *Telemetry) Trace(next *provisioning.Trace) *provisioning.Trace {
	t.once.Do(t.start)
	return measure.Compose(provisioning.Trace{
		Changed: t.changed, Request: t.efforts.request, Response: t.response, Attempt: t.attempt,
		Assigned: t.assigned, StoreFailed: t.storeFailed,
	}, next)
}

// Close ends the collection of what is measured at the time, such as the number of devices. What
// hooks tell after that is still counted. It is idempotent.
func (t *Telemetry) Close() error {
	t.once.Do(t.start)
	return t.callback.Unregister()
}

// start makes the instruments. What cannot be made is reported to OpenTelemetry's error handler, as
// instrumentations do: a device does not stop working for want of a metric.
func (t *Telemetry) start() {
	t.devices.All = t.Devices
	meters, tracers := t.MeterProvider, t.TracerProvider
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	if tracers == nil {
		tracers = otel.GetTracerProvider()
	}
	t.efforts.tracer = tracers.Tracer(scope)
	t.instruments.make(meters.Meter(scope))
	registration, err := meters.Meter(scope).RegisterCallback(
		t.collect, t.instruments.observables()...,
	)
	if err != nil {
		otel.Handle(err)
	}
	t.callback = registration
}

func (t *Telemetry) changed(s provisioning.Status) {
	if gap, ended := t.devices.Changed(&s); ended {
		t.instruments.disconnected.Record(
			context.Background(), gap.Seconds(), t.with(s.RegistrationID),
		)
	}
	t.efforts.changed(&s)
}

func (t *Telemetry) response(r provisioning.DPSResponse) {
	q, took := &r.Request, time.Since(r.Began).Seconds()
	ctx := t.efforts.response(&r)
	ended := outcome(measure.OfDPS(r.Err))
	whom := t.with(q.RegistrationID, append(ended,
		keyKind.String(q.Kind), keyServer.String(q.Endpoint))...)
	t.instruments.requestDuration.Record(ctx, took, whom)
	t.instruments.requests.Add(ctx, 1, whom,
		metric.WithAttributes(keyReason.String(measure.Reason(q.Reason))))
	t.wait(ctx, q.RegistrationID, "dps", r.Err)
}

func (t *Telemetry) attempt(a provisioning.HubAttempt) {
	t.devices.Attempt(&a)
	took := time.Since(a.Began).Seconds()
	ctx := t.efforts.attempt(&a)
	whom := t.with(a.RegistrationID, append(outcome(measure.OfHub(a.Err)),
		keyOperation.String(measure.Operation(a.State)), keyServer.String(a.Hub.Host))...)
	t.instruments.attemptDuration.Record(ctx, took, whom)
	t.instruments.attempts.Add(ctx, 1, whom)
	t.wait(ctx, a.RegistrationID, "hub", a.Err)
}

// wait records for how long a service has asked to be left alone.
func (t *Telemetry) wait(ctx context.Context, id, service string, err error) {
	if err == nil {
		return
	}
	if wait := retry.After(err); wait > 0 {
		t.instruments.retryAfter.Record(ctx, wait.Seconds(),
			t.with(id, keyService.String(service)))
	}
}

func (t *Telemetry) assigned(a dps.Assignment, moved bool) {
	before := t.devices.Hub(a.RegistrationID)
	t.efforts.assigned(&a, moved)
	if moved && before != "" {
		t.instruments.moves.Add(context.Background(), 1, t.with(a.RegistrationID))
	}
}

func (t *Telemetry) storeFailed(f provisioning.StoreFailure) {
	t.instruments.storeFailures.Add(context.Background(), 1, t.with(f.RegistrationID))
}
