// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// onWeb runs a test with one hub, its device "dev1" and a client of it, in memory and on sockets.
func onWeb(t *testing.T, f func(t *testing.T, h *Hub, c *client)) {
	anywhere(t, func(t *testing.T, n *simnet.Network) { withWeb(t, n, f) })
}

// inWeb is onWeb in memory alone, for virtual time.
func inWeb(t *testing.T, f func(t *testing.T, h *Hub, c *client)) {
	inMemory(t, func(t *testing.T, n *simnet.Network) { withWeb(t, n, f) })
}

func withWeb(t *testing.T, n *simnet.Network, f func(t *testing.T, h *Hub, c *client)) {
	h := NewHub(n, hubHost)
	require.NoError(t, h.Put(Device{ID: "dev1"}))
	f(t, h, device(t, h, "dev1"))
}

// refused reads an error in either of the hub's two shapes.
func refused(t *testing.T, response *http.Response, body string) (code int, name, message string) {
	t.Helper()
	var outer struct{ Message, ExceptionMessage string }
	require.NoError(t, json.Unmarshal([]byte(body), &outer), body)
	name = response.Header.Get("iothub-errorcode")
	require.NotEmpty(t, name)
	require.NotEmpty(t, response.Header.Get("x-ms-request-id"))
	if rest, ok := strings.CutPrefix(outer.Message, "ErrorCode:"); ok {
		require.Contains(t, outer.ExceptionMessage, "Tracking ID:")
		inBody, message, _ := strings.Cut(rest, ";")
		require.Equal(t, name, inBody)
		return 0, name, message
	}
	var inner struct {
		ErrorCode           int
		TrackingID, Message string
	}
	require.NoError(t, json.Unmarshal([]byte(outer.Message), &inner), body)
	require.NotEmpty(t, inner.TrackingID)
	return inner.ErrorCode, name, inner.Message
}

func TestEventOverHTTPS(t *testing.T) {
	onWeb(t, func(t *testing.T, h *Hub, c *client) {
		response, body := c.https("POST /messages/events", map[string]string{
			"iothub-app-room": "attic", "iothub-app-Floor": "2", "iothub-messageid": "m1",
			"iothub-correlationid": "c1", "iothub-contenttype": "text/plain",
			"iothub-contentencoding": "utf-8", "iothub-creationtimeutc": "2026-01-01T00:00:00Z",
			"dt-subject": "thermostat1", "iothub-to": "/devices/dev1/messages/events",
			"User-Agent": "test",
		}, "hello")
		assert.Equal(t, 204, response.StatusCode)
		assert.Empty(t, body)
		require.Len(t, h.Messages(), 1)
		m := h.Messages()[0]
		assert.Equal(t, "dev1", m.DeviceID)
		assert.Equal(t, "https", m.Transport)
		assert.Equal(t, "hello", string(m.Body))
		assert.Equal(t, map[string]string{"room": "attic", "Floor": "2"}, m.Properties)
		assert.Equal(t, map[string]string{
			"$.mid": "m1", "$.cid": "c1", "$.ct": "text/plain", "$.ce": "utf-8",
			"$.ctime": "2026-01-01T00:00:00Z", "$.sub": "thermostat1",
		}, m.System)
		o := h.Operations()[0]
		assert.Equal(
			t, Operation{Time: o.Time, On: Send, DeviceID: "dev1", Transport: "https", Status: 204},
			o,
		)

		require.NoError(t, h.PutModule("dev1", Module{ID: "mod1"}))
		module := device(t, h, "dev1/mod1")
		response, _ = module.https("POST /messages/events", nil, "hi")
		assert.Equal(t, 204, response.StatusCode)
		assert.Equal(t, "mod1", h.Messages()[1].ModuleID)
	})
}

