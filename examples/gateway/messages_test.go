// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/natskv/embedded"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

func TestMessagesByHTTPReachTheHubAsTheyWereDescribed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := launch(t, s.flags(s.list(t, "sensor-1", "sensor-2")))
	p.ready()
	p.post("sensor-1", "plain", "Content-Type", "application/x-www-form-urlencoded") // as curl -d
	status, _, text := p.request("POST", "/v1/devices/SENSOR-2/messages?alert=hot&Zone=a%2Bb",
		`{"t":2}`, "Content-Type", "application/json", "Message-Id", "m-1",
		"Correlation-Id", "c-1", "Creation-Time", "2026-01-31T12:00:00Z", "Priority", "alarm")
	require.Equal(t, http.StatusAccepted, status, text)

	var got []hubtest.Message
	eventually(t, "both messages", func() bool { got = s.hub.Messages(); return len(got) == 2 })
	if got[0].DeviceID != "sensor-1" {
		got[0], got[1] = got[1], got[0]
	}
	assert.Equal(t, "plain", string(got[0].Body))
	assert.NotContains(t, got[0].System, "$.ct")
	assert.Empty(t, got[0].Properties)
	made, err := time.Parse(time.RFC3339, got[0].System["$.ctime"])
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), made, patience, "of the arrival at the gateway")

	assert.Equal(t, "sensor-2", got[1].DeviceID)
	assert.Equal(t, `{"t":2}`, string(got[1].Body))
	assert.Equal(t, map[string]string{"alert": "hot", "Zone": "a+b"}, got[1].Properties)
	assert.Equal(t, "application/json", got[1].System["$.ct"])
	assert.Equal(t, "utf-8", got[1].System["$.ce"], "what JSON is in")
	assert.Equal(t, "m-1", got[1].System["$.mid"])
	assert.Equal(t, "c-1", got[1].System["$.cid"])
	assert.Equal(t, "2026-01-31T12:00:00.000Z", got[1].System["$.ctime"])
	p.stop()
}

func TestMessagesThatCannotBeTakenAreRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := launch(t, s.flags(s.list(t, "sensor-1")))
	large := strings.Repeat("x", 256<<10)
	for name, c := range map[string]struct {
		path, body string
		header     []string
		status     int
		says       string
	}{
		"no such device": {path: "sensor-9/messages", status: 404, says: "add it to the list"},
		"too large": {
			path: "sensor-1/messages", body: large + "x", status: 413,
			says: "262144",
		},
		"too large with its properties": {
			path: "sensor-1/messages?a=b", body: large, status: 400, says: "262144",
		},
		"a reserved property": {
			path: "sensor-1/messages?%24.mid=b", status: 400, says: "$.mid",
		},
		"a property twice": {path: "sensor-1/messages?a=b&a=c", status: 400, says: "twice"},
		"a query that cannot be read": {
			path: "sensor-1/messages?floor=100%25&a=100%&b=c", status: 400, says: "percent-encoded",
		},
		"a property that is no text": {
			path: "sensor-1/messages?a=%ff", status: 400, says: "not valid text",
		},
		"a time that is none": {
			path: "sensor-1/messages", header: []string{"Creation-Time", "noon"}, status: 400,
			says: "Creation-Time",
		},
		"a compressed body": {
			path: "sensor-1/messages", header: []string{"Content-Encoding", "gzip"}, status: 415,
			says: "Content-Encoding",
		},
		"an unknown priority": {
			path: "sensor-1/messages", header: []string{"Priority", "high"}, status: 400,
			says: "alarm",
		},
		"a page of another origin": {
			path: "sensor-1/messages", status: 403, says: "cross-origin",
			header: []string{"Sec-Fetch-Site", "cross-site"},
		},
	} {
		status, _, text := p.request("POST", "/v1/devices/"+c.path, c.body, c.header...)
		assert.Equal(t, c.status, status, name)
		assert.Contains(t, text, c.says, name)
	}
	p.post("sensor-1", large[:250<<10])
	eventually(t, "the good one", func() bool { return len(s.hub.Messages()) == 1 })
	_, _, text := p.request("GET", "/metrics", "")
	assert.Contains(t, text, `rehome_gateway_messages_total{input="http",outcome="refused"} 10`)
	assert.Contains(t, text, `rehome_gateway_messages_total{input="http",outcome="kept"} 1`)
	p.stop()
}

