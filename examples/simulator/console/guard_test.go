// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// serve starts a console on a free port.
func serve(t *testing.T) (*world, *Server) {
	w := newWorld(t)
	s, err := Start("127.0.0.1:0", w.sim)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return w, s
}

// do makes a request as this page does, with changes; a header "" is left out.
func do(
	t *testing.T, s *Server, method, path, body string, headers map[string]string,
) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(
		t.Context(), method, strings.TrimSuffix(s.URL(), "/")+path, strings.NewReader(body),
	)
	require.NoError(t, err)
	all := map[string]string{"X-Console": "1", "Origin": strings.TrimSuffix(s.URL(), "/")}
	for name, value := range headers {
		all[name] = value
	}
	for name, value := range all {
		switch {
		case name == "Host":
			r.Host = value
		case value != "":
			r.Header.Set(name, value)
		}
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Contains(t, response.Header.Get("Content-Security-Policy"), "default-src 'none'")
	assert.Empty(t, response.Header.Get("Access-Control-Allow-Origin"))
	return response.StatusCode, string(data)
}

func TestOtherOriginsAreRefused(t *testing.T) {
	w, s := serve(t)
	const step = `{"steps":[{"clear":true}]}`
	for name, c := range map[string]struct {
		method, path string
		headers      map[string]string
		status       int
	}{
		"the page itself":     {"GET", "/", nil, 200},
		"a script of it":      {"GET", "/app.js", nil, 200},
		"a step":              {"POST", "/api/do", nil, 200},
		"localhost":           {"GET", "/", map[string]string{"Host": "localhost:1", "Origin": ""}, 200},
		"an address":          {"GET", "/", map[string]string{"Host": "192.0.2.7:8080", "Origin": ""}, 200},
		"without the header":  {"POST", "/api/do", map[string]string{"X-Console": ""}, 403},
		"another origin":      {"POST", "/api/do", map[string]string{"Origin": "http://evil.example"}, 403},
		"origin null":         {"POST", "/api/do", map[string]string{"Origin": "null"}, 403},
		"same port, not http": {"POST", "/api/do", map[string]string{"Origin": "https" + strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http"), "/")}, 403},
		"reading elsewhere":   {"GET", "/api/device?id=a", map[string]string{"Origin": "http://evil.example"}, 403},
		"an image elsewhere":  {"GET", "/api/device?id=a", map[string]string{"Origin": "", "Sec-Fetch-Site": "cross-site"}, 403},
		"same site elsewhere": {"GET", "/api/events", map[string]string{"Origin": "", "Sec-Fetch-Site": "same-site"}, 403},
		"a link to the page":  {"GET", "/", map[string]string{"Origin": "", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200},
		"a rebound name":      {"GET", "/", map[string]string{"Host": "evil.example", "Origin": "http://evil.example"}, 403},
		"a webhook, rebound":  {"POST", "/allocate/hub-a.net", map[string]string{"Host": "evil.example"}, 403},
		"a key by GET":        {"GET", "/api/key", nil, 404},
		"delete":              {"DELETE", "/api/do", nil, 405},
	} {
		before := len(w.steps)
		status, _ := do(t, s, c.method, c.path, step, c.headers)
		assert.Equal(t, c.status, status, name)
		if c.status != 200 {
			assert.Len(t, w.steps, before, "%s: it was done all the same", name)
		}
	}
	assert.Len(t, w.steps, 1)
}

func TestNoKeyIsShownUnlessAskedFor(t *testing.T) {
	w, s := serve(t)
	w.enroll(t, "kitchen", "hub-a.net")
	require.NoError(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "group", Attestation: dpstest.Keys(key, key),
		AllocationPolicy: dpstest.PolicyCustom,
		CustomAllocationDefinition: &dpstest.CustomAllocationDefinition{
			WebhookURL: "https://hook.example/a?code=secret", APIVersion: "2019-03-31",
		},
	}))
	_, err := w.register(t, "kitchen")
	require.NoError(t, err)
	identity, found := w.a.Get("kitchen")
	require.True(t, found)
	for _, path := range []string{"/api/enrollments", "/api/device?id=kitchen", "/api/recording"} {
		status, body := do(t, s, "GET", path, "", nil)
		assert.Equal(t, 200, status, path)
		for _, secret := range []string{key, "code=secret", identity.PrimaryKey, "SharedAccess"} {
			assert.NotContains(t, body, secret, path)
		}
	}
	status, body := do(t, s, "POST", "/api/key", `{"id":"kitchen"}`, nil)
	assert.Equal(t, 200, status)
	assert.Contains(t, body, key)
	status, _ = do(t, s, "POST", "/api/key", `{"id":"nobody"}`, nil)
	assert.Equal(t, 400, status)
}

// A page that loops over what is not there shows nothing at all.
func TestWithoutDevicesAPageGetsListsAllTheSame(t *testing.T) {
	w, s := serve(t)
	require.NoError(t, w.a.Put(hubtest.Device{ID: "by-hand"}))
	for _, id := range []string{"by-hand", "nobody"} {
		status, body := do(t, s, "GET", "/api/device?id="+id, "", nil)
		assert.Equal(t, 200, status)
		assert.Contains(t, body, `"events":[]`)
	}
	devices, hubs := new(fleet).all()
	assert.NotNil(t, devices, "of a simulator that no device has found yet")
	assert.NotNil(t, hubs)
	s.sim.Hubs = nil
	_, body := do(t, s, "GET", "/api/device?id=nobody", "", nil)
	assert.Contains(t, body, `"twins":[]`)
}

func TestTheWebhookChoosesTheHubOfItsAddress(t *testing.T) {
	w, s := serve(t)
	require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "kitchen", Attestation: dpstest.Keys(key, ""),
		AllocationPolicy: dpstest.PolicyCustom,
		CustomAllocationDefinition: &dpstest.CustomAllocationDefinition{
			WebhookURL: s.URL() + "allocate/hub-b.net", APIVersion: "2019-03-31",
		},
	}))
	a, err := w.register(t, "kitchen")
	require.NoError(t, err)
	assert.Equal(t, "hub-b.net", a.Hub)
	status, _ := do(t, s, "POST", "/allocate/elsewhere.net", "", nil)
	assert.Equal(t, 404, status)
}

