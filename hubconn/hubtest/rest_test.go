// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// backEnd speaks the service's REST API over raw net/http.
type backEnd struct {
	t             *testing.T
	hub           *Hub
	policy        string
	token         string // in place of the policy's
	version       string
	client        *http.Client
	header        http.Header // of the last answer
	tokenLifetime time.Duration
}

func newBackEnd(t *testing.T, h *Hub, policy string) *backEnd {
	return &backEnd{
		t: t, hub: h, policy: policy, version: "2021-04-12", tokenLifetime: time.Hour,
		client: &http.Client{Transport: &http.Transport{
			DialContext: h.network.DialContext, TLSClientConfig: h.network.TLSConfig(),
			DisableKeepAlives: true,
		}},
	}
}

// do sends a request; headers come in pairs. The body is marshalled unless it is a string.
func (b *backEnd) do(
	method, path string, body any, headers ...string,
) (status int, response []byte) {
	b.t.Helper()
	data, ok := body.(string)
	if !ok && body != nil {
		raw, err := json.Marshal(body)
		require.NoError(b.t, err)
		data = string(raw)
	}
	r, err := http.NewRequest(method, "https://"+b.hub.Host()+path, strings.NewReader(data))
	require.NoError(b.t, err)
	if b.version != "" && r.URL.RawQuery == "" {
		r.URL.RawQuery = "api-version=" + b.version
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	sas := b.token
	if sas == "" && b.policy != "" {
		_, key, _ := strings.Cut(b.hub.PolicyConnectionString(b.policy), ";SharedAccessKey=")
		sas = token(b.t, b.hub.Host(), key, b.hub.network.Now().Add(b.tokenLifetime)) +
			"&skn=" + b.policy
	}
	if sas != "" {
		r.Header.Set("Authorization", sas)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := b.client.Do(r)
	require.NoError(b.t, err)
	defer res.Body.Close()
	response, err = io.ReadAll(res.Body)
	require.NoError(b.t, err)
	b.header = res.Header
	return res.StatusCode, response
}

func (b *backEnd) must(method, path string, body any, headers ...string) document {
	b.t.Helper()
	status, response := b.do(method, path, body, headers...)
	require.Less(b.t, status, 300, "%s", response)
	if len(response) == 0 {
		return nil
	}
	var m document
	require.NoError(b.t, json.Unmarshal(response, &m), "%s", response)
	return m
}

// refused sends a request that fails, and returns the name of the error.
func (b *backEnd) refused(want int, method, path string, body any, headers ...string) string {
	b.t.Helper()
	status, response := b.do(method, path, body, headers...)
	require.Equal(b.t, want, status, "%s", response)
	var m struct{ Message, ExceptionMessage string }
	require.NoError(b.t, json.Unmarshal(response, &m), "%s", response)
	require.NotEmpty(b.t, m.Message)
	return b.header.Get("iothub-errorcode")
}

func (b *backEnd) list(method, path string, body any, headers ...string) []document {
	b.t.Helper()
	status, response := b.do(method, path, body, headers...)
	require.Equal(b.t, 200, status, "%s", response)
	var all []document
	require.NoError(b.t, json.Unmarshal(response, &all), "%s", response)
	return all
}

const restHost = "hub.azure-devices.net"

// atHub runs a test with a hub and a back end that may do everything, in memory.
func atHub(t *testing.T, f func(t *testing.T, h *Hub, b *backEnd)) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, restHost)
		f(t, h, newBackEnd(t, h, "iothubowner"))
	})
}

