// SPDX-License-Identifier: Apache-2.0

package promdevice

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rehome-iot/rehome/internal/measure"
	"github.com/rehome-iot/rehome/provisioning"
)

// The metrics of what is so when Prometheus scrapes.
var (
	devicesDesc = desc("rehome_devices",
		"Devices by state and what keeps them from being connected.", "state", "trouble")
	downDesc = desc("rehome_device_down_longest_seconds",
		"How long the device has been down that has been so the longest.")
	heldBackDesc = desc("rehome_devices_held_back",
		"Devices that DPS or a hub has asked to wait.")
	clockDesc = desc("rehome_devices_clock_suspect",
		"Devices whose clock cannot be right.")
	expiryDesc = desc("rehome_device_certificate_first_expiry_timestamp_seconds",
		"When the first of the issued certificates expires.")
	endedDesc = desc("rehome_device_disconnections_total",
		"Connections to hubs that have ended.", "reason")
	sentDesc = desc("rehome_device_messages_sent_total",
		"Messages of Send, but for those that it refused.")
	acknowledgedDesc = desc("rehome_device_messages_acknowledged_total",
		"Messages of Send that a hub has acknowledged.")
	inFlightDesc = desc("rehome_device_messages_in_flight",
		"Messages of Send that wait for a place or an acknowledgement.")
	networkDesc = desc("rehome_device_network_bytes_total",
		"What TCP has carried on connections to hubs.", "direction")
	renewalsDesc = desc("rehome_device_credential_renewals_total",
		"Renewals of tokens and changes of credentials, while connected.", "credential")
)

// The metrics of each device.
var (
	connectedDesc = perDevice("rehome_device_connected",
		"Whether the device is connected.")
	downSinceDesc = perDevice("rehome_device_down_seconds",
		"How long the device has had no connection that works.")
	failedDesc = perDevice("rehome_device_failed_attempts",
		"Attempts at the hub and DPS that have failed since the device is down.")
	deviceExpiryDesc = perDevice("rehome_device_certificate_expiry_timestamp_seconds",
		"When the device's issued certificate expires.")
	infoDesc = perDevice("rehome_device_info",
		"Always 1: which hub the device is at or tries, and where that name is from.",
		"hub", "source")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func perDevice(name, help string, labels ...string) *prometheus.Desc {
	return desc(name, help, append([]string{"device", "module"}, labels...)...)
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	c.once.Do(c.start)
	for _, e := range c.events.all() {
		e.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{
		devicesDesc, downDesc, heldBackDesc, clockDesc, expiryDesc, endedDesc, sentDesc,
		acknowledgedDesc, inFlightDesc, networkDesc, renewalsDesc,
	} {
		ch <- d
	}
	if !c.PerDevice {
		return
	}
	for _, d := range []*prometheus.Desc{
		connectedDesc, downSinceDesc, failedDesc, deviceExpiryDesc, infoDesc,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.once.Do(c.start)
	for _, e := range c.events.all() {
		e.Collect(ch)
	}
	c.collectSummary(ch)
	c.collectTraffic(ch)
	if !c.PerDevice {
		return
	}
	now := time.Now()
	for name, s := range c.devices.Statuses() {
		collectDevice(ch, name, &s, now)
	}
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (c *Collector) collectSummary(ch chan<- prometheus.Metric) {
	sum := c.devices.Summary()
	for doing, n := range sum.Devices {
		gauge(ch, devicesDesc, float64(n), string(doing.State), doing.Trouble)
	}
	gauge(ch, downDesc, sum.Longest.Seconds())
	gauge(ch, heldBackDesc, float64(sum.HeldBack))
	gauge(ch, clockDesc, float64(sum.ClockSuspect))
	if !sum.FirstExpiry.IsZero() {
		gauge(ch, expiryDesc, float64(sum.FirstExpiry.Unix()))
	}
}

func (c *Collector) collectTraffic(ch chan<- prometheus.Metric) {
	t := c.devices.Traffic()
	for word, n := range t.Ended {
		if word == "" {
			word = "closed"
		}
		counter(ch, endedDesc, float64(n), word)
	}
	counter(ch, sentDesc, float64(t.Sent))
	counter(ch, acknowledgedDesc, float64(t.Acknowledged))
	gauge(ch, inFlightDesc, float64(t.InFlight))
	counter(ch, networkDesc, float64(t.BytesSent), "sent")
	counter(ch, networkDesc, float64(t.BytesReceived), "received")
	counter(ch, renewalsDesc, float64(t.Renewed), "token")
	counter(ch, renewalsDesc, float64(t.Swapped), "credential")
}

func collectDevice(
	ch chan<- prometheus.Metric, name measure.Name, s *provisioning.Status, now time.Time,
) {
	id, module := name.RegistrationID, name.ModuleID
	connected := 0.0
	if s.State == provisioning.StateConnected {
		connected = 1
	}
	gauge(ch, connectedDesc, connected, id, module)
	gauge(ch, downSinceDesc, measure.Down(s, now).Seconds(), id, module)
	gauge(ch, failedDesc, float64(s.DownAttempts), id, module)
	if until := s.Certificate.ValidUntil; !until.IsZero() {
		gauge(ch, deviceExpiryDesc, float64(until.Unix()), id, module)
	}
	gauge(ch, infoDesc, 1, id, module, s.Hub.Host, string(s.Source))
}