func TestBatchOverHTTPS(t *testing.T) {
	onWeb(t, func(t *testing.T, h *Hub, c *client) {
		kind := map[string]string{
			"Content-Type": "application/vnd.microsoft.iothub.json; charset=utf-8",
		}
		response, _ := c.https("POST /messages/events", kind,
			`[{"body":"aGVsbG8=","properties":{"iothub-app-Room":"attic","iothub-messageid":"m1","plain":"x"}},{"body":"as it is","base64Encoded":false},{"body":""}]`)
		assert.Equal(t, 204, response.StatusCode)
		require.Len(t, h.Messages(), 3)
		assert.Equal(t, "hello", string(h.Messages()[0].Body))
		assert.Equal(
			t, map[string]string{"Room": "attic", "plain": "x"}, h.Messages()[0].Properties,
		)
		assert.Equal(t, map[string]string{"$.mid": "m1"}, h.Messages()[0].System)
		assert.Equal(t, "as it is", string(h.Messages()[1].Body))
		for _, bad := range []string{
			"", "[]", "{}", `[{}]`, `[{"body":"?"}]`, `[{"body":"aGVsbG8="}`, `[{"body":1}]`,
		} {
			response, body := c.https("POST /messages/events", kind, bad)
			code, _, _ := refused(t, response, body)
			assert.Equal(t, 400006, code, bad)
		}
		assert.Len(t, h.Messages(), 3, "all of a batch or nothing")
	})
}

func TestSizeOverHTTPS(t *testing.T) {
	onWeb(t, func(t *testing.T, h *Hub, c *client) {
		const limit = 256 << 10
		header := map[string]string{"iothub-app-ab": "cd", "iothub-messageid": "12"}
		batch := map[string]string{"Content-Type": batchType}
		element := func(size int) string {
			return `[{"body":"` + strings.Repeat("x", size) + `","base64Encoded":false}]`
		}
		frame := len(element(0))
		for _, test := range []struct {
			header map[string]string
			body   string
			status int
		}{
			{nil, strings.Repeat("x", limit), 204},
			{nil, strings.Repeat("x", limit+1), 413},
			{header, strings.Repeat("x", limit-6), 204},
			{header, strings.Repeat("x", limit-5), 413},
			{batch, element(limit - frame), 204},
			{batch, element(limit - frame + 1), 413},
			{nil, strings.Repeat("x", 2<<20), 413},
		} {
			response, body := c.https("POST /messages/events", test.header, test.body)
			assert.Equal(t, test.status, response.StatusCode, "%d bytes", len(test.body))
			if test.status == 413 {
				code, name, _ := refused(t, response, body)
				assert.Equal(t, 413001, code)
				assert.Equal(t, "MessageTooLarge", name)
			}
		}
		assert.Len(t, h.Messages(), 3)
	})
}