func TestBackEndKeepsDevices(t *testing.T) {
	atHub(t, func(t *testing.T, h *Hub, b *backEnd) {
		made := b.must("PUT", "/devices/dev", document{
			"deviceId": "dev", "capabilities": document{"iotEdge": true},
		})
		assert.Equal(t, "enabled", made["status"])
		assert.Equal(t, "Disconnected", made["connectionState"])
		assert.Equal(t, document{"iotEdge": true}, made["capabilities"])
		credential := made["authentication"].(document)
		assert.Equal(t, "sas", credential["type"])
		key := credential["symmetricKey"].(document)["primaryKey"].(string)
		assert.NotEmpty(t, key)
		etag := made["etag"].(string)
		assert.Equal(t, `"`+etag+`"`, b.header.Get("ETag"))

		assert.Equal(t, "DeviceAlreadyExists", b.refused(
			409, "PUT", "/devices/dev", document{"deviceId": "dev"},
		))
		assert.Equal(t, "PreconditionFailed", b.refused(
			412, "PUT", "/devices/dev", document{}, "If-Match", `"old"`,
		))
		changed := b.must(
			"PUT", "/devices/dev",
			document{"deviceId": "dev", "status": "disabled", "statusReason": "stolen"}, "If-Match",
			`"`+etag+`"`,
		)
		assert.Equal(t, "disabled", changed["status"])
		assert.Equal(t, "stolen", changed["statusReason"])
		assert.NotEqual(t, etag, changed["etag"])
		d, _ := h.Get("dev")
		assert.True(t, d.Disabled)
		assert.Equal(t, key, d.PrimaryKey, "keys that are not told stay")
		assert.True(t, d.IoTEdge)

		// By certificate, and back.
		thumbprint := strings.Repeat("AB", 20)
		b.must("PUT", "/devices/dev", document{"authentication": document{
			"type": "selfSigned", "x509Thumbprint": document{"primaryThumbprint": thumbprint},
		}}, "If-Match", "*")
		d, _ = h.Get("dev")
		assert.Equal(t, thumbprint, d.PrimaryThumbprint)
		assert.Empty(t, d.PrimaryKey)
		got := b.must("GET", "/devices/dev", nil)
		assert.Equal(t, "selfSigned", got["authentication"].(document)["type"])
		b.must("PUT", "/devices/dev", document{"authentication": document{
			"symmetricKey": document{"primaryKey": key, "secondaryKey": key},
		}}, "If-Match", "*")
		d, _ = h.Get("dev")
		assert.Equal(t, key, d.PrimaryKey)
		assert.Empty(t, d.PrimaryThumbprint)

		assert.Equal(t, "PreconditionFailed", b.refused(
			412, "DELETE", "/devices/dev", nil, "If-Match", `"old"`,
		))
		status, body := b.do("DELETE", "/devices/dev", nil, "If-Match", `"*"`)
		assert.Equal(t, 204, status)
		assert.Empty(t, body)
		for _, method := range []string{"GET", "DELETE"} {
			assert.Equal(t, "DeviceNotFound", b.refused(404, method, "/devices/dev", nil))
		}
		assert.Equal(
			t, "DeviceNotFound", b.refused(404, "PUT", "/devices/dev", document{}, "If-Match", "*"),
		)
	})
}

func TestOneOfManyCreatesADevice(t *testing.T) {
	n, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	defer func() { require.NoError(t, n.Close()) }()
	h := NewHub(n, restHost)
	made, changed := make(chan int, 20), make(chan int, 20)
	for range cap(made) {
		go func() {
			status, _ := newBackEnd(t, h, ownerPolicy).do("PUT", "/devices/dev", document{})
			made <- status
		}()
	}
	count := map[int]int{}
	for range cap(made) {
		count[<-made]++
	}
	assert.Equal(t, map[int]int{200: 1, 409: 19}, count)
	first, _ := h.identity("dev")
	for i := range cap(changed) {
		go func() {
			status, _ := newBackEnd(t, h, ownerPolicy).do(
				"PUT", "/devices/dev", document{"statusReason": strings.Repeat("x", i+1)},
				"If-Match", first.ETag,
			)
			changed <- status
		}()
	}
	clear(count)
	for range cap(changed) {
		count[<-changed]++
	}
	assert.Equal(t, map[int]int{200: 1, 412: 19}, count)
}

func TestBackEndKeepsModules(t *testing.T) {
	atHub(t, func(t *testing.T, h *Hub, b *backEnd) {
		assert.Equal(
			t, "DeviceNotFound", b.refused(404, "PUT", "/devices/dev/modules/cam", document{}),
		)
		b.must("PUT", "/devices/dev", document{})
		made := b.must(
			"PUT", "/devices/dev/modules/cam", document{"deviceId": "dev", "moduleId": "cam"},
		)
		assert.Equal(t, "cam", made["moduleId"])
		assert.NotContains(t, made, "status")
		assert.Equal(t, "ModuleAlreadyExistsOnDevice", b.refused(
			409, "PUT", "/devices/dev/modules/cam", document{},
		))
		b.must(
			"PATCH", "/twins/dev/modules/cam",
			document{"properties": document{"desired": document{"fps": 5}}}, "If-Match", "*",
		)
		assert.Len(t, b.list("GET", "/devices/dev/modules", nil), 1)
		twin := b.must("GET", "/twins/dev/modules/cam", nil)
		assert.Equal(t, "cam", twin["moduleId"])
		assert.Len(t, b.list("GET", "/devices/", nil), 1, "modules are not devices")
		b.must("DELETE", "/devices/dev/modules/cam", nil, "If-Match", "*")
		assert.Equal(t, "ModuleNotFound", b.refused(404, "GET", "/devices/dev/modules/cam", nil))
		assert.Empty(t, h.Modules("dev"))
	})
}

