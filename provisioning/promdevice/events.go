// SPDX-License-Identifier: Apache-2.0

package promdevice

import "github.com/prometheus/client_golang/prometheus"

// events are the metrics of what hooks tell, when it happens. Names, units and types are as
// Prometheus advises: base units, _total on what only grows.
// https://prometheus.io/docs/practices/naming/
type events struct {
	requests        *prometheus.CounterVec
	requestDuration *prometheus.HistogramVec
	attempts        *prometheus.CounterVec
	attemptDuration *prometheus.HistogramVec
	disconnected    prometheus.Histogram
	retryAfter      *prometheus.HistogramVec
	moves           prometheus.Counter
	storeFailures   prometheus.Counter
}

// Buckets of the histograms, in seconds: of what a service takes to respond, of how long it may ask
// to be left alone, and of an outage.
var (
	responseBuckets = []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300}
	waitBuckets     = []float64{1, 5, 10, 30, 60, 120, 300, 900, 3600, 21600, 86400}
	outageBuckets   = []float64{1, 5, 10, 30, 60, 300, 900, 1800, 3600, 21600, 86400}
)

func newEvents() events {
	return events{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rehome_device_dps_requests_total",
			Help: "Requests to DPS that have ended.",
		}, []string{"kind", "reason", "outcome"}),
		requestDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "rehome_device_dps_request_duration_seconds",
			Help:    "How long a request to DPS took, polls and waits included.",
			Buckets: responseBuckets,
		}, []string{"kind"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rehome_device_hub_attempts_total",
			Help: "Attempts at a hub that have ended.",
		}, []string{"operation", "hub", "outcome"}),
		attemptDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "rehome_device_hub_attempt_duration_seconds",
			Help:    "How long an attempt at a hub took.",
			Buckets: responseBuckets,
		}, []string{"operation"}),
		disconnected: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "rehome_device_disconnected_duration_seconds",
			Help:    "How long a device was not connected, when it is again.",
			Buckets: outageBuckets,
		}),
		retryAfter: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "rehome_device_retry_after_seconds",
			Help:    "How long a service is to be left alone after a failure.",
			Buckets: waitBuckets,
		}, []string{"service"}),
		moves: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rehome_device_moves_total",
			Help: "Assignments to another hub or device ID than before.",
		}),
		storeFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rehome_device_store_failures_total",
			Help: "Entries that could not be read, used or stored.",
		}),
	}
}

func (e *events) all() []prometheus.Collector {
	return []prometheus.Collector{
		e.requests, e.requestDuration, e.attempts, e.attemptDuration, e.disconnected, e.retryAfter,
		e.moves, e.storeFailures,
	}
}