func TestCommandsOverHTTPS(t *testing.T) {
	onWeb(t, func(t *testing.T, h *Hub, c *client) {
		response, _ := c.https("GET /messages/deviceBound", nil, "")
		assert.Equal(t, 204, response.StatusCode, "nothing there")
		require.NoError(t, h.SendC2D("dev1", C2D{
			Body: []byte("on"), MessageID: "m1", CorrelationID: "c1", UserID: "u1",
			ContentType: "text/plain", ContentEncoding: "utf-8", Ack: "full",
			Properties: map[string]string{"room": "attic"},
		}))
		response, body := c.https("GET /messages/deviceBound", nil, "")
		require.Equal(t, 200, response.StatusCode)
		assert.Equal(t, "on", body)
		for name, want := range map[string]string{
			"iothub-messageid": "m1", "iothub-correlationid": "c1", "iothub-userid": "u1",
			"iothub-to": "/devices/dev1/messages/deviceBound", "iothub-ack": "full",
			"iothub-sequencenumber": "1", "iothub-deliverycount": "0", "iothub-app-room": "attic",
			"iothub-contenttype": "text/plain", "iothub-contentencoding": "utf-8",
		} {
			assert.Equal(t, want, response.Header.Get(name), name)
		}
		assert.Regexp(
			t, `^\d+/\d+/\d{4} \d+:\d\d:\d\d [AP]M$`, response.Header.Get("iothub-enqueuedtime"),
		)
		lock := response.Header.Get("ETag")
		assert.Regexp(t, `^"[0-9a-f-]{36}"$`, lock)
		lock = strings.Trim(lock, `"`)
		response, _ = c.https("GET /messages/deviceBound", nil, "")
		assert.Equal(t, 204, response.StatusCode, "it is locked")

		response, _ = c.https("POST /messages/deviceBound/"+lock+"/abandon", nil, "")
		assert.Equal(t, 204, response.StatusCode)
		response, body = c.https("DELETE /messages/deviceBound/"+lock, nil, "")
		assert.Equal(t, 412, response.StatusCode)
		_, name, _ := refused(t, response, body)
		assert.Equal(t, "DeviceMessageLockLost", name)

		response, _ = c.https("GET /messages/deviceBound", nil, "")
		assert.Equal(t, "1", response.Header.Get("iothub-deliverycount"))
		lock = url.PathEscape(response.Header.Get("ETag")) // with its quotes
		response, _ = c.https("DELETE /messages/devicebound/"+lock, nil, "")
		assert.Equal(t, 204, response.StatusCode)
		assert.Empty(t, h.C2DQueue("dev1"))

		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("no"), Ack: "negative"}))
		response, _ = c.https("GET /messages/deviceBound", nil, "")
		lock = strings.Trim(response.Header.Get("ETag"), `"`)
		response, _ = c.https("DELETE /messages/deviceBound/"+lock+"?reject", nil, "")
		assert.Equal(t, 204, response.StatusCode)
		assert.Equal(t, []string{"on Success", "no Rejected"}, outcomes(h.Feedback()))
		response, _ = c.https("DELETE /messages/deviceBound/x", nil, "")
		assert.Equal(t, 412, response.StatusCode)
	})
}

func TestLockEnds(t *testing.T) {
	inWeb(t, func(t *testing.T, h *Hub, c *client) {
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("a")}))
		for timeout, want := range map[string]time.Duration{
			"": time.Minute, "5": 5 * time.Second, "300": 300 * time.Second,
		} {
			path := "GET /messages/deviceBound"
			if timeout != "" {
				path += "?iothub-messagelocktimeout=" + timeout
			}
			response, _ := c.https(path, nil, "")
			require.Equal(t, 200, response.StatusCode)
			time.Sleep(want - time.Nanosecond)
			require.True(t, h.C2DQueue("dev1")[0].Locked, timeout)
			time.Sleep(time.Nanosecond)
			require.False(t, h.C2DQueue("dev1")[0].Locked, timeout)
			lock := strings.Trim(response.Header.Get("ETag"), `"`)
			response, _ = c.https("DELETE /messages/deviceBound/"+lock, nil, "")
			assert.Equal(t, 412, response.StatusCode)
		}
		for _, bad := range []string{"4", "301", "soon"} {
			response, _ := c.https(
				"GET /messages/deviceBound?iothub-messagelocktimeout="+bad, nil, "",
			)
			assert.Equal(t, 400, response.StatusCode)
		}
		for range 7 {
			response, _ := c.https("GET /messages/deviceBound", nil, "")
			require.Equal(t, 200, response.StatusCode)
			time.Sleep(time.Minute)
		}
		assert.Equal(
			t, []string{"a DeliveryCountExceeded"}, outcomes(h.SettledC2D()), "ten times in all",
		)
	})
}

// A message that an HTTPS client has let go of goes to the device's connection.
func TestCommandGoesFromHTTPSToMQTT(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("a")}))
		response, _ := c.https("GET /messages/deviceBound", nil, "")
		require.Equal(t, 200, response.StatusCode)
		require.Zero(t, c.connect(transport))
		c.subscribeAt(1, commands)
		start := time.Now()
		c.ack(c.message())
		assert.Equal(t, time.Minute, time.Since(start))
		synctest.Wait()
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("b")}))
		m := c.message()
		response, _ = c.https("GET /messages/deviceBound", nil, "")
		require.Equal(t, 204, response.StatusCode, "the connection has it")
		c.ack(m)
		c.close()
	})
}