func TestBackEndListsAndCounts(t *testing.T) {
	atHub(t, func(t *testing.T, h *Hub, b *backEnd) {
		assert.Empty(t, b.list("GET", "/devices/", nil))
		for _, id := range []string{"c", "a", "b"} {
			require.NoError(t, h.Put(Device{ID: id, Disabled: id == "c"}))
		}
		c := device(t, h, "a")
		require.Zero(t, c.connect("mqtt"))
		defer c.close()
		all := b.list("GET", "/devices", nil)
		require.Len(t, all, 3)
		assert.Equal(t, "a", all[0]["deviceId"])
		assert.Equal(t, "Connected", all[0]["connectionState"])
		assert.Len(t, b.list("GET", "/devices?api-version=2021-04-12&top=2", nil), 2)
		assert.Equal(t, document{
			"totalDeviceCount": 3.0, "enabledDeviceCount": 2.0, "disabledDeviceCount": 1.0,
		}, b.must("GET", "/statistics/devices", nil))
		assert.Equal(
			t, document{"connectedDeviceCount": 1.0}, b.must("GET", "/statistics/service", nil),
		)
	})
}

func TestBackEndChangesManyDevicesAtOnce(t *testing.T) {
	atHub(t, func(t *testing.T, h *Hub, b *backEnd) {
		codes := func(list ...document) map[string]int {
			m := b.must("POST", "/devices", list)
			found := map[string]int{}
			for _, e := range m["errors"].([]any) {
				e := e.(document)
				found[e["deviceId"].(string)] = int(e["errorCode"].(float64))
			}
			assert.Equal(t, len(found) == 0, m["isSuccessful"])
			return found
		}
		one := func(id, mode string, more ...document) document {
			d := document{"id": id, "importMode": mode}
			for _, m := range more {
				for k, v := range m {
					d[k] = v
				}
			}
			return d
		}
		assert.Empty(t, codes(one("a", "create"), one("b", "create")))
		assert.Equal(t, map[string]int{"a": 409001, "not/valid": 400004}, codes(
			one("a", "create"), one("c", "create"), one("not/valid", "Update"),
		))
		assert.Equal(t, map[string]int{"z": 404001}, codes(
			one("a", "Update", document{"status": "disabled"}), one("z", "Update"),
		))
		d, _ := h.Get("a")
		assert.True(t, d.Disabled)
		etag := b.must("GET", "/devices/b", nil)["etag"]
		assert.Equal(t, map[string]int{"c": 412001}, codes(
			one("b", "UpdateIfMatchETag", document{"etag": etag}), one("c", "UpdateIfMatchETag"),
		))
		assert.Equal(t, map[string]int{"c": 412001}, codes(
			one("a", "Delete"), one("c", "DeleteIfMatchETag", document{"etag": "old"}),
			one("e", "createOrUpdate"),
		))
		assert.Equal(t, []string{"b", "c", "e"}, h.Devices())
		assert.Equal(t, "ArgumentInvalid", b.refused(400, "POST", "/devices", []document{}))
		b.refused(400, "POST", "/devices", make([]document, 101))
		assert.Equal(t, map[string]int{"x": 400004}, codes(one("x", "burn")))
	})
}

func TestBackEndReadsAndWritesTwins(t *testing.T) {
	atHub(t, func(t *testing.T, h *Hub, b *backEnd) {
		require.NoError(t, h.Put(Device{ID: "dev"}))
		twin := b.must("GET", "/twins/dev", nil)
		assert.Equal(t, "dev", twin["deviceId"])
		desired := twin["properties"].(document)["desired"].(document)
		assert.Equal(t, 1.0, desired["$version"])
		assert.Contains(t, desired["$metadata"], "$lastUpdated")
		etag := twin["etag"].(string)

		// As the SDKs do: change what was read and send it back, members that only the service sets
		// included.
		desired["interval"] = 30
		twin["tags"] = document{"site": "plant"}
		patched := b.must("PATCH", "/twins/dev", twin, "If-Match", `"`+etag+`"`)
		assert.Equal(t, document{"site": "plant"}, patched["tags"])
		assert.Equal(t, 2.0, patched["properties"].(document)["desired"].(document)["$version"])
		assert.NotEqual(t, etag, patched["etag"])
		assert.Equal(t, "PreconditionFailed", b.refused(
			412, "PATCH", "/twins/dev", twin, "If-Match", `"`+etag+`"`,
		))

		b.must("PATCH", "/twins/dev", document{"properties": document{
			"desired": document{"interval": nil, "level": document{"low": 1}},
		}})
		have, _ := h.Twin("dev")
		assert.Equal(t, document{"level": document{"low": 1.0}}, have.Desired)
		assert.Equal(t, document{"site": "plant"}, have.Tags, "a part that is not told stays")
		b.must(
			"PUT", "/twins/dev", document{"properties": document{"desired": document{"on": true}}},
			"If-Match", "*",
		)
		have, _ = h.Twin("dev")
		assert.Equal(t, document{"on": true}, have.Desired)
		assert.Empty(t, have.Tags, "unless the twin is replaced")

		assert.Equal(t, "ArgumentInvalid", b.refused(
			400, "PATCH", "/twins/dev", document{"tags": document{"a.b": 1}},
		))
		assert.Equal(t, "IotHubFormatError", b.refused(400, "PATCH", "/twins/dev", `{"tags":[]}`))
		assert.Equal(t, "IotHubFormatError", b.refused(400, "PATCH", "/twins/dev", `{"tags":{}}{}`))
		assert.Equal(t, "ArgumentInvalid", b.refused(
			400, "PATCH", "/twins/dev", `{"tags":{"n":4503599627370496}}`,
		))
		b.must("PATCH", "/twins/dev", `{"tags":{"n":4503599627370496.0}}`)
		b.refused(400, "PATCH", "/twins/dev", nil)
		for _, method := range []string{"GET", "PATCH", "PUT"} {
			assert.Equal(t, "DeviceNotFound", b.refused(404, method, "/twins/else", document{}))
		}
	})
}