func TestASenderIsToldWhenADeviceHasNoRoomAndNewMessagesGiveWay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.network.SetFault(hubA, simnet.Refused)
	p := launch(t, append(s.flags(s.list(t, "sensor-1", "sensor-2")), "-keep-bytes", "320K",
		"-drop", "newest"))
	body := strings.Repeat("x", 200<<10)
	p.post("sensor-1", body)
	status, header, text := p.request("POST", "/v1/devices/sensor-1/messages", body)
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, "5", header.Get("Retry-After"))
	assert.Contains(t, text, "no room for more")
	p.post("sensor-1", body, "Priority", "alarm") // which has room of its own
	p.post("sensor-2", body)
	s.network.SetFault(hubA, simnet.Fault(0))
	eventually(t, "room", func() bool {
		status, _, _ := p.request("POST", "/v1/devices/sensor-1/messages", body)
		return status == http.StatusAccepted
	})
	p.stop()
}

func TestAnOutageOfTheHubDelaysMessagesAndKeepsTheirOrder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.network.SetFault(hubA, simnet.Refused)
	p := launch(t, s.flags(s.list(t, "sensor-1")))
	p.ready() // it takes messages: an outage is no reason to restart it
	var sent []string
	for i := range 20 {
		sent = append(sent, fmt.Sprint("message ", i))
		p.post("sensor-1", sent[i])
	}
	p.post("sensor-1", "alarm", "Priority", "alarm")
	assert.Empty(t, s.hub.Messages())
	p.stop() // and they outlive the process

	s.network.SetFault(hubA, simnet.Fault(0))
	p = launch(t, s.flags(s.list(t, "sensor-1")))
	eventually(t, "all messages", func() bool { return len(s.bodies("sensor-1")) >= 21 })
	assert.Equal(t, append([]string{"alarm"}, sent...), s.bodies("sensor-1"))
	p.stop()
}

// Whatever was acknowledged reaches the hub, in its order, however often the gateway is killed.
func TestAKillLosesNoAcknowledgedMessage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	list := s.list(t, "sensor-1")
	var acknowledged []string
	for kill := range 4 {
		p := launch(t, s.flags(list))
		p.url("")
		stop := make(chan struct{})
		go func() {
			time.Sleep(time.Duration(50+137*kill) * time.Millisecond)
			_ = p.Cmd.Process.Kill()
			close(stop)
		}()
		for i := 0; ; i++ {
			body := fmt.Sprintf("%d-%d", kill, i)
			status, _, _ := p.request("POST", "/v1/devices/sensor-1/messages", body)
			if status != http.StatusAccepted {
				break
			}
			acknowledged = append(acknowledged, body)
		}
		<-stop
		<-p.Ended
	}
	require.NotEmpty(t, acknowledged)
	p := launch(t, s.flags(list))
	p.post("sensor-1", "the last")
	acknowledged = append(acknowledged, "the last")
	eventually(t, "the last message", func() bool {
		b := s.bodies("sensor-1")
		return len(b) > 0 && b[len(b)-1] == "the last"
	})
	p.stop()

	first := map[string]bool{}
	var seen []string
	for _, b := range s.bodies("sensor-1") {
		if !first[b] {
			first[b] = true
			seen = append(seen, b)
		}
	}
	at := 0
	for _, b := range acknowledged { // in seen may be some that were kept and not acknowledged
		for at < len(seen) && seen[at] != b {
			at++
		}
		require.Less(t, at, len(seen), "%s is lost, or out of order", b)
	}
}