func TestAPageIsSentEverythingAndThenWhatChanges(t *testing.T) {
	w, s := serve(t)
	w.enroll(t, "kitchen", "hub-a.net")
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL()+"api/events", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	next := func(name string, data any) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() != "event: "+name {
				continue
			}
			require.True(t, lines.Scan())
			text, _ := strings.CutPrefix(lines.Text(), "data: ")
			require.NoError(t, json.Unmarshal([]byte(text), data))
			return
		}
		t.Fatal("the events have ended", lines.Err())
	}
	var all snapshot
	next("everything", &all)
	assert.Empty(t, all.Devices)
	require.Len(t, all.Hubs, 2)
	assert.Equal(t, hub{Host: "hub-a.net", Linked: true, Weight: 1}, all.Hubs[0])

	go func() { _, _ = w.register(t, "kitchen") }()
	var c change
	next("change", &c)
	require.Len(t, c.Devices, 1)
	assert.Equal(t, "kitchen", c.Devices[0].ID)
	w.dps.Unlink("hub-b.net")
	var hubs []hub
	next("hubs", &hubs)
	assert.False(t, hubs[1].Linked)

	ended := make(chan error, 1)
	go func() { ended <- s.Close() }()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("an open page keeps the console from ending")
	}
}

func TestTooManyPagesAreRefusedAndSlowOnesBeginAnew(t *testing.T) {
	var w watchers
	one := w.add()
	for i := range 2 * maxBehind {
		w.tell("change", i)
	}
	assert.Len(t, one.events, maxBehind)
	assert.Len(t, one.behind, 1, "it does not know that it lost something")
	for range maxWatchers - 1 {
		require.NotNil(t, w.add())
	}
	assert.Nil(t, w.add())
	w.remove(one)
	assert.NotNil(t, w.add())
}
