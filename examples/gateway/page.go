// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/rehome-iot/rehome/examples/gateway/intake"
	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/hubconn/outbox"
	"github.com/rehome-iot/rehome/provisioning/fleet"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is what the status page shows. It has no script: what it shows is of its moment.
type page struct {
	Version    string
	Now        time.Time
	Began      time.Time
	Boot       string
	Identities int
	Counts     []stateCount
	Load       []fleet.Load
	Replicated bool
	Leased     lease.KeeperStatus
	Kept       outbox.Stats
	Stranded   int
	File       outbox.FileStats

	Query          query
	Devices        []deviceStatus
	Total          int
	First, Last    int
	Previous, Next string // links; empty: there is none
}

type stateCount struct {
	State string
	Count int
	Link  string
}

// servePage is the status page.
func (g *gateway) servePage(w http.ResponseWriter, r *http.Request) {
	q, err := readQuery(r.URL.Query())
	if err != nil {
		intake.Refuse(w, &intake.Refusal{Status: http.StatusBadRequest, Text: err.Error()})
		return
	}
	p := page{
		Version: settings.Version(), Now: time.Now(), Began: g.began, Boot: g.bootWord(),
		Identities: g.list.len(), Load: g.budget.Load(), Replicated: g.o.replicated(),
		Leased: g.fleet.Leased(), File: g.file.Stats(), Query: q,
	}
	p.Kept, p.Stranded = g.kept()
	counts := g.counts()
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		p.Counts = append(p.Counts, stateCount{state, counts[state], link(query{State: state}, 0)})
	}
	p.Devices, p.Total = g.find(q)
	p.First, p.Last = min(q.Offset+1, p.Total), q.Offset+len(p.Devices)
	if q.Offset > 0 {
		p.Previous = link(q, max(q.Offset-q.Limit, 0))
	}
	if p.Last < p.Total && len(p.Devices) > 0 {
		p.Next = link(q, p.Last)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = pageTemplate.Execute(w, p)
}

func (g *gateway) bootWord() string {
	phase, left := g.boot.at()
	switch phase {
	case joining:
		return "waiting for the other replicas"
	case starting:
		return "starting: " + strconv.Itoa(left) + " devices have had no outcome"
	case ending:
		return "stopping"
	}
	return "ready"
}

// link is the page for a query from another device on.
func link(q query, offset int) string {
	values := url.Values{}
	for name, text := range map[string]string{"state": q.State, "q": q.Text} {
		if text != "" {
			values.Set(name, text)
		}
	}
	if offset > 0 {
		values.Set("offset", strconv.Itoa(offset))
	}
	if q.Limit != 0 && q.Limit != defaultLimit {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	return "/?" + values.Encode()
}
