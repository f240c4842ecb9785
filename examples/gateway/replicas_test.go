// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/natskv/embedded"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/freeport"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

// replica starts a gateway as one of several, with a directory of its own.
func (s *site) replica(t *testing.T, name, list, url string, env ...string) *process {
	t.Helper()
	return launch(t, append(s.flags(list), "-dir", filepath.Join(s.dir, name), "-replica", name,
		"-nats", url, "-lease", "5s"), env...)
}

// server is NATS for replicas.
func server(t *testing.T) (url string) {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Config{
		Dir: t.TempDir(), Listen: "127.0.0.1:0",
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	return server.URL()
}

// send sends a message as a sender does: again, for as long as nobody says that it is kept.
func (p *process) send(device, body string) {
	p.t.Helper()
	eventually(p.t, body+" for "+device, func() bool {
		status, _, _ := p.request("POST", "/v1/devices/"+device+"/messages", body)
		return status == http.StatusAccepted
	})
}

// distinct are what the hub has of a device without what came again.
func (s *site) distinct(device string) (bodies []string) {
	for _, b := range s.bodies(device) {
		if !slices.Contains(bodies, b) {
			bodies = append(bodies, b)
		}
	}
	return bodies
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
	s, url := newSite(t), server(t)
	var ids []string
	for i := range 16 {
		ids = append(ids, fmt.Sprintf("sensor-%02d", i))
	}
	list := s.list(t, ids...)
	a := s.replica(t, "a", list, url)
	b := s.replica(t, "b", list, url)
	shared := func() bool {
		return a.connected() > 0 && b.connected() > 0 && a.connected()+b.connected() == len(ids)
	}
	eventually(t, "both have their devices", shared)
	a.ready()
	b.ready()
	registered := s.dps.Count()

	// Each takes messages for all.
	for _, id := range ids {
		a.send(id, "1")
		b.send(id, "2")
	}
	for _, id := range ids {
		eventually(t, id, func() bool { return len(s.distinct(id)) == 2 })
		assert.Equal(t, []string{"1", "2"}, s.distinct(id))
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
		a.send(id, "3")
		a.send(id, "4")
	}
	assert.GreaterOrEqual(t, a.figure("outbox_kept_messages"), 2*len(ids))
	b = s.replica(t, "b", list, url)
	eventually(t, "it has its messages", func() bool {
		return b.figure("leases_held") > 0 && a.figure("outbox_stranded_messages") == 0 &&
			b.figure("outbox_kept_messages") >= 2*b.figure("leases_held")
	})
	assert.Positive(t, a.figure("outbox_handed_over_total"))
	s.network.SetFault(hubA, simnet.Fault(0))
	for _, id := range ids {
		// Some may come again, where the one had not heard in time that the other has them.
		eventually(t, id, func() bool { return len(s.distinct(id)) >= 4 })
		assert.Equal(t, []string{"1", "2", "3", "4"}, s.distinct(id))
	}
	assert.Equal(t, registered, s.dps.Count(), "nobody has asked DPS again")
	a.stop()
	b.stop()
}

func TestAReplicaWithoutNATSLivesIsNotReadyAndTakesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	environ, said := manager(t)
	p := s.replica(t, "a", s.list(t, "sensor-1"), "nats://user:canary@"+free(t), environ)
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
	eventually(t, "it in systemctl status", func() bool {
		return strings.Contains(said(), "STATUS=waiting for the other replicas, 0 of 1 devices")
	})
	r, _ := p.await("why", 0, says("NATS does not answer: no device runs before it does"))
	assert.Equal(t, "WARN", r.Level)
	assert.Contains(t, r.Cause, "refused")
	p.stop()
}

// A server that runs alone of three has nobody to agree with, and says nothing by itself.
func TestAReplicaThatWaitsForTheOthersServersSaysSo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	peers, err := freeport.Addresses(3)
	require.NoError(t, err)
	p := launch(t, append(s.flags(s.list(t, "sensor-1")), "-replica", "a", "-cluster-listen",
		peers[0], "-cluster-peers", strings.Join(peers, ",")))
	p.await("why", 0, says("JetStream does not answer: no device runs before it does"))
	p.stop()
}