func TestBackEndQueriesTwins(t *testing.T) {
	atHub(t, func(t *testing.T, h *Hub, b *backEnd) {
		for i, id := range []string{"a", "b", "c", "d"} {
			require.NoError(t, h.Put(Device{ID: id, Disabled: id == "d"}))
			require.NoError(t, h.PatchTags(id, document{
				"site": document{"name": map[bool]string{true: "x", false: "y"}[i < 2]}, "n": i,
			}))
		}
		ids := func(query string, headers ...string) string {
			var all []string
			for _, twin := range b.list(
				"POST", "/devices/query", document{"query": query}, headers...,
			) {
				all = append(all, twin["deviceId"].(string))
			}
			return strings.Join(all, " ")
		}
		for query, want := range map[string]string{
			"SELECT * FROM devices":                                                                                   "a b c d",
			"select * from devices where deviceId = 'b'":                                                              "b",
			"SELECT * FROM devices WHERE tags.site.name = 'x' AND deviceId != 'a'":                                    "b",
			"SELECT * FROM devices WHERE tags.n = 2":                                                                  "c",
			"SELECT * FROM devices WHERE devices.status <> \"enabled\"":                                               "d",
			"SELECT * FROM devices WHERE capabilities.iotEdge = false":                                                "a b c d",
			"SELECT * FROM devices WHERE tags.n IN [0, 3] OR NOT is_defined(tags.site)":                               "a d",
			"SELECT TOP 2 * FROM devices WHERE connectionState = 'Disconnected' AND STARTS_WITH(tags.site.name, 'x')": "a b",
			"SELECT * FROM devices WHERE tags.site.name.first = 'x'":                                                  "",
		} {
			assert.Equal(t, want, ids(query), query)
		}
		assert.Equal(t, "a b c", ids("SELECT * FROM devices", "x-ms-max-item-count", "3"))
		next := b.header.Get("x-ms-continuation")
		assert.Equal(t, "d", ids(
			"SELECT * FROM devices", "x-ms-max-item-count", "3", "x-ms-continuation", next,
		))
		assert.Empty(t, b.header.Get("x-ms-continuation"))
		for _, bad := range []string{
			"", "SELECT * FROM devices.jobs", "SELECT * FROM devices WHERE upper(a) = 'B'",
			"SELECT * FROM devices WHERE a =", "SELECT * FROM devices WHERE a = 1 AND ",
		} {
			b.refused(400, "POST", "/devices/query", document{"query": bad})
		}
		_, response := b.do("POST", "/devices/query", document{
			"query": "SELECT * FROM devices ORDER BY deviceId",
		})
		assert.Contains(t, string(response), "position 23: ORDER BY: the language has none")

		// Projections, groups and modules.
		b.list("POST", "/devices/query", document{"query": "SELECT * FROM devices"})
		assert.Equal(t, "Twin", b.header.Get("x-ms-item-type"))
		assert.Equal(t, []document{{"deviceId": "d", "n": 3.0}}, b.list("POST", "/devices/query",
			document{"query": "SELECT deviceId, tags.n FROM devices WHERE status = 'disabled'"}))
		assert.Equal(t, "Raw", b.header.Get("x-ms-item-type"))
		assert.Equal(t, []document{{"n": 0.0}}, b.list("POST", "/devices/query", document{
			"query": "SELECT COUNT() AS n FROM devices WHERE deviceId = 'none'",
		}))
		groups := document{
			"query": "SELECT tags.site.name AS site, COUNT() AS n FROM devices " +
				"GROUP BY tags.site.name",
		}
		assert.Equal(t, []document{{"site": "x", "n": 2.0}, {"site": "y", "n": 2.0}},
			b.list("POST", "/devices/query", groups))
		first := b.list("POST", "/devices/query", groups, "x-ms-max-item-count", "1")
		assert.Equal(t, []document{{"site": "x", "n": 2.0}}, first)
		assert.Equal(t, []document{{"site": "y", "n": 2.0}}, b.list(
			"POST", "/devices/query", groups, "x-ms-max-item-count", "1",
			"x-ms-continuation", b.header.Get("x-ms-continuation"),
		))
		for _, id := range []string{"one", "$edgeHub"} {
			require.NoError(t, h.PutModule("b", Module{ID: id}))
		}
		modules := b.list("POST", "/devices/query", document{"query": "SELECT * FROM " +
			"devices.modules WHERE devices.modules.moduleId = '$edgeHub' AND deviceId in ['b']"})
		require.Len(t, modules, 1)
		assert.Equal(t, "$edgeHub", modules[0]["moduleId"])
		assert.Equal(t, "Twin", b.header.Get("x-ms-item-type"))
	})
}

