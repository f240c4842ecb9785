// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/examples/gateway/intake"
	"github.com/rehome-iot/rehome/hubconn/outbox"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/fleet"
)

// deviceStatus is a device as the status page and /v1/devices tell it.
type deviceStatus struct {
	ID        string `json:"id"`
	State     string `json:"state"`             // as in the log: connected, waiting, …
	Replica   string `json:"replica,omitempty"` // which runs it, if there are several
	Hub       string `json:"hub,omitempty"`
	Cause     string `json:"cause,omitempty"`     // why it is in this state, if all is not well
	Next      string `json:"next,omitempty"`      // when something is tried again, in RFC 3339
	DownSince string `json:"downSince,omitempty"` // in RFC 3339, while it is not connected
	Kept      int    `json:"kept"`                // messages that wait for its hub
	Delivered uint64 `json:"delivered"`           // since this process was started
	Dropped   uint64 `json:"dropped"`             // since then
}

// elsewhere is the state of a device that another replica runs.
const elsewhere = "elsewhere"

func (g *gateway) describe(id string, s *fleet.Status) deviceStatus {
	d := deviceStatus{ID: id, State: g.stateOf(id, s), Hub: s.Device.Hub.Host}
	if r := g.joined.Load(); r != nil {
		if d.Replica, _ = r.holder(id); d.Replica == "" {
			d.Replica = r.Name()
		}
	}
	if d.State != elsewhere {
		d.Cause = s.Device.Cause
		if s.Err != nil && !s.NextStart.IsZero() {
			d.Cause = oneline.Of(s.Err.Error(), 300)
		}
		d.Next = moment(soonest(s.Device.NextHub, s.Device.NextDPS, s.NextStart))
		if s.Device.State != provisioning.StateConnected { // of a connected one it is history
			d.DownSince = moment(s.Device.DownSince)
		}
	}
	if kept := g.keptFor(id); kept != nil {
		d.Kept, d.Delivered, d.Dropped = kept.Kept, kept.Delivered, kept.Dropped()
	}
	return d
}

// stateOf is the state of a device in the words of the page.
func (g *gateway) stateOf(id string, s *fleet.Status) string {
	if s.Device.State == provisioning.StateStopped && !g.runsHere(id) {
		return elsewhere
	}
	return string(s.Device.State)
}

// keptFor is what is kept for a device; nil if nothing ever was.
func (g *gateway) keptFor(id string) *outbox.Stats {
	g.boxMu.Lock()
	box := g.boxes[strings.ToLower(id)]
	g.boxMu.Unlock()
	if box == nil {
		return nil
	}
	s := box.Stats()
	return &s
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func soonest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// query is what of the devices is asked for.
type query struct {
	State  string
	Text   string // part of the ID, in whatever letter case
	Offset int
	Limit  int
}

const (
	defaultLimit = 100
	longestLimit = 1000
)

func readQuery(values url.Values) (q query, err error) {
	q = query{State: values.Get("state"), Text: values.Get("q"), Limit: defaultLimit}
	number := func(name string, least, most int, field *int) {
		text := values.Get(name)
		if text == "" {
			return
		}
		n, parseErr := strconv.Atoi(text)
		if parseErr != nil || n < least || n > most {
			err = fmt.Errorf("%s: use a number from %d to %d", name, least, most)
			return
		}
		*field = n
	}
	number("offset", 0, 1<<30, &q.Offset)
	number("limit", 1, longestLimit, &q.Limit)
	return q, err
}

// find returns the devices that a query asks for, and how many fit in all.
func (g *gateway) find(q query) (found []deviceStatus, total int) {
	part := strings.ToLower(q.Text)
	for id, s := range g.statuses() {
		if q.State != "" && g.stateOf(id, &s) != q.State ||
			part != "" && !strings.Contains(strings.ToLower(id), part) {
			continue
		}
		if total++; total > q.Offset && len(found) < q.Limit {
			found = append(found, g.describe(id, &s))
		}
	}
	return found, total
}

func (g *gateway) statuses() iter.Seq2[string, fleet.Status] { return g.fleet.Status() }

// counts is how many devices are in which state.
func (g *gateway) counts() map[string]int {
	n := map[string]int{}
	for id, s := range g.statuses() {
		n[g.stateOf(id, &s)]++
	}
	return n
}

// serveDevices is /v1/devices.
func (g *gateway) serveDevices(w http.ResponseWriter, r *http.Request) {
	q, err := readQuery(r.URL.Query())
	if err != nil {
		intake.Refuse(w, &intake.Refusal{Status: http.StatusBadRequest, Text: err.Error()})
		return
	}
	found, total := g.find(q)
	if found == nil {
		found = []deviceStatus{}
	}
	writeJSON(w, struct {
		Counts  map[string]int `json:"counts"` // of all devices, by state
		Total   int            `json:"total"`  // devices that fit the query
		Offset  int            `json:"offset"`
		Devices []deviceStatus `json:"devices"`
	}{g.counts(), total, q.Offset, found})
}

// serveDevice is /v1/devices/{id}.
func (g *gateway) serveDevice(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	for other, s := range g.statuses() {
		if strings.EqualFold(other, id) {
			writeJSON(w, g.describe(other, &s))
			return
		}
	}
	intake.Refuse(w, &intake.Refusal{Status: http.StatusNotFound, Text: "there is no such device"})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(v)
}

// summary is the line that the service manager shows.
func (g *gateway) summary() string {
	n := g.counts()
	sum, _ := g.kept()
	text := fmt.Sprintf("%d of %d devices connected, %d messages kept",
		n[string(provisioning.StateConnected)], g.list.len(), sum.Kept)
	if n[elsewhere] > 0 {
		text += fmt.Sprintf(", %d devices at other replicas", n[elsewhere])
	}
	if phase, _ := g.boot.at(); phase == joining {
		text = "waiting for the other replicas, " + text
	}
	return text
}
