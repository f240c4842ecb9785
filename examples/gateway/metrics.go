// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"maps"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/rehome-iot/rehome/examples/gateway/intake"
	"github.com/rehome-iot/rehome/hubconn/outbox"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/promdevice"
)

// metrics are what Prometheus is told: of the devices what the dashboard of promdevice shows, of
// the outboxes and the replicas what README.md lists.
type metrics struct {
	registry *prometheus.Registry
	devices  *promdevice.Collector
	intake   *prometheus.CounterVec
}

func newMetrics(g *gateway) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		devices: &promdevice.Collector{Devices: func(yield func(string, provisioning.Status) bool) {
			for id, s := range g.fleet.Status() {
				if !yield(id, s.Device) {
					return
				}
			}
		}},
		intake: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rehome_gateway_messages_total",
			Help: "Messages of senders, by how they came and what became of them.",
		}, []string{"input", "outcome"}),
	}
	for _, input := range []string{"http", "mqtt"} {
		for _, outcome := range []string{"kept", "refused", "failed"} {
			m.intake.WithLabelValues(input, outcome)
		}
	}
	m.registry.MustRegister(m.devices, m.intake, &figures{g}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// counter returns what an input calls with the outcome of each message.
func (m *metrics) counter(input string) func(error) {
	return func(err error) {
		outcome := "kept"
		if err != nil {
			outcome = "failed"
			if r, ok := errors.AsType[*intake.Refusal](err); ok && r.Permanent() {
				outcome = "refused"
			}
		}
		m.intake.WithLabelValues(input, outcome).Inc()
	}
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("rehome_gateway_"+name, help, labels, nil)
}

var (
	identitiesDesc = describe("identities", "Identities that the list has.")
	keptDesc       = describe("outbox_kept_messages", "Messages that are kept for the hubs.")
	keptBytesDesc  = describe("outbox_kept_bytes", "Bytes that they take.")
	fileBytesDesc  = describe("outbox_file_bytes", "Size of the file that they are in.")
	deliveredDesc  = describe("outbox_delivered_total", "Messages that hubs have acknowledged.")
	resentDesc     = describe("outbox_resent_total",
		"Deliveries of messages that a hub may have had before.")
	droppedDesc = describe("outbox_dropped_total",
		"Messages that were kept and not delivered.", "reason")
	commitsDesc       = describe("outbox_commits_total", "Writes to the file, of two fsyncs each.")
	failedCommitsDesc = describe("outbox_commit_failures_total", "Writes that have failed.")
	budgetDesc        = describe("budget_waiting", "Devices that wait for their turn.", "service")
	membersDesc       = describe("replicas", "Replicas that live.")
	placedDesc        = describe("leases_placed", "Identities that are to run in this replica.")
	heldDesc          = describe("leases_held", "Identities that this replica runs.")
	unconfirmedDesc   = describe("leases_unconfirmed",
		"Identities of it that may not be connected anew at present.")
	strandedDesc = describe("outbox_stranded_messages",
		"Messages that are kept here for identities that another replica runs.")
	handedOverDesc = describe("outbox_handed_over_total",
		"Messages that were handed over to the replica that runs their identity.")
)

// figures are the metrics of what is so when Prometheus scrapes.
type figures struct{ g *gateway }

// Describe implements [prometheus.Collector].
func (f *figures) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		identitiesDesc, keptDesc, keptBytesDesc, fileBytesDesc, deliveredDesc, resentDesc,
		droppedDesc, commitsDesc, failedCommitsDesc, budgetDesc,
	} {
		ch <- d
	}
	if f.g.o.replicated() {
		for _, d := range []*prometheus.Desc{
			membersDesc, placedDesc, heldDesc, unconfirmedDesc, strandedDesc, handedOverDesc,
		} {
			ch <- d
		}
	}
}

// Collect implements [prometheus.Collector].
func (f *figures) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(identitiesDesc, float64(f.g.list.len()))
	sum, stranded := f.g.kept()
	gauge(keptDesc, float64(sum.Kept))
	gauge(keptBytesDesc, float64(sum.KeptBytes))
	counter(deliveredDesc, sum.Delivered)
	counter(resentDesc, sum.Resent)
	counter(droppedDesc, sum.DroppedFull, "full")
	counter(droppedDesc, sum.DroppedOld, "old")
	counter(droppedDesc, sum.DroppedRefused, "refused")
	counter(droppedDesc, sum.DroppedDamaged, "damaged")
	file := f.g.file.Stats()
	gauge(fileBytesDesc, float64(file.Size))
	counter(commitsDesc, file.Commits)
	counter(failedCommitsDesc, file.Failed)
	for _, l := range f.g.budget.Load() {
		gauge(budgetDesc, float64(l.Waiting), l.Host)
	}
	if f.g.o.replicated() {
		s := f.g.fleet.Leased()
		gauge(membersDesc, float64(len(s.Members)))
		gauge(placedDesc, float64(s.Placed))
		gauge(heldDesc, float64(s.Held))
		gauge(unconfirmedDesc, float64(s.Unconfirmed))
		gauge(strandedDesc, float64(stranded))
		counter(handedOverDesc, sum.HandedOver)
	}
}

// kept adds the numbers of all outboxes up, and counts the messages of those that do not run here.
func (g *gateway) kept() (sum outbox.Stats, stranded int) {
	g.boxMu.Lock()
	boxes := maps.Clone(g.boxes)
	g.boxMu.Unlock()
	for id, box := range boxes {
		s := box.Stats()
		sum.Kept += s.Kept
		sum.KeptAlarms += s.KeptAlarms
		sum.KeptBytes += s.KeptBytes
		sum.Accepted += s.Accepted
		sum.Delivered += s.Delivered
		sum.HandedOver += s.HandedOver
		sum.Resent += s.Resent
		sum.DroppedFull += s.DroppedFull
		sum.DroppedOld += s.DroppedOld
		sum.DroppedRefused += s.DroppedRefused
		sum.DroppedDamaged += s.DroppedDamaged
		if s.Kept > 0 && !g.runsHere(id) {
			stranded += s.Kept
		}
	}
	return sum, stranded
}