func TestBackEndCallsMethods(t *testing.T) {
	atHub(t, func(t *testing.T, h *Hub, b *backEnd) {
		require.NoError(t, h.Put(Device{ID: "dev"}))
		c := device(t, h, "dev")
		require.Zero(t, c.connect("mqtt"))
		defer c.close()
		c.subscribe("$iothub/methods/POST/#")
		done := make(chan document, 1)
		go func() {
			done <- b.must("POST", "/twins/dev/methods", document{
				"methodName": "reprovision", "responseTimeoutInSeconds": 10,
				"connectTimeoutInSeconds": 0, "payload": document{"why": "test"},
			})
		}()
		m := c.message()
		name, rid, _ := strings.Cut(
			strings.TrimPrefix(m.TopicName, "$iothub/methods/POST/"), "/?$rid=",
		)
		assert.Equal(t, "reprovision", name)
		assert.JSONEq(t, `{"why":"test"}`, string(m.Payload))
		c.publish("$iothub/methods/res/202/?$rid="+rid, 0, 0, `{"soon":true}`)
		assert.Equal(t, document{"status": 202.0, "payload": document{"soon": true}}, <-done)

		// A device that does not answer, one that is not there, and one that never was.
		assert.Equal(t, "GatewayTimeout", b.refused(504, "POST", "/twins/dev/methods", document{
			"methodName": "x", "responseTimeoutInSeconds": 5,
		}))
		c.close()
		for h.Connected("dev") {
			time.Sleep(time.Second)
		}
		status, response := b.do("POST", "/twins/dev/methods", document{"methodName": "x"})
		assert.Equal(t, 404, status)
		assert.Contains(t, string(response), `\"errorCode\":404103`)
		status, response = b.do("POST", "/twins/else/methods", document{"methodName": "x"})
		assert.Equal(t, 404, status)
		assert.Contains(t, string(response), `\"errorCode\":404001`)
		for _, seconds := range []any{-1, 1e300, 4, 301} {
			b.refused(400, "POST", "/twins/dev/methods", document{
				"methodName": "x", "responseTimeoutInSeconds": seconds,
			})
		}
		b.refused(400, "POST", "/twins/dev/methods", document{
			"methodName": "x", "responseTimeoutInSeconds": "soon",
		})
	})
}

func TestBackEndSendsMessages(t *testing.T) {
	atHub(t, func(t *testing.T, h *Hub, b *backEnd) {
		require.NoError(t, h.Put(Device{ID: "dev"}))
		expiry := h.network.Now().Add(time.Minute).UTC().Truncate(time.Second)
		status, _ := b.do(
			"POST", "/devices/dev/messages/deviceBound", "hello", "iothub-messageid", "m1",
			"iothub-app-color", "red", "iothub-ack", "full", "iothub-expiry",
			expiry.Format(time.RFC3339),
		)
		assert.Equal(t, 204, status)
		queue := h.C2DQueue("dev")
		require.Len(t, queue, 1)
		assert.Equal(t, "hello", string(queue[0].Body))
		assert.Equal(t, "m1", queue[0].MessageID)
		assert.Equal(
			t, map[string]string{"Color": "red"}, queue[0].Properties, "as this client writes it",
		)
		assert.True(t, expiry.Equal(queue[0].Expiry))
		assert.Equal(t, 1.0, b.must("GET", "/devices/dev", nil)["cloudToDeviceMessageCount"])
		assert.Equal(t, 1.0, b.must("DELETE", "/devices/dev/commands", nil)["totalMessagesPurged"])
		assert.Empty(t, h.C2DQueue("dev"))
		b.refused(403, "POST", "/devices/dev/messages/deviceBound", "x", "iothub-expiry", "soon")
		b.refused(404, "POST", "/devices/else/messages/deviceBound", "x")
		b.refused(404, "DELETE", "/devices/else/commands", nil)
	})
}

