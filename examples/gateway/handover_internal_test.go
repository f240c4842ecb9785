// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/natskv/embedded"
	"github.com/rehome-iot/rehome/examples/gateway/identities"
	"github.com/rehome-iot/rehome/examples/gateway/intake"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

// opened is a gateway of several replicas, with its files open and nothing of it running.
func opened(t *testing.T, log *slog.Logger, ids ...string) *gateway {
	t.Helper()
	o := newOptions()
	o.dir, o.nats, o.commitInterval = t.TempDir(), "nats://none", time.Millisecond
	var list []identities.Identity
	for _, id := range ids {
		list = append(list, identities.Identity{ID: id})
	}
	g, err := open(o, list, log, func() error { return nil })
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, g.close()) })
	return g
}

// leasesOf is nothing of leases but the replica's name.
type leasesOf struct {
	lease.Leases
	name string
}

func (l leasesOf) Name() string { return l.name }

// another is replica b, which is to run every device, as replica a sees it. It answers what respond
// says.
func another(t *testing.T, respond func(p intake.Parcel) intake.Receipt) *replicas {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	conn, err := server.Connect()
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	r := &replicas{
		Leases: leasesOf{name: "a"}, conn: conn, group: "rehome", patience: time.Minute,
		members: []string{"b"},
	}
	_, err = conn.Subscribe(r.subject("b"), func(m *nats.Msg) {
		p, err := intake.ReadParcel(m.Data)
		assert.NoError(t, err)
		data, err := json.Marshal(respond(p))
		assert.NoError(t, err)
		assert.NoError(t, m.Respond(data))
	})
	require.NoError(t, err)
	return r
}

func TestWhatAnotherReplicaRefusesIsOfferedLessAndLessOften(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	ids := []string{"sensor-1", "sensor-2", "sensor-3"}
	g := opened(t, slog.New(slog.NewJSONHandler(&log, nil)), ids...)
	for _, id := range ids {
		box, err := g.box(id)
		require.NoError(t, err)
		require.NoError(t, box.Send(t.Context(), hubconn.Message{Body: []byte("kept")}))
	}
	var offers atomic.Int32
	var full atomic.Bool
	full.Store(true)
	r := another(t, func(intake.Parcel) intake.Receipt {
		offers.Add(1)
		if full.Load() {
			return intake.NewReceipt(&intake.Refusal{
				Status: http.StatusServiceUnavailable, Text: "full", RetryAfter: 5 * time.Second,
			})
		}
		return intake.NewReceipt(nil)
	})
	h := newHandOver(g, r)
	began := time.Now()
	for _, c := range []struct{ second, offers int }{
		{0, 1}, {1, 1}, {4, 1}, {5, 2}, {14, 2}, {15, 3}, {34, 3}, {35, 4}, {74, 4}, {75, 5},
		{134, 5}, {135, 6}, {194, 6}, {195, 7},
	} {
		h.pass(t.Context(), began.Add(time.Duration(c.second)*time.Second))
		assert.EqualValues(t, c.offers*len(ids), offers.Load(), "after %d s", c.second)
	}
	assert.Empty(t, log.String(), "that is nothing to tell")
	full.Store(false)
	h.pass(t.Context(), began.Add(time.Hour))
	for _, id := range ids {
		assert.Zero(t, g.keptFor(id).Kept)
		assert.EqualValues(t, 1, g.keptFor(id).HandedOver)
	}
	assert.Equal(t, 1, strings.Count(log.String(), "\n"), "one line for all: %s", log.String())
	assert.Contains(t, log.String(), `"msg":"messages handed over","devices":3,"messages":3`)
}

// What nobody can take before something is mended is told, and no sooner offered again.
func TestWhatAnotherReplicaRefusesForGoodIsTold(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	g := opened(t, slog.New(slog.NewJSONHandler(&log, nil)), "sensor-1")
	box, err := g.box("sensor-1")
	require.NoError(t, err)
	require.NoError(t, box.Send(t.Context(), hubconn.Message{Body: []byte("kept")}))
	r := another(t, func(intake.Parcel) intake.Receipt {
		return intake.NewReceipt(&intake.Refusal{Status: http.StatusBadRequest, Text: "no hub's"})
	})
	h := newHandOver(g, r)
	now := time.Now()
	h.pass(t.Context(), now)
	assert.Contains(t, log.String(), `"msg":"messages not handed over","devices":1,"cause":"no hub's"`)
	assert.Equal(t, 1, g.keptFor("sensor-1").Kept)
	h.pass(t.Context(), now)
	assert.Equal(t, 1, strings.Count(log.String(), "\n"), "%s", log.String())
}
