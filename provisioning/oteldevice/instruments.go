// SPDX-License-Identifier: Apache-2.0

package oteldevice

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

// instruments are the metrics, whose names, units and kinds are as the semantic conventions want
// them: dots between namespaces, snake case within, UCUM units, {words} for counts of things,
// seconds for durations.
// https://opentelemetry.io/docs/specs/semconv/general/metrics/
type instruments struct {
	// Of what hooks tell, when it happens.
	requests        metric.Int64Counter
	requestDuration metric.Float64Histogram
	attempts        metric.Int64Counter
	attemptDuration metric.Float64Histogram
	disconnected    metric.Float64Histogram
	retryAfter      metric.Float64Histogram
	moves           metric.Int64Counter
	storeFailures   metric.Int64Counter

	// Of what is so when a reader collects.
	devices        metric.Int64ObservableUpDownCounter
	down           metric.Float64ObservableGauge
	heldBack       metric.Int64ObservableUpDownCounter
	clockSuspect   metric.Int64ObservableUpDownCounter
	expiry         metric.Float64ObservableGauge
	disconnections metric.Int64ObservableCounter
	sent           metric.Int64ObservableCounter
	acknowledged   metric.Int64ObservableCounter
	inFlight       metric.Int64ObservableUpDownCounter
	network        metric.Int64ObservableCounter
	renewals       metric.Int64ObservableCounter
}

// Buckets of the histograms, in seconds: of what a service takes to respond, of how long it may ask
// to be left alone, and of an outage.
var (
	responseBuckets = []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300}
	waitBuckets     = []float64{1, 5, 10, 30, 60, 120, 300, 900, 3600, 21600, 86400}
	outageBuckets   = []float64{1, 5, 10, 30, 60, 300, 900, 1800, 3600, 21600, 86400}
)

func (i *instruments) make(m metric.Meter) {
	i.requests = made(m.Int64Counter("rehome.dps.requests",
		metric.WithUnit("{request}"),
		metric.WithDescription("Requests to DPS that have ended.")))
	i.requestDuration = made(m.Float64Histogram("rehome.dps.request.duration",
		metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(responseBuckets...),
		metric.WithDescription("How long a request to DPS took, polls and waits included.")))
	i.attempts = made(m.Int64Counter("rehome.hub.attempts",
		metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts at a hub that have ended.")))
	i.attemptDuration = made(m.Float64Histogram("rehome.hub.attempt.duration",
		metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(responseBuckets...),
		metric.WithDescription("How long an attempt at a hub took.")))
	i.disconnected = made(m.Float64Histogram("rehome.device.disconnected.duration",
		metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(outageBuckets...),
		metric.WithDescription("How long a device was not connected, when it is again.")))
	i.retryAfter = made(m.Float64Histogram("rehome.service.retry_after",
		metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(waitBuckets...),
		metric.WithDescription("How long a service is to be left alone after a failure.")))
	i.moves = made(m.Int64Counter("rehome.device.moves",
		metric.WithUnit("{move}"),
		metric.WithDescription("Assignments to another hub or device ID than before.")))
	i.storeFailures = made(m.Int64Counter("rehome.device.store.failures",
		metric.WithUnit("{failure}"),
		metric.WithDescription("Entries that could not be read, used or stored.")))

	i.devices = made(m.Int64ObservableUpDownCounter("rehome.device.count",
		metric.WithUnit("{device}"),
		metric.WithDescription("Devices by state and what keeps them from being connected.")))
	i.down = made(m.Float64ObservableGauge("rehome.device.down.longest",
		metric.WithUnit("s"),
		metric.WithDescription("How long the device has been down that has been so the longest.")))
	i.heldBack = made(m.Int64ObservableUpDownCounter("rehome.device.held_back.count",
		metric.WithUnit("{device}"),
		metric.WithDescription("Devices that DPS or a hub has asked to wait.")))
	i.clockSuspect = made(m.Int64ObservableUpDownCounter("rehome.device.clock_suspect.count",
		metric.WithUnit("{device}"),
		metric.WithDescription("Devices whose clock cannot be right.")))
	i.expiry = made(m.Float64ObservableGauge("rehome.device.certificate.time_to_expiry",
		metric.WithUnit("s"),
		metric.WithDescription("Until the first of the issued certificates expires.")))
	i.makeTraffic(m)
}

// makeTraffic makes those of what is done on connections.
func (i *instruments) makeTraffic(m metric.Meter) {
	i.disconnections = made(m.Int64ObservableCounter("rehome.hub.disconnections",
		metric.WithUnit("{disconnection}"),
		metric.WithDescription("Connections to hubs that have ended.")))
	// Of the conventions: the messages that a producer attempted to send.
	// https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/
	i.sent = made(m.Int64ObservableCounter("messaging.client.sent.messages",
		metric.WithUnit("{message}"),
		metric.WithDescription("Number of messages producer attempted to send to the broker.")))
	i.acknowledged = made(m.Int64ObservableCounter("rehome.hub.messages.acknowledged",
		metric.WithUnit("{message}"),
		metric.WithDescription("Messages of Send that a hub has acknowledged.")))
	i.inFlight = made(m.Int64ObservableUpDownCounter("rehome.hub.messages.in_flight",
		metric.WithUnit("{message}"),
		metric.WithDescription("Messages of Send that wait for a place or an acknowledgement.")))
	i.network = made(m.Int64ObservableCounter("rehome.hub.network.io",
		metric.WithUnit("By"),
		metric.WithDescription("What TCP has carried on connections to hubs.")))
	i.renewals = made(m.Int64ObservableCounter("rehome.hub.credential.renewals",
		metric.WithUnit("{renewal}"),
		metric.WithDescription("Renewals of tokens and changes of credentials, while connected.")))
}

// observables are those that collect observes.
func (i *instruments) observables() []metric.Observable {
	return []metric.Observable{
		i.devices, i.down, i.heldBack, i.clockSuspect, i.expiry, i.disconnections, i.sent,
		i.acknowledged, i.inFlight, i.network, i.renewals,
	}
}

// made reports what could not be made. What comes with the error does nothing, and can be used.
func made[T any](instrument T, err error) T {
	if err != nil {
		otel.Handle(err)
	}
	return instrument
}
