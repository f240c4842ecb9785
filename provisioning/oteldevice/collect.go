// SPDX-License-Identifier: Apache-2.0

package oteldevice

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/rehome-iot/rehome/internal/measure"
	"github.com/rehome-iot/rehome/provisioning"
)

// collect observes what is so now.
func (t *Telemetry) collect(_ context.Context, o metric.Observer) error {
	if !t.PerDevice {
		t.collectSummary(o)
		traffic := t.devices.Traffic()
		t.collectTraffic(o, "", &traffic)
		return nil
	}
	now := time.Now()
	for name, s := range t.devices.Statuses() {
		t.collectDevice(o, name.RegistrationID, &s, now)
	}
	byDevice := map[string]*measure.Traffic{}
	for name, traffic := range t.devices.EachTraffic() {
		sum := byDevice[name.RegistrationID]
		if sum == nil {
			sum = &measure.Traffic{}
			byDevice[name.RegistrationID] = sum
		}
		sum.Add(&traffic)
	}
	for id, traffic := range byDevice {
		t.collectTraffic(o, id, traffic)
	}
	return nil
}

func (t *Telemetry) collectSummary(o metric.Observer) {
	i, sum := &t.instruments, t.devices.Summary()
	for doing, n := range sum.Devices {
		o.ObserveInt64(i.devices, int64(n), metric.WithAttributes(doingAttrs(doing)...))
	}
	o.ObserveFloat64(i.down, sum.Longest.Seconds())
	o.ObserveInt64(i.heldBack, int64(sum.HeldBack))
	o.ObserveInt64(i.clockSuspect, int64(sum.ClockSuspect))
	if !sum.FirstExpiry.IsZero() {
		o.ObserveFloat64(i.expiry, time.Until(sum.FirstExpiry).Seconds())
	}
}

func doingAttrs(doing measure.Doing) []attribute.KeyValue {
	return append(outcome(doing.Trouble), keyState.String(string(doing.State)))
}

// collectDevice is collectSummary of one device, or of a module of it.
func (t *Telemetry) collectDevice(
	o metric.Observer, id string, s *provisioning.Status, now time.Time,
) {
	i, whom := &t.instruments, []attribute.KeyValue{keyDevice.String(id)}
	if s.ModuleID != "" {
		whom = append(whom, keyModule.String(s.ModuleID))
	}
	doing := doingAttrs(measure.Doing{State: s.State, Trouble: measure.OfStatus(s)})
	of := metric.WithAttributes(whom...)
	o.ObserveInt64(i.devices, 1, metric.WithAttributes(append(doing, whom...)...))
	o.ObserveFloat64(i.down, measure.Down(s, now).Seconds(), of)
	o.ObserveInt64(i.heldBack, one(s.RetryAfter.After(now)), of)
	o.ObserveInt64(i.clockSuspect, one(s.ClockSuspect), of)
	if until := s.Certificate.ValidUntil; !until.IsZero() {
		o.ObserveFloat64(i.expiry, until.Sub(now).Seconds(), of)
	}
}

func one(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

// collectTraffic observes what has happened on connections: of one device, or of all where id is
// "".
func (t *Telemetry) collectTraffic(o metric.Observer, id string, of *measure.Traffic) {
	i := &t.instruments
	var whom []attribute.KeyValue
	if id != "" {
		whom = append(whom, keyDevice.String(id))
	}
	with := func(attrs ...attribute.KeyValue) metric.ObserveOption {
		return metric.WithAttributes(append(attrs, whom...)...)
	}
	for word, n := range of.Ended {
		o.ObserveInt64(i.disconnections, int64(n), with(outcome(word)...))
	}
	mqtt := keySystem.String("mqtt")
	o.ObserveInt64(i.sent, int64(of.Sent), with(mqtt, keyMessagingName.String("send")))
	o.ObserveInt64(i.acknowledged, int64(of.Acknowledged), with())
	o.ObserveInt64(i.inFlight, int64(of.InFlight), with())
	o.ObserveInt64(i.network, of.BytesSent, with(keyDirection.String("transmit")))
	o.ObserveInt64(i.network, of.BytesReceived, with(keyDirection.String("receive")))
	o.ObserveInt64(i.renewals, int64(of.Renewed), with(keyCredential.String("token")))
	o.ObserveInt64(i.renewals, int64(of.Swapped), with(keyCredential.String("credential")))
}