func TestPoliciesAllowWhatTheyAreFor(t *testing.T) {
	atHub(t, func(t *testing.T, h *Hub, b *backEnd) {
		require.NoError(t, h.Put(Device{ID: "dev"}))
		calls := map[right][2]string{
			registryRead: {"GET", "/devices/dev"}, registryWrite: {"PUT", "/devices/dev"},
			serviceConnect: {"GET", "/twins/dev"},
		}
		for policy, has := range rights {
			b := newBackEnd(t, h, policy)
			for needs, call := range calls {
				status, response := b.do(call[0], call[1], document{}, "If-Match", "*")
				want := 401
				if has&needs != 0 {
					want = 200
				}
				assert.Equal(t, want, status, "%s: %s %s: %s", policy, call[0], call[1], response)
			}
		}
		d, _ := h.Get("dev")
		owner := func(resource string, lifetime time.Duration) string {
			return token(t, resource, h.policies.key(ownerPolicy), h.network.Now().Add(lifetime))
		}
		for name, bad := range map[string]string{
			"no token": "", "nonsense": "Bearer x", "no policy": owner(restHost, time.Hour),
			"unknown policy":       owner(restHost, time.Hour) + "&skn=me",
			"another host":         owner("else.azure-devices.net", time.Hour) + "&skn=iothubowner",
			"another policy's key": owner(restHost, time.Hour) + "&skn=service",
			"expired":              owner(restHost, -time.Hour) + "&skn=iothubowner",
			"a device's": token(
				t, restHost+"/devices/dev", d.PrimaryKey, h.network.Now().Add(time.Hour),
			),
		} {
			b.policy, b.token = "", bad
			assert.Contains(
				t, b.refused(401, "GET", "/devices/dev", nil), "IotHubUnauthorized", name,
			)
		}
		assert.Empty(t, h.PolicyConnectionString("me"))
		assert.Equal(t, "HostName="+restHost+";SharedAccessKeyName=iothubowner;"+
			"SharedAccessKey="+h.policies.key(ownerPolicy), h.ConnectionString())
	})
}

func TestBackEndsMistakes(t *testing.T) {
	atHub(t, func(t *testing.T, h *Hub, b *backEnd) {
		for name, c := range map[string]struct {
			status       int
			method, path string
			body         any
		}{
			"IDs differ":       {400, "PUT", "/devices/dev", document{"deviceId": "else"}},
			"not JSON":         {400, "PUT", "/devices/dev", "{"},
			"no body":          {400, "PUT", "/devices/dev", nil},
			"status":           {400, "PUT", "/devices/dev", document{"status": "paused"}},
			"credential":       {400, "PUT", "/devices/dev", document{"authentication": document{"type": "magic"}}},
			"CA":               {400, "PUT", "/devices/dev", document{"authentication": document{"type": "certificateAuthority"}}},
			"no thumbprint":    {400, "PUT", "/devices/dev", document{"authentication": document{"type": "selfSigned"}}},
			"bad thumbprint":   {400, "PUT", "/devices/dev", document{"authentication": document{"x509Thumbprint": document{"primaryThumbprint": "xyz"}}}},
			"bad key":          {400, "PUT", "/devices/dev", document{"authentication": document{"symmetricKey": document{"primaryKey": "!"}}}},
			"bad ID":           {400, "PUT", "/devices/a%20b", document{}},
			"slash in ID":      {400, "PUT", "/devices/a%2Fb", document{}},
			"unknown path":     {404, "GET", "/twins", nil},
			"unknown path too": {404, "GET", "/statistics/else", nil},
			"method":           {404, "PATCH", "/devices/dev", document{}},
			"too large":        {413, "PUT", "/devices/dev", strings.Repeat(" ", maxRESTBody+1)},
		} {
			t.Log(name)
			b.refused(c.status, c.method, c.path, c.body)
		}
		assert.Empty(t, h.Devices())
		b.version = ""
		assert.Equal(t, "InvalidProtocolVersion", b.refused(400, "GET", "/devices", nil))
	})
}