func TestWhoMayUseHTTPS(t *testing.T) {
	for name, test := range map[string]struct {
		set     func(t *testing.T, h *Hub, c *client)
		code    int
		name    string
		message string
		reason  string // which the device is not told
	}{
		"no credential":   {func(_ *testing.T, _ *Hub, c *client) { c.password = "" }, 401, "IotHubUnauthorizedAccess", "Unauthorized", "neither token nor"},
		"nonsense":        {func(_ *testing.T, _ *Hub, c *client) { c.password = "Bearer x" }, 401003, "IotHubUnauthorized", "renew token", "does not begin with"},
		"expired":         {func(t *testing.T, h *Hub, c *client) { h.network.SetClockOffset(time.Hour + 5*time.Minute + 1) }, 401003, "IotHubUnauthorized", "renew token", "expired"},
		"another key":     {func(t *testing.T, h *Hub, c *client) { _ = h.Put(Device{ID: "dev1", PrimaryKey: "a2V5"}) }, 401003, "IotHubUnauthorized", "renew token", "another key"},
		"deleted device":  {func(_ *testing.T, h *Hub, _ *client) { h.Delete("dev1") }, 404, "DeviceNotFound", "dev1", "no such device"},
		"disabled device": {func(_ *testing.T, h *Hub, _ *client) { h.Disable("dev1") }, 404, "DeviceNotFound", "dev1", "is disabled"},
	} {
		t.Run(name, func(t *testing.T) {
			inWeb(t, func(t *testing.T, h *Hub, c *client) {
				test.set(t, h, c)
				response, body := c.https("POST /messages/events", nil, "hello")
				code, kind, message := refused(t, response, body)
				if code == 0 {
					code = response.StatusCode // the shape without a number
				}
				assert.Equal(t, test.code, code)
				assert.Equal(t, test.name, kind)
				assert.Contains(t, message, test.message)
				assert.NotContains(t, message, test.reason)
				assert.Contains(t, h.Operations()[0].Reason, test.reason)
				assert.Empty(t, h.Messages())
			})
		})
	}
}

func TestCertificateOverHTTPS(t *testing.T) {
	onWeb(t, func(t *testing.T, h *Hub, c *client) {
		cert := h.network.CA().Device("dev1")
		c.password, c.cert = "", &cert
		response, body := c.https("POST /messages/events", nil, "hello")
		code, _, _ := refused(t, response, body)
		assert.Equal(t, 401003, code)
		require.NoError(t, h.Put(Device{ID: "dev1", SecondaryThumbprint: Thumbprint(cert.Leaf)}))
		response, _ = c.https("POST /messages/events", nil, "hello")
		assert.Equal(t, 204, response.StatusCode)
	})
}

func TestRequestsThatAreNone(t *testing.T) {
	onWeb(t, func(t *testing.T, h *Hub, c *client) {
		for request, want := range map[string]int{
			"GET https://" + hubHost + "/":                                                                    404000,
			"GET https://" + hubHost + "/device":                                                              404000,
			"POST https://" + hubHost + "/devices//messages/events?api-version=1":                             404000,
			"POST https://" + hubHost + "/devices/dev1%2Fmod1/messages/events?api-version=1":                  404000,
			"POST https://" + hubHost + "/devices/dev1/modules/m/messages/deviceBound?api-version=2021-04-12": 404000,
			"POST https://" + hubHost + "/devices/dev1/modules//messages/events?api-version=2021-04-12":       404000,
			"GET /messages":           404000,
			"GET /messages/events":    405000,
			"PUT /messages/events":    405000,
			"POST /files/x":           404000,
			"GET /files":              405000,
			"GET /twin":               404000,
			"POST /methods":           404000,
			"DELETE /messages/events": 405000,
			"POST https://" + hubHost + "/devices/dev1/messages/events":                    400001,
			"POST https://" + hubHost + "/devices/dev1/messages/events?api-version=latest": 400001,
		} {
			response, body := c.https(request, nil, "")
			code, _, _ := refused(t, response, body)
			assert.Equal(t, want, code, request)
		}
		// IDs with characters that a path must escape are IDs.
		odd := "a%b#c?d:e@f"
		require.NoError(t, h.Put(Device{ID: odd}))
		response, _ := device(t, h, odd).https("POST /messages/events", nil, "hello")
		assert.Equal(t, 204, response.StatusCode)
		assert.Equal(t, odd, h.Messages()[0].DeviceID)
	})
}

