// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/natskv/embedded"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// replica starts a gateway as one of several, with a directory of its own.
func (s *site) replica(t *testing.T, name, list, nats string) *process {
	t.Helper()
	return launch(t, append(s.flags(list), "-dir", filepath.Join(s.dir, name), "-replica", name,
		"-nats", nats, "-lease", "5s"))
}

// figure is the value of one of the gateway's metrics that have no labels.
func (p *process) figure(name string) int {
	p.t.Helper()
	_, _, text := p.request("GET", "/metrics", "")
	m := regexp.MustCompile(`(?m)^rehome_gateway_` + name + ` (\d+)$`).FindStringSubmatch(text)
	require.NotNil(p.t, m, name)
	n, err := strconv.Atoi(m[1])
	require.NoError(p.t, err)
	return n
}

// connected is how many devices a replica has connected.
func (p *process) connected() int {
	p.t.Helper()
	var list struct{ Counts map[string]int }
	_, _, text := p.request("GET", "/v1/devices?limit=1", "")
	require.NoError(p.t, json.Unmarshal([]byte(text), &list), text)
	return list.Counts["connected"]
}

func TestAnyReplicaTakesMessagesAndWhatIsKeptFollowsADeviceThatMoves(t *testing.T) {
	t.Parallel()
	server, err := embedded.Start(t.Context(), embedded.Config{
		Dir: t.TempDir(), Listen: "127.0.0.1:0",
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	s := newSite(t)
	var ids []string
	for i := range 16 {
		ids = append(ids, fmt.Sprintf("sensor-%02d", i))
	}
	list := s.list(t, ids...)
	a := s.replica(t, "a", list, server.URL())
	b := s.replica(t, "b", list, server.URL())
	shared := func() bool {
		return a.connected() > 0 && b.connected() > 0 && a.connected()+b.connected() == len(ids)
	}
	eventually(t, "both have their devices", shared)
	a.ready()
	b.ready()
	registered := s.dps.Count()

	// Each takes messages for all.
	for _, id := range ids {
		a.post(id, "1")
		b.post(id, "2")
	}
	for _, id := range ids {
		eventually(t, id, func() bool { return len(s.bodies(id)) == 2 })
		assert.Equal(t, []string{"1", "2"}, s.bodies(id))
	}
	status, _, text := b.request("POST", "/v1/devices/sensor-00/messages?%24.mid=x", "")
	assert.Equal(t, http.StatusBadRequest, status, "whichever runs it")
	assert.Contains(t, text, "$.mid")
	_, _, text = a.request("GET", "/", "")
	assert.Contains(t, text, "<dt>alive</dt><dd>a, b</dd>")
	_, _, text = a.request("GET", "/v1/devices?state=elsewhere", "")
	assert.Contains(t, text, `"replica": "b"`)
	assert.NotContains(t, text, `"replica": "a"`)

	// One leaves, the hub goes away, and the one comes back: its devices' messages follow.
	b.stop()
	eventually(t, "the other has all", func() bool { return a.connected() == len(ids) })
	s.network.SetFault(hubA, simnet.Refused)
	for _, id := range ids {
		s.hub.Disconnect(id)
	}
	for _, id := range ids {
		a.post(id, "3")
		a.post(id, "4")
	}
	assert.Equal(t, 2*len(ids), a.figure("outbox_kept_messages"))
	b = s.replica(t, "b", list, server.URL())
	eventually(t, "it has its messages", func() bool {
		kept := b.figure("outbox_kept_messages")
		return kept > 0 && kept+a.figure("outbox_kept_messages") == 2*len(ids) &&
			kept == 2*b.figure("leases_held") && a.figure("outbox_stranded_messages") == 0
	})
	assert.Equal(t, b.figure("outbox_kept_messages"), a.figure("outbox_handed_over_total"))
	s.network.SetFault(hubA, simnet.Fault(0))
	for _, id := range ids {
		eventually(t, id, func() bool { return len(s.bodies(id)) >= 4 })
		assert.Equal(t, []string{"1", "2", "3", "4"}, s.bodies(id))
	}
	assert.Equal(t, registered, s.dps.Count(), "nobody has asked DPS again")
	a.stop()
	b.stop()
}

func TestAReplicaWithoutNATSLivesIsNotReadyAndTakesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.replica(t, "a", s.list(t, "sensor-1"), "nats://user:canary@"+free(t))
	status, header, text := p.request("POST", "/v1/devices/sensor-1/messages", "a")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, "5", header.Get("Retry-After"))
	assert.Contains(t, text, "NATS does not answer")
	status, _, text = p.request("GET", "/readyz", "")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, text, "the other replicas are not known yet")
	status, _, _ = p.request("GET", "/healthz", "")
	assert.Equal(t, http.StatusOK, status)
	_, _, text = p.request("GET", "/", "")
	assert.Contains(t, text, "waiting for the other replicas")
	p.stop()
}

func TestASecondProcessOfOneNameIsToldSo(t *testing.T) {
	t.Parallel()
	server, err := embedded.Start(t.Context(), embedded.Config{
		Dir: t.TempDir(), Listen: "127.0.0.1:0",
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	s := newSite(t)
	list := s.list(t, "sensor-1")
	a := s.replica(t, "a", list, server.URL())
	a.ready()
	other := launch(t, append(s.flags(list), "-dir", filepath.Join(s.dir, "other"),
		"-replica", "a", "-nats", server.URL(), "-lease", "5s"))
	assert.Equal(t, 1, other.wait())
	assert.Contains(t, other.stderr(), "another process runs under this replica's name")
	assert.True(t, strings.HasPrefix(lastLine(other.stderr()), "gateway: "))
	a.stop()
}

func lastLine(text string) string { return text[strings.LastIndex(text, "\n")+1:] }