func TestStateIsKept(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, restHost)
		require.NoError(t, h.Put(Device{ID: "dev", IoTEdge: true, StatusReason: "new"}))
		require.NoError(t, h.PutModule("dev", Module{ID: "cam"}))
		require.NoError(t, h.SetTwin("dev", Twin{
			Tags: document{"site": "x"}, Desired: document{"n": 1}, Reported: document{"n": -1e20},
			DesiredVersion: 4, ReportedVersion: 7,
		}))
		_, err := h.PatchDesired("dev/cam", document{"fps": 3})
		require.NoError(t, err)
		require.NoError(t, h.SendC2D("dev", C2D{Body: []byte("wait"), MessageID: "m"}))
		connection := h.ConnectionString()
		var saved bytes.Buffer
		require.NoError(t, h.Save(&saved))
		twin, _ := h.Twin("dev")
		dev, _ := h.Get("dev")

		again := NewHub(n, "HUB.azure-devices.net")
		require.NoError(t, again.Load(bytes.NewReader(saved.Bytes())))
		other, _ := again.Twin("dev")
		assert.Equal(t, twin, other)
		loaded, _ := again.Get("dev")
		assert.Equal(t, dev, loaded)
		cam, _ := again.Twin("dev/cam")
		assert.Equal(t, document{"fps": 3.0}, cam.Desired)
		assert.Equal(t, []string{"cam"}, again.Modules("dev"))
		queue := again.C2DQueue("dev")
		require.Len(t, queue, 1)
		assert.Equal(t, "wait", string(queue[0].Body))
		assert.Equal(t, strings.ToLower(connection), strings.ToLower(again.ConnectionString()))
		var twice bytes.Buffer
		require.NoError(t, again.Save(&twice))
		assert.Equal(t, strings.ToLower(saved.String()), strings.ToLower(twice.String()))
		require.NoError(t, again.Put(Device{ID: "new"}))
		fresh, _ := again.Get("new")
		assert.Greater(
			t, fresh.GenerationID, loaded.GenerationID, "generations go on where they were",
		)

		c := device(t, again, "dev")
		require.Zero(t, c.connect("mqtt"))
		require.NoError(t, again.Load(bytes.NewReader(saved.Bytes())))
		c.ended()

		for name, bad := range map[string]string{
			"empty": "", "half": saved.String()[:saved.Len()/2],
			"another host":   strings.ReplaceAll(saved.String(), restHost, "else.net"),
			"unknown member": `{"version":1,"x":1}`, "another version": `{"version":9}`,
			"orphan": `{"version":1,"host":"` + restHost +
				`","devices":[{"device":{"ID":"a/b"},"twin":{}}]}`,
			"bad ID": `{"version":1,"host":"` + restHost +
				`","devices":[{"device":{"ID":"a b"},"twin":{}}]}`,
			"no module ID": `{"version":1,"host":"` + restHost +
				`","devices":[{"device":{"ID":"a"},"twin":{}},{"device":{"ID":"a/"},"twin":{}}]}`,
			"bad key": `{"version":1,"host":"` + restHost +
				`","devices":[{"device":{"ID":"a","PrimaryKey":"!"},"twin":{}}]}`,
			"bad twin": `{"version":1,"host":"` + restHost +
				`","devices":[{"device":{"ID":"a"},"twin":{"Tags":{"a.b":1}}}]}`,
		} {
			assert.Error(t, again.Load(strings.NewReader(bad)), name)
			assert.Equal(t, []string{"dev"}, again.Devices(), name)
		}
	})
}

func TestWorkOfTheNetworkEndsWithIt(t *testing.T) {
	n := simnet.New()
	var ended atomic.Bool
	require.True(t, n.Go(func(ctx context.Context) {
		<-ctx.Done()
		ended.Store(true)
	}))
	require.NoError(t, n.Close())
	assert.True(t, ended.Load())
	assert.False(t, n.Go(func(context.Context) { t.Error("run on a closed network") }))
}