// So do the SDK for C and what is built on it write the paths.
func TestASlashMayEndAPath(t *testing.T) {
	inWeb(t, func(t *testing.T, h *Hub, c *client) {
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("a")}))
		for _, request := range [][2]string{
			{"POST /messages/events/", "hello"}, {"GET /messages/deviceBound/", ""},
			{"POST /files/", `{"blobName":"a"}`},
		} {
			response, body := c.https(request[0], nil, request[1])
			assert.Less(t, response.StatusCode, 300, "%s: %s", request[0], body)
			if token := response.Header.Get("ETag"); token != "" {
				response, _ = c.https(
					"DELETE /messages/deviceBound/"+strings.Trim(token, `"`)+"/", nil, "",
				)
				assert.Equal(t, 204, response.StatusCode)
			}
		}
		assert.Len(t, h.Messages(), 1)
		id := url.PathEscape(h.Uploads()[0].CorrelationID)
		response, body := c.https("POST /files/notifications/"+id+"/", nil, `{"isSuccess":true}`)
		assert.Equal(t, 204, response.StatusCode, body)
		response, _ = c.https("POST /messages/events//", nil, "hello")
		assert.Equal(t, 404, response.StatusCode, "one, not two")
	})
}

func TestHTTPSFaults(t *testing.T) {
	for request, stage := range map[string]Stage{
		"POST /messages/events": Send, "GET /messages/deviceBound": Receive,
		"DELETE /messages/deviceBound/x": Settle, "POST /files": UploadStart,
		"POST /files/notifications": UploadNotify,
	} {
		t.Run(stage.String(), func(t *testing.T) {
			inWeb(t, func(t *testing.T, h *Hub, c *client) {
				h.Inject(Fault{
					On: stage, Status: 429, RetryAfter: "17", ErrorCode: "ThrottlingException",
					Code: 429001, Delay: time.Second,
				})
				start := time.Now()
				response, body := c.https(request, nil, "{}")
				code, _, _ := refused(t, response, body)
				assert.Equal(t, 429001, code)
				assert.Equal(t, "17", response.Header.Get("Retry-After"))
				assert.Equal(t, time.Second, time.Since(start))

				h.Inject(Fault{On: stage, Status: 502})
				response, body = c.https(request, nil, "{}")
				assert.Equal(t, 502, response.StatusCode)
				assert.Empty(t, response.Header.Get("iothub-errorcode"))
				assert.Contains(t, body, "<html>", "a proxy spoke")

				for _, f := range []Fault{{Cut: true}, {Close: true}} {
					f.On = stage
					h.Inject(f)
					_, _, err := c.tryHTTPS(request, nil, "{}")
					assert.Error(t, err)
				}
				assert.Empty(t, h.Messages())
				operations := h.Operations()
				require.Len(t, operations, 4)
				assert.Equal(t, Operation{
					Time: operations[0].Time, On: stage, DeviceID: "dev1", Transport: "https",
					Status: 429, Code: 429001,
				}, operations[0])
				assert.Zero(t, operations[3].Status)
			})
		})
	}
}