// Two sites with the same servers, the same IDs and even the same names of replicas have nothing to
// do with each other.
func TestGatewaysOfTwoNamesInOneNATSDoNotMix(t *testing.T) {
	t.Parallel()
	url := server(t)
	var ids []string
	for i := range 8 { // of which each replica has some
		ids = append(ids, fmt.Sprint("sensor-", i))
	}
	var sites []*site
	groups := [2][2]*process{}
	for i, name := range []string{"north", "south"} {
		s := newSite(t)
		sites = append(sites, s)
		for j, replica := range []string{"a", "b"} {
			groups[i][j] = launch(t, append(s.flags(s.list(t, ids...)), "-dir",
				filepath.Join(s.dir, replica), "-replica", replica, "-nats", url, "-lease", "5s",
				"-nats-name", name))
		}
	}
	for i, group := range groups {
		eventually(t, "both have devices", func() bool {
			a, b := group[0].connected(), group[1].connected()
			return a > 0 && b > 0 && a+b == len(ids)
		})
		assert.Equal(t, 2, group[0].figure("replicas"))
		for _, id := range ids { // most of them are forwarded by one of the two
			group[0].send(id, fmt.Sprint(i))
			group[1].send(id, fmt.Sprint(i))
		}
	}
	for i, s := range sites {
		for _, id := range ids {
			eventually(t, id, func() bool { return len(s.bodies(id)) >= 2 })
			assert.Equal(t, []string{fmt.Sprint(i)}, s.distinct(id))
		}
	}
	conn, err := nats.Connect(url)
	require.NoError(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	var buckets []string
	names := js.KeyValueStoreNames(t.Context())
	for name := range names.Name() {
		buckets = append(buckets, name)
	}
	require.NoError(t, names.Error())
	assert.ElementsMatch(t, []string{"north", "north-leases", "south", "south-leases"}, buckets)
	for _, group := range groups {
		group[0].stop()
		group[1].stop()
	}
}

// Lists are not changed everywhere at the same moment: meanwhile a sender hears what to wait for.
func TestReplicasReadTheirListsAgainOneAfterTheOther(t *testing.T) {
	t.Parallel()
	s, url := newSite(t), server(t)
	members := []string{"a", "b"}
	placed := func(at string) (id string) { // a device of that replica
		for i := 0; ; i++ {
			if id = fmt.Sprint("sensor-", at, i); lease.Place(id, members) == at {
				return id
			}
		}
	}
	ofA, ofB := placed("a"), placed("b")
	list := func(replica string, ids ...string) string {
		return s.write(t, replica+".csv", "registrationId\n"+strings.Join(ids, "\n")+"\n")
	}
	a := s.replica(t, "a", list("a", "first"), url)
	b := s.replica(t, "b", list("b", "first"), url)
	for _, p := range []*process{a, b} {
		eventually(t, "both", func() bool { return p.figure("replicas") == 2 })
	}
	reread := func(p *process, at *int, replica string, ids ...string) {
		list(replica, ids...)
		p.signal(syscall.SIGHUP)
		_, *at = p.await("a new list", *at, says("identities read again"))
	}
	var readA, readB int
	reread(a, &readA, "a", "first", ofA, ofB)
	a.send(ofA, "1") // and it runs it, whatever the other's list has
	eventually(t, ofA, func() bool { return len(s.distinct(ofA)) == 1 })
	status, header, text := a.request("POST", "/v1/devices/"+ofB+"/messages", "1")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, "5", header.Get("Retry-After"))
	assert.Contains(t, text, "replica b, which is to run the device, does not list it")
	status, _, _ = b.request("POST", "/v1/devices/"+ofA+"/messages", "1")
	assert.Equal(t, http.StatusNotFound, status)
	reread(b, &readB, "b", "first", ofA, ofB)
	a.send(ofB, "1")
	b.send(ofA, "2")
	eventually(t, ofB, func() bool { return len(s.distinct(ofB)) == 1 })
	eventually(t, ofA, func() bool { return len(s.distinct(ofA)) == 2 })

	// And the other way round: the one that does not run it forgets it first.
	reread(a, &readA, "a", "first")
	status, _, _ = a.request("POST", "/v1/devices/"+ofB+"/messages", "2")
	assert.Equal(t, http.StatusNotFound, status)
	b.send(ofB, "2")
	eventually(t, ofB, func() bool { return len(s.distinct(ofB)) == 2 })
	eventually(t, ofA, func() bool { return !s.hub.Connected(ofA) })
	reread(b, &readB, "b", "first")
	eventually(t, ofB, func() bool { return !s.hub.Connected(ofB) })
	a.stop()
	b.stop()
}

func TestASecondProcessOfOneNameIsToldSo(t *testing.T) {
	t.Parallel()
	s, url := newSite(t), server(t)
	list := s.list(t, "sensor-1")
	a := s.replica(t, "a", list, url)
	a.ready()
	other := launch(t, append(s.flags(list), "-dir", filepath.Join(s.dir, "other"),
		"-replica", "a", "-nats", url, "-lease", "5s"))
	assert.Equal(t, 1, other.wait())
	assert.Contains(t, other.Stderr(), "another process runs under this replica's name")
	assert.True(t, strings.HasPrefix(lastLine(other.Stderr()), "gateway: "))
	a.stop()
}

func lastLine(text string) string { return text[strings.LastIndex(text, "\n")+1:] }
