// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
)

// event is what the tests read of an event, by the names that the page tells.
type event struct {
	Position       uint64 `json:"position"`
	Kind           string `json:"kind"`
	Hub            string `json:"hub"`
	DeviceID       string `json:"deviceId"`
	RegistrationID string `json:"registrationId"`
	Operation      string `json:"operation"`
	Method         string `json:"method"`
	Path           string `json:"path"`
	Status         int    `json:"status"`
	RetryAfter     string `json:"retryAfter"`
	Reason         string `json:"reason"`
	Missed         uint64 `json:"missed"`
	Message        struct {
		Body       string            `json:"body"`
		Properties map[string]string `json:"properties"`
	} `json:"message"`
	Twin struct {
		Part  string          `json:"part"`
		Patch json.RawMessage `json:"patch"`
	} `json:"twin"`
	C2D struct {
		Outcome  string `json:"outcome"`
		Feedback bool   `json:"feedback"`
	} `json:"c2d"`
	Upload struct {
		BlobName string `json:"blobName"`
		Success  bool   `json:"success"`
	} `json:"upload"`
	Registration struct {
		Status, Substatus string
	} `json:"registration"`
}

// what is the event in a word or three.
func (e event) what() string {
	words := []string{e.Kind}
	for _, word := range []string{
		e.Operation, e.Method, e.Path, e.Message.Body, e.Twin.Part, e.C2D.Outcome,
		e.Registration.Substatus,
	} {
		if word != "" {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

type list struct {
	Events []event `json:"events"`
	Next   uint64  `json:"next"`
	More   bool    `json:"more"`
	Missed uint64  `json:"missed"`
}

// feed asks for something of the feed, with the key unless another is given.
func (p *program) get(t testing.TB, path string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.Feed+path, nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+p.FeedKey)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{TLSClientConfig: p.trust(t)}
	t.Cleanup(transport.CloseIdleConnections)
	response, err := (&http.Client{Transport: transport}).Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func (p *program) page(t testing.TB, query string) list {
	t.Helper()
	response := p.get(t, "/events?"+query)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode, "%s", body)
	var l list
	require.NoError(t, json.Unmarshal(body, &l))
	return l
}

// stream returns the events of a stream as they come, each with the ID it came with.
func (p *program) stream(t testing.TB, query string, header ...string) <-chan event {
	t.Helper()
	response := p.get(t, "/events/stream?"+query, header...)
	require.Equal(t, 200, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	events := make(chan event)
	go func() {
		defer close(events)
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			var e event
			if json.Unmarshal([]byte(data), &e) != nil {
				return
			}
			select {
			case events <- e:
			case <-t.Context().Done():
				return
			}
		}
	}()
	return events
}

// until reads a stream until an event of the kind comes.
func until(t testing.TB, events <-chan event, kind string) event {
	t.Helper()
	timeout := time.After(limit)
	for {
		select {
		case e, ok := <-events:
			require.True(t, ok, "the stream has ended")
			if e.Kind == kind {
				return e
			}
		case <-timeout:
			t.Fatalf("no event %s", kind)
		}
	}
}

const feedConfig = `{"enrollments": [{"registrationId":"kitchen","iotHubs":["` + hubA + `"],
	"attestation":{"symmetricKey":{"primaryKey":"` + key + `"}}}],` + little + `}`

func TestTheFeedShowsWhatADeviceAndItsOperatorDo(t *testing.T) {
	t.Parallel()
	p := start(t, "-config", write(t, "simulator.json", feedConfig))
	defer p.stop(t)
	live := p.stream(t, "device=kitchen")
	c := p.connect(t, p.register(t, "kitchen"), "kitchen")
	require.NoError(t, c.Send(t.Context(), hubconn.Message{
		Body: []byte("21.5"), Properties: map[string]string{"unit": "C"},
	}))
	_, err := c.Report(t.Context(), map[string]any{"firmware": "1.1"})
	require.NoError(t, err)
	err = c.Upload(
		t.Context(), "log.txt", strings.NewReader("hello"), hubconn.UploadOptions{},
	)
	require.NoError(t, err)
	p.service(t, hubA, "POST", "/devices/kitchen/messages/deviceBound", `21`, "iothub-ack", "full")
	for _, err := range c.Messages(t.Context()) {
		require.NoError(t, err)
		break // acknowledged as the loop ends
	}
	assert.True(t, until(t, live, "uploadEnded").Upload.Success)
	settled := until(t, live, "c2d")
	if settled.C2D.Outcome == "" { // it was queued
		settled = until(t, live, "c2d")
	}
	assert.Equal(t, "Success", settled.C2D.Outcome)
	assert.True(t, settled.C2D.Feedback)
	require.NoError(t, c.Close())
	until(t, live, "disconnected")

	var story []string
	for _, e := range p.page(t, "device=kitchen").Events {
		if e.Kind != "operation" {
			story = append(story, e.what())
		}
	}
	assert.Equal(t, []string{
		"registration", "request register", // it is being assigned
		"twin all", "registration initialAssignment", "request poll", "connected",
		"telemetry 21.5", "twin reported", "uploadStarted", "uploadEnded",
		"c2d", "service POST /devices/kitchen/messages/deviceBound", "c2d Success", "disconnected",
	}, story)
}

func TestAPageGoesOnWhereTheOneBeforeEnded(t *testing.T) {
	t.Parallel()
	p := start(t, "-config", write(t, "simulator.json", feedConfig))
	defer p.stop(t)
	c := p.connect(t, p.register(t, "kitchen"), "kitchen")
	for range 25 {
		require.NoError(t, c.Send(t.Context(), hubconn.Message{Body: []byte("x")}))
	}
	var got []event
	after, pages := "0", 0
	for more := true; more; pages++ {
		l := p.page(t, "kind=telemetry,refused&hub="+hubA+"&limit=10&after="+after)
		got, more = append(got, l.Events...), l.More
		after = jsonNumber(l.Next)
		assert.Zero(t, l.Missed)
	}
	assert.Len(t, got, 25)
	assert.Equal(t, 3, pages)
	for i := 1; i < len(got); i++ {
		assert.Less(t, got[i-1].Position, got[i].Position)
	}
	assert.Empty(t, p.page(t, "hub="+hubB).Events)
	assert.Empty(t, p.page(t, "device=cellar").Events)
	// one who comes back is sent what is new alone
	live := p.stream(t, "kind=telemetry", "Last-Event-ID", jsonNumber(got[23].Position))
	assert.Equal(t, got[24].Position, (<-live).Position)
	// a position of another run is none of this one
	assert.Len(t, p.page(t, "kind=telemetry&after=1000000").Events, 25)
}

func jsonNumber(n uint64) string {
	text, _ := json.Marshal(n)
	return string(text)
}

func TestAReaderThatIsLateGetsAGapAndNoDeviceWaits(t *testing.T) {
	t.Parallel()
	p := start(t, "-config", write(t, "simulator.json", strings.Replace(
		feedConfig, "{", `{"feed":{"maxEvents":10},`, 1,
	)))
	defer p.stop(t)
	stuck := p.get(t, "/events/stream") // nobody reads its body
	c := p.connect(t, p.register(t, "kitchen"), "kitchen")
	for range 50 {
		require.NoError(t, c.Send(t.Context(), hubconn.Message{Body: make([]byte, 200<<10)}))
	}
	l := p.page(t, "")
	assert.Len(t, l.Events, 10)
	assert.Greater(t, l.Missed, uint64(40))
	assert.Equal(t, l.Missed+1, l.Events[0].Position)
	e := <-p.stream(t, "after=1")
	assert.Equal(t, "gap", e.Kind)
	assert.Equal(t, l.Missed-1, e.Missed)
	// the one that was stuck reads on: it is told, too, what it missed
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	context.AfterFunc(ctx, func() { _ = stuck.Body.Close() })
	lines := bufio.NewReader(stuck.Body)
	for {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		if strings.HasPrefix(line, "event: gap") {
			break
		}
	}
}

func TestTheFeedWantsItsKeyAndSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "feed.key")
	p := start(t, "-feed-key-file", file)
	defer func() { p.stop(t) }()
	saved, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, p.FeedKey+"\n", string(saved))
	assert.GreaterOrEqual(t, len(p.FeedKey), 32)
	for _, authorization := range []string{"", "Bearer ", "Bearer x" + p.FeedKey, p.FeedKey} {
		for _, path := range []string{"/events", "/events/stream", "/nothing"} {
			response := p.get(t, path, "Authorization", authorization)
			assert.Equal(t, 401, response.StatusCode, "%s %q", path, authorization)
			assert.NotEmpty(t, response.Header.Get("WWW-Authenticate"))
		}
	}
	assert.Equal(t, 404, p.get(t, "/nothing").StatusCode)
	for query, says := range map[string]string{
		"limit=0": "limit", "limit=1001": "1000", "after=-1": "after", "devices=x": "device, hub",
		// A reader of these would wait for ever.
		"kind=telemetry,telemetri": `telemetri\" is no kind: known are telemetry, connected`,
		"hub=hub-a":                `hub-a\" is none of the hubs: hub-a.azure-devices.net`,
	} {
		response := p.get(t, "/events?"+query)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		assert.Equal(t, 400, response.StatusCode, query)
		assert.Contains(t, string(body), says)
	}
	first := p.FeedKey
	p.stop(t)
	p = start(t, "-feed-key-file", file)
	assert.Equal(t, first, p.FeedKey)
}

func TestTheFeedHasANameThatNoFaultOfDPSTakesAway(t *testing.T) {
	t.Parallel()
	p := start(t, "-faults", write(t, "faults.json", `{"steps":[
		{"at":"0s","network":{"host":"global.azure-devices-provisioning.net","fault":"resetOnAccept"}}]}`))
	defer p.stop(t)
	r, err := http.NewRequestWithContext(
		t.Context(), http.MethodGet, "https://simulator.test/simulator/events", nil,
	)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+p.FeedKey)
	transport := &http.Transport{TLSClientConfig: p.trust(t), DialContext: p.dial}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, 200, response.StatusCode)
	r, err = http.NewRequestWithContext(t.Context(), http.MethodGet, p.Feed+"/events", nil)
	require.NoError(t, err)
	_, err = (&http.Client{Transport: transport}).Do(r)
	assert.Error(t, err, "localhost is DPS's")
}