func TestEventIsStoredThoughItsAnswerIsLost(t *testing.T) {
	inWeb(t, func(t *testing.T, h *Hub, c *client) {
		for _, f := range []Fault{{Cut: true}, {Status: 500, ErrorCode: "ServerError"}} {
			f.On, f.Stored = Send, true
			h.Inject(f)
			_, _, err := c.tryHTTPS("POST /messages/events", nil, "hello")
			assert.Equal(t, f.Cut, err != nil)
		}
		assert.Len(t, h.Messages(), 2)
		h.Inject(Fault{On: Send, NoAnswer: true})
		failed := make(chan error)
		go func() {
			_, _, err := c.tryHTTPS("POST /messages/events", nil, "hello")
			failed <- err
		}()
		time.Sleep(time.Hour)
		h.network.Cut(hubHost)
		assert.Error(t, <-failed)
		assert.Len(t, h.Messages(), 2)
	})
}

func FuzzEndpoint(f *testing.F) {
	f.Add("POST", "/devices/dev1/messages/events", "")
	f.Add("DELETE", "/devices/dev1/messages/deviceBound/x", "reject")
	f.Add("POST", "/devices/d/modules/m/messages/events", "")
	f.Add("POST", "/devices/a%2fb/files/notifications/%22x%22", "")
	f.Add("POST", "/deviceſ/d/messages/events", "")
	f.Fuzz(func(t *testing.T, method, path, query string) {
		values, _ := url.ParseQuery(query)
		e, code := parseEndpoint(method, path, values)
		if code != 0 {
			require.Zero(t, e)
			require.Contains(t, []int{404000, 405000}, code)
			return
		}
		parent, module := splitID(e.id)
		require.NotEmpty(t, parent)
		require.NotContains(t, module, "/")
		require.NotEqual(t, "unknown stage", e.action.stage().String())
		first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		require.True(t, strings.EqualFold(first, "devices") || strings.Contains(path, "%"))
	})
}

func FuzzBatch(f *testing.F) {
	f.Add([]byte(
		`[{"body":"aGVsbG8=","properties":{"iothub-app-a":"b","iothub-messageid":"c"}},{"body":"x","base64Encoded":false}]`,
	))
	f.Fuzz(func(t *testing.T, body []byte) {
		messages, err := decodeBatch(body)
		if err != nil {
			return
		}
		require.NotEmpty(t, messages)
		total := 0
		for _, m := range messages {
			total += m.size()
			for name := range m.System {
				require.True(t, strings.HasPrefix(name, "$."))
			}
		}
		require.LessOrEqual(t, total, 8*len(body), "nothing is made of nothing")
	})
}

// FuzzRequestBodies sends any body to every operation: the hub answers, with a status that makes
// sense, and stays.
func FuzzRequestBodies(f *testing.F) {
	f.Add(
		"POST /messages/events", "application/vnd.microsoft.iothub.json",
		[]byte(`[{"body":"aGVsbG8="}]`),
	)
	f.Add("POST /files", "application/json", []byte(`{"blobName":"a"}`))
	f.Add(
		"POST /files/notifications", "application/json",
		[]byte(`{"correlationId":"x","isSuccess":true,"statusCode":200}`),
	)
	n := simnet.New()
	f.Cleanup(func() { _ = n.Close() })
	h := NewHub(n, hubHost)
	if err := h.Put(Device{ID: "dev1"}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, request, kind string, body []byte) {
		r, err := http.NewRequest("POST", "https://"+hubHost+"/", nil)
		require.NoError(t, err)
		r.Header.Set("Content-Type", kind)
		method, path, _ := strings.Cut(request, " ")
		e, code := parseEndpoint(method, "/devices/dev1"+path, nil)
		if code != 0 || e.id != "dev1" {
			return
		}
		a := h.act(r, e, body)
		require.Contains(t, []int{200, 204, 400, 403, 404, 412, 413}, a.status)
		h.ResetLog()
	})
}
