// SPDX-License-Identifier: Apache-2.0

package oteldevice

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/rehome-iot/rehome/internal/measure"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// lull is after how long an effort that nothing has followed is over.
const lull = time.Minute

// efforts are the spans of devices that do something about being connected.
type efforts struct {
	tracer trace.Tracer

	mu       sync.Mutex
	byDevice map[measure.Name]*effort
}

// effort is what is remembered of one device.
type effort struct {
	name  measure.Name
	state provisioning.State
	hub   string

	ctx  context.Context // with the span under way; nil: there is none
	span trace.Span
	idle time.Time // since when nothing is under way in it, zero if something is

	asking bool            // DPS
	asked  context.Context // of the effort in which DPS was asked
	before trace.Link      // to the effort before, which ended with a wait
}

// of returns what is remembered of a device, with mu held.
func (e *efforts) of(registrationID, moduleID string) *effort {
	if e.byDevice == nil {
		e.byDevice = map[measure.Name]*effort{}
	}
	name := measure.Name{RegistrationID: registrationID, ModuleID: moduleID}
	of := e.byDevice[name]
	if of == nil {
		of = &effort{name: name}
		e.byDevice[name] = of
	}
	return of
}

// begin has an effort be under way, since a time. cause is what has led there, nil if nothing has.
func (e *efforts) begin(of *effort, since time.Time, cause error) {
	if of.ctx != nil && !of.idle.IsZero() && time.Since(of.idle) > lull {
		of.end(of.idle)
	}
	of.idle = time.Time{}
	if of.ctx != nil {
		return
	}
	options := []trace.SpanStartOption{
		trace.WithNewRoot(), trace.WithTimestamp(since), trace.WithAttributes(of.attrs()...),
	}
	if of.before.SpanContext.IsValid() {
		options = append(options, trace.WithLinks(of.before))
	}
	of.ctx, of.span = e.tracer.Start(context.Background(), "device connect", options...)
	addCause(of.span, cause)
}

// attrs say whose a span is.
func (of *effort) attrs() []attribute.KeyValue {
	attrs := []attribute.KeyValue{keyDevice.String(of.name.RegistrationID)}
	if of.name.ModuleID != "" {
		attrs = append(attrs, keyModule.String(of.name.ModuleID))
	}
	return attrs
}

// end ends the span under way, which may have been over since before.
func (of *effort) end(at time.Time) {
	if of.ctx == nil {
		return
	}
	of.span.End(trace.WithTimestamp(at))
	of.ctx, of.span, of.idle = nil, nil, time.Time{}
}

// changed takes in a change of state.
func (e *efforts) changed(s *provisioning.Status) {
	e.mu.Lock()
	defer e.mu.Unlock()
	of := e.of(s.RegistrationID, s.ModuleID)
	of.state, of.hub = s.State, s.Hub.Host
	switch s.State {
	case provisioning.StateConnected:
		if of.ctx == nil || of.asking {
			return // DPS was asked by the program, which may lead elsewhere
		}
		of.span.SetAttributes(keyServer.String(s.Hub.Host), keySource.String(string(s.Source)))
		of.end(time.Now())
		of.before = trace.Link{}
	case provisioning.StateWaiting:
		if of.ctx == nil {
			return
		}
		of.failed(s)
		of.span.AddEvent("rehome.wait", trace.WithAttributes(waitAttrs(s)...))
		of.before = trace.Link{SpanContext: of.span.SpanContext()}
		of.end(time.Now())
	case provisioning.StateStopped:
		if of.ctx != nil {
			of.failed(s)
			of.end(time.Now())
		}
		delete(e.byDevice, of.name)
	default:
		e.begin(of, time.Now(), s.Err)
	}
}

// failed says why an effort has come to nothing; one that nothing went wrong with has been stopped.
func (of *effort) failed(s *provisioning.Status) {
	if s.Err == nil {
		return
	}
	of.span.SetAttributes(keyError.String(measure.OfStatus(s)))
	of.span.SetStatus(codes.Error, text(s.Err))
}

// waitAttrs are for how long a device waits for its next tries.
func waitAttrs(s *provisioning.Status) (attrs []attribute.KeyValue) {
	for key, at := range map[attribute.Key]time.Time{
		"rehome.hub.wait": s.NextHub, "rehome.dps.wait": s.NextDPS,
	} {
		if !at.IsZero() {
			attrs = append(attrs, key.Float64(max(time.Until(at), 0).Seconds()))
		}
	}
	return attrs
}

// request takes in that DPS is asked.
func (e *efforts) request(q provisioning.DPSRequest) {
	e.mu.Lock()
	defer e.mu.Unlock()
	of := e.of(q.RegistrationID, "")
	e.begin(of, time.Now(), q.Err)
	of.asking, of.asked = true, of.ctx
}

// response makes the span of an exchange with DPS, and returns its context.
func (e *efforts) response(r *provisioning.DPSResponse) context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	q := &r.Request
	of := e.of(q.RegistrationID, "")
	within := of.asked
	of.asking, of.asked = false, nil
	if within == nil {
		within = context.Background()
	}
	ctx, span := e.tracer.Start(within, "dps "+q.Kind,
		trace.WithTimestamp(r.Began), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(append(of.attrs(), keyKind.String(q.Kind),
			keyReason.String(q.Reason), keyServer.String(q.Endpoint))...))
	addCause(span, q.Err)
	conclude(span, measure.OfDPS(r.Err), r.Err)
	span.End()
	if of.state == provisioning.StateConnected {
		of.idle = time.Now() // unless the device has been moved
		if r.Err != nil || q.Kind == "time" {
			of.end(of.idle)
		}
	}
	return ctx
}

// assigned takes in what DPS has said, which may end what the program had asked for.
func (e *efforts) assigned(a *dps.Assignment, moved bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	of := e.of(a.RegistrationID, "")
	if of.ctx == nil {
		return
	}
	of.span.AddEvent("rehome.assigned", trace.WithAttributes(
		keyServer.String(a.Hub), keyMoved.Bool(moved),
	))
	if of.state == provisioning.StateConnected && !moved {
		of.end(time.Now())
	}
}

// attempt makes the span of an attempt at a hub, and returns its context.
func (e *efforts) attempt(a *provisioning.HubAttempt) context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	of := e.of(a.RegistrationID, a.ModuleID)
	e.begin(of, a.Began, nil)
	operation := measure.Operation(a.State)
	attrs := append(of.attrs(), keyOperation.String(operation), keyServer.String(a.Hub.Host),
		keyClient.String(a.Hub.ClientID()))
	if operation == "connect" {
		attrs = append(attrs, keySystem.String("mqtt"))
	}
	ctx, span := e.tracer.Start(of.ctx, "hub "+operation,
		trace.WithTimestamp(a.Began), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attrs...))
	conclude(span, measure.OfHub(a.Err), a.Err)
	span.End()
	return ctx
}