func FuzzREST(f *testing.F) {
	for _, seed := range [][3]string{
		{"PUT", "/devices/dev", `{"deviceId":"dev","authentication":{"type":"sas","symmetricKey":{"primaryKey":null}},"capabilities":{"iotEdge":true}}`},
		{"POST", "/devices", `[{"id":"dev","importMode":"create"},{"id":"dev","moduleId":"m","importMode":"createOrUpdate"},null]`},
		{"POST", "/devices/query", `{"query":"SELECT * FROM devices WHERE tags.a = 'b' AND n != 1.5"}`},
		{"PATCH", "/twins/dev", `{"tags":{"a":null},"properties":{"desired":{"$version":1,"b":[1,{"c":2}]}}}`},
		{"PUT", "/twins/dev/modules/m", `{"properties":null}`},
		{"POST", "/twins/dev/methods", `{"methodName":"x","payload":[],"connectTimeoutInSeconds":1e999}`},
		{"POST", "/devices/dev/messages/deviceBound", "hello"},
		{"DELETE", "/devices/%2e%2e/modules/%zz", ``},
		{"POST", "/twins/dev/methods", `{"methodName":"x","connectTimeoutInSeconds":300}`},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	n := simnet.New()
	f.Cleanup(func() { _ = n.Close() })
	h := NewHub(n, restHost)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		require.NoError(t, h.Put(Device{ID: "dev"}))
		r, err := http.NewRequest(method, "https://"+restHost+path, strings.NewReader(body))
		if err != nil {
			return
		}
		// Whoever calls a method waits for a device that there is not, as long as the body says.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		r = r.WithContext(ctx)
		query := r.URL.Query()
		query.Set("api-version", "2021-04-12")
		r.URL.RawQuery = query.Encode()
		r.Header.Set(
			"Authorization",
			token(t, restHost, h.policies.key(ownerPolicy), time.Now().Add(time.Hour))+
				"&skn=iothubowner",
		)
		w := &recorder{header: http.Header{}}
		if !h.serveREST(w, r) {
			return
		}
		if w.status < 200 || w.status > 599 ||
			w.status >= 500 && w.status != 503 && w.status != 504 {
			t.Fatalf("%s %s: %d %s", method, path, w.status, w.body.String())
		}
		if w.body.Len() > 0 && !json.Valid(w.body.Bytes()) {
			t.Fatalf("%s %s: not JSON: %s", method, path, w.body.String())
		}
		for _, id := range h.Devices() {
			h.Delete(id)
		}
	})
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(s int)   { r.status = s }
func (r *recorder) Write(b []byte) (int, error) {
	return r.body.Write(b)
}

func FuzzLoad(f *testing.F) {
	n := simnet.New()
	f.Cleanup(func() { _ = n.Close() })
	h := NewHub(n, restHost)
	require.NoError(f, h.Put(Device{ID: "dev"}))
	require.NoError(f, h.SendC2D("dev", C2D{Body: []byte("x")}))
	var saved bytes.Buffer
	require.NoError(f, h.Save(&saved))
	f.Add(saved.Bytes())
	f.Add([]byte(
		`{"version":1,"host":"` + restHost +
			`","devices":[{"device":{"ID":"a"},"twin":{}},{"device":{"ID":"a/b"},"twin":{"Desired":null}}]}`,
	))
	f.Add([]byte(
		`{"version":1,"host":"` + restHost + `","devices":[{"device":{"ID":"a"},"twin":{"Desired":` +
			`{"b":1e20}}}]}`,
	))
	f.Fuzz(func(t *testing.T, state []byte) {
		h := NewHub(n, restHost)
		if h.Load(bytes.NewReader(state)) != nil {
			require.Empty(t, h.Devices())
			return
		}
		// What loads can be used, and saved.
		for _, id := range h.Devices() {
			_, ok := h.Twin(id)
			require.True(t, ok)
			h.C2DQueue(id)
			h.Modules(id)
		}
		var again bytes.Buffer
		require.NoError(t, h.Save(&again))
		require.NoError(t, NewHub(n, restHost).Load(&again))
	})
}

func TestBackEndKeepsDevicesThatCertificatesAreIssuedTo(t *testing.T) {
	atHub(t, func(t *testing.T, h *Hub, b *backEnd) {
		require.NoError(t, h.Put(Device{ID: "dev", CertificatePolicy: "fleet/ica1/week"}))
		before, _ := h.Get("dev")
		got := b.must("GET", "/devices/dev", nil)
		credential := got["authentication"].(document)
		assert.Equal(t, "certificateAuthority", credential["type"])
		got["status"] = "disabled"
		b.must("PUT", "/devices/dev", got, "If-Match", "*")
		after, _ := h.Get("dev")
		assert.True(t, after.Disabled)
		after.Disabled = false
		assert.Equal(t, before, after, "what is read and written back stays")

		b.must("PUT", "/devices/dev", document{"authentication": document{"type": "sas"}},
			"If-Match", "*")
		after, _ = h.Get("dev")
		assert.NotEmpty(t, after.PrimaryKey)
		assert.Empty(t, after.CertificatePolicy, "another credential ends this one")
		b.refused(400, "PUT", "/devices/dev", document{"authentication": document{
			"type": "certificateAuthority",
		}}, "If-Match", "*")
	})
}