// The largest message has room in the smallest outbox, also with a great many properties.
func TestTheLargestMessageHasRoom(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.network.SetFault(hubA, simnet.Refused)
	args := append(s.flags(s.list(t, "sensor-1")), "-keep-bytes")
	p := launch(t, append(args, "320K", "-drop", "newest"))
	var query strings.Builder
	for i := range 8000 {
		fmt.Fprintf(&query, "%x=&", i)
	}
	path := "/v1/devices/sensor-1/messages?" + strings.TrimSuffix(query.String(), "&")
	status, _, text := p.request("POST", path, strings.Repeat("x", 256<<10-31200))
	assert.Equal(t, http.StatusAccepted, status, text)
	p.post("sensor-1", strings.Repeat("x", 256<<10-200), "Priority", "alarm")
	p.stop()
	p = launch(t, append(args, "319K"))
	assert.Equal(t, 2, p.wait())
	assert.Contains(t, p.Stderr(), "-keep-bytes is no size, or too small: use 320K or more")
}

// Whichever replica is asked says the same about a message: nothing of it is lost on the way from
// one to the other.
func TestEachReplicaRefusesWhatNoHubWouldTake(t *testing.T) {
	t.Parallel()
	server, err := embedded.Start(t.Context(), embedded.Config{
		Dir: t.TempDir(), Listen: "127.0.0.1:0",
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	s := newSite(t)
	list := s.list(t, "sensor-1")
	a := s.replica(t, "a", list, server.URL())
	b := s.replica(t, "b", list, server.URL())
	a.ready()
	b.ready()
	eventually(t, "the device runs at one of two", func() bool {
		return a.figure("replicas") == 2 && b.figure("replicas") == 2 &&
			a.connected()+b.connected() == 1
	})
	for _, p := range []*process{a, b} {
		status, _, text := p.request("POST", "/v1/devices/sensor-1/messages?a=%ff", "bad")
		assert.Equal(t, http.StatusBadRequest, status)
		assert.Contains(t, text, "not valid text")
		p.post("sensor-1", "good")
	}
	eventually(t, "the good ones", func() bool { return len(s.hub.Messages()) >= 2 })
	for _, m := range s.hub.Messages() {
		assert.Equal(t, "good", string(m.Body))
	}
	a.stop()
	b.stop()
}

// A sender that waits for the next write when the gateway is asked to end hears that it was made.
func TestSendersAreAnsweredWhileTheGatewayStops(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	args := append(s.flags(s.list(t, "sensor-1")), "-commit-interval", "200ms")
	p := launch(t, args)
	p.post("sensor-1", "first") // a write: the next one is 200 ms later
	// The gateway says that it reads the body, so that no time has to be waited.
	reads, answered := make(chan struct{}), make(chan error, 1)
	trace := &httptrace.ClientTrace{Got100Continue: func() { close(reads) }}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "POST",
		p.url("/v1/devices/sensor-1/messages"), strings.NewReader("second"))
	require.NoError(t, err)
	r.Header.Set("Expect", "100-continue")
	client := &http.Client{
		Transport: &http.Transport{ExpectContinueTimeout: patience}, Timeout: patience,
	}
	go func() {
		response, err := client.Do(r)
		if err == nil {
			response.Body.Close()
			if response.StatusCode != http.StatusAccepted {
				err = fmt.Errorf("status %d", response.StatusCode)
			}
		}
		answered <- err
	}()
	select {
	case <-reads:
		p.stop()
		require.NoError(t, <-answered)
	case err := <-answered:
		require.Fail(t, "it was answered before its body was read", "%v", err)
	}
	p = launch(t, args)
	eventually(t, "both", func() bool {
		b := s.bodies("sensor-1")
		return len(b) >= 2 && b[len(b)-1] == "second"
	})
	p.stop()
}
