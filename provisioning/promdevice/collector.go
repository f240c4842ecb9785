// SPDX-License-Identifier: Apache-2.0

package promdevice

import (
	"cmp"
	"iter"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rehome-iot/rehome/internal/measure"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// Collector is a [prometheus.Collector] of devices. The zero value is ready. Set its fields before
// the first use; its methods are safe for concurrent use.
type Collector struct {
	// Devices yields the status of each device of the program by its registration ID
	// (Device.Status), at each scrape; also those of modules, if their states are to be counted.
	// Nil are those devices whose Trace was called, as they were at their last change of state,
	// until they have stopped: how long a certificate is valid may then be known late.
	Devices iter.Seq2[string, provisioning.Status]

	// PerDevice adds five time series for each device, with its registration ID. By default all
	// devices share theirs, which is what thousands of them need. Devices must not yield one twice
	// then.
	PerDevice bool

	once    sync.Once
	devices measure.Devices
	events  events
}

var _ prometheus.Collector = (*Collector)(nil)

// Trace returns the Trace of any number of devices and modules, without which there are no counters
// and no durations. It calls the hooks of next, too, which may be nil: each after its own.
func (c *Collector) Trace(next *provisioning.Trace) *provisioning.Trace {
	c.once.Do(c.start)
	return measure.Compose(provisioning.Trace{
		Changed: c.changed, Response: c.response, Attempt: c.attempt, Assigned: c.assigned,
		StoreFailed: c.storeFailed,
	}, next)
}

func (c *Collector) start() {
	c.devices.All = c.Devices
	c.events = newEvents()
}

func (c *Collector) changed(s provisioning.Status) {
	if gap, ended := c.devices.Changed(&s); ended {
		c.events.disconnected.Observe(gap.Seconds())
	}
}

// outcome is the word for how something has ended.
func outcome(word string) string { return cmp.Or(word, "ok") }

func (c *Collector) response(r provisioning.DPSResponse) {
	q := &r.Request
	c.events.requests.WithLabelValues(
		q.Kind, measure.Reason(q.Reason), outcome(measure.OfDPS(r.Err)),
	).Inc()
	c.events.requestDuration.WithLabelValues(q.Kind).Observe(time.Since(r.Began).Seconds())
	c.wait("dps", r.Err)
}

func (c *Collector) attempt(a provisioning.HubAttempt) {
	c.devices.Attempt(&a)
	operation := measure.Operation(a.State)
	c.events.attempts.WithLabelValues(
		operation, a.Hub.Host, outcome(measure.OfHub(a.Err)),
	).Inc()
	c.events.attemptDuration.WithLabelValues(operation).Observe(time.Since(a.Began).Seconds())
	c.wait("hub", a.Err)
}

// wait counts for how long a service has asked to be left alone.
func (c *Collector) wait(service string, err error) {
	if wait := retry.After(err); wait > 0 {
		c.events.retryAfter.WithLabelValues(service).Observe(wait.Seconds())
	}
}

func (c *Collector) assigned(a dps.Assignment, moved bool) {
	if moved && c.devices.Hub(a.RegistrationID) != "" {
		c.events.moves.Inc()
	}
}

func (c *Collector) storeFailed(provisioning.StoreFailure) { c.events.storeFailures.Inc() }
