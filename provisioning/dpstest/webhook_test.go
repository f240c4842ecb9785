// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// webhook is a custom allocation on a host of the simulated network.
type webhook struct {
	mu     sync.Mutex
	asked  []document
	header http.Header
	query  string
	answer http.HandlerFunc
}

const webhookHost = "allocate.example.net"

func (w *world) webhook() *webhook {
	h := &webhook{}
	w.net.Handle(webhookHost, h)
	return h
}

func (h *webhook) ServeMQTT(nc net.Conn) { _ = nc.Close() }

func (h *webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var m document
	_ = json.Unmarshal(body, &m)
	h.mu.Lock()
	h.asked, h.header, h.query = append(h.asked, m), r.Header, r.URL.RawQuery
	answer := h.answer
	h.mu.Unlock()
	answer(w, r)
}

// says sets the response to a JSON document, a string that is sent as it is, or a function.
func (h *webhook) says(answer any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch a := answer.(type) {
	case func(http.ResponseWriter, *http.Request):
		h.answer = a
	case string:
		h.answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, a) }
	default:
		h.answer = func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(a) }
	}
}

func (h *webhook) last() document {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked[len(h.asked)-1]
}

func custom(e *dpstest.IndividualEnrollment) {
	e.AllocationPolicy = dpstest.PolicyCustom
	e.CustomAllocationDefinition = &dpstest.CustomAllocationDefinition{
		WebhookURL: "https://" + webhookHost + "/api/allocate?code=secret", APIVersion: "2021-10-01",
	}
}

func TestWebhookIsAskedAsDocumented(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.dps.Link(w.b)
		hook := w.webhook()
		hook.says(document{"iotHubHostName": hubB, "payload": document{"for": "the device"}})
		w.enroll("dev", custom, func(e *dpstest.IndividualEnrollment) {
			e.Capabilities = &dpstest.Capabilities{}
			e.ReprovisionPolicy = policy(true, true)
			e.IoTHubs = []string{hubA, hubB}
		})
		d := w.https("dev", version, byKey("dev", key1))
		state := w.finish(d, `{"registrationId":"dev","payload":{"floor":3}}`).decode(t).state(t)
		assert.Equal(t, hubB, state.AssignedHub)
		assert.JSONEq(t, `{"for":"the device"}`, string(state.Payload))

		asked := hook.last()
		assert.Equal(t, "code=secret", hook.query)
		assert.Equal(t, "application/json; charset=utf-8", hook.header.Get("Content-Type"))
		assert.Equal(t, []any{hubA, hubB}, asked["linkedHubs"])
		assert.Equal(t, document{
			"registrationId": "dev", "symmetricKey": document{}, "payload": document{"floor": 3.0},
		}, asked["deviceRuntimeContext"])
		e := asked["individualEnrollment"].(document)
		for _, name := range []string{"etag", "createdDateTimeUtc", "lastUpdatedDateTimeUtc"} {
			assert.NotEmpty(t, e[name], name)
			delete(e, name)
		}
		assert.Equal(t, document{
			"registrationId": "dev", "attestation": document{"type": "symmetricKey"},
			"capabilities": document{"iotEdge": false}, "provisioningStatus": "enabled",
			"reprovisionPolicy": document{"updateHubAssignment": true, "migrateDeviceData": true},
			"allocationPolicy":  "custom", "iotHubs": []any{hubA, hubB},
			"customAllocationDefinition": document{
				"webhookUrl": "https://" + webhookHost + "/api/allocate?****",
				"apiVersion": "2021-10-01",
			},
		}, e)
		assert.NotContains(t, asked, "enrollmentGroup")

		// The next time it is told where the device lives, and answers again.
		hook.says(document{"iotHubHostName": hubB, "payload": []int{2}})
		state = w.finish(d, "").decode(t).state(t)
		assert.JSONEq(t, `[2]`, string(state.Payload))
		assert.Equal(t, document{
			"registrationId": "dev", "symmetricKey": document{}, "currentIotHubHostName": hubB,
			"currentDeviceId": "dev",
		}, hook.last()["deviceRuntimeContext"])
	})
}

func TestWebhookIsAskedAboutGroups(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		hook := w.webhook()
		hook.says(document{"iotHubHostName": hubA})
		ca := simnet.NewCA("Plant", time.Now())
		var e dpstest.IndividualEnrollment
		custom(&e)
		require.NoError(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
			EnrollmentGroupID:          "plant",
			Attestation:                dpstest.SigningCertificates(ca.Certificate(), nil),
			AllocationPolicy:           e.AllocationPolicy,
			CustomAllocationDefinition: e.CustomAllocationDefinition,
		}))
		assert.Equal(
			t, hubA,
			w.assigned(dpstest.MQTT, "dev", version, byCertificate(ca.Device("dev"))).AssignedHub,
		)
		asked := hook.last()
		assert.Equal(
			t, document{"registrationId": "dev", "x509": document{}}, asked["deviceRuntimeContext"],
		)
		group := asked["enrollmentGroup"].(document)
		assert.Equal(t, "plant", group["enrollmentGroupId"])
		certificates := group["attestation"].(document)["x509"].(document)["signingCertificates"]
		assert.NotContains(t, certificates.(document)["primary"], "certificate")
		assert.NotContains(t, asked, "individualEnrollment")
	})
}

func TestWebhookIsAskedAboutDevicesThatStay(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.dps.Link(w.b)
		hook := w.webhook()
		hook.says(document{"iotHubHostName": hubA})
		never := func(e *dpstest.IndividualEnrollment) { e.ReprovisionPolicy = policy(false, true) }
		w.enroll("dev", custom, never)
		w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		assert.Len(t, hook.last()["linkedHubs"], 2, "at first it may choose")
		hook.says(document{"iotHubHostName": hubA, "payload": "again"})
		state := w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		assert.JSONEq(t, `"again"`, string(state.Payload))
		assert.Equal(t, []any{hubA}, hook.last()["linkedHubs"])
		hook.says(document{"iotHubHostName": hubB})
		assert.Equal(
			t, 400207, w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1)).ErrorCode,
			"a hub it was not offered",
		)
	})
}

func TestWebhookThatFailsFailsTheRegistration(t *testing.T) {
	for name, c := range map[string]struct {
		answer  any
		message string
	}{
		"400": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 400) }, "Custom allocation failed with status code: 400"},
		"500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "Custom allocation failed with status code: 500"},
		"201": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201) }, "Custom allocation failed with status code: 201"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+webhookHost+"/else", http.StatusTemporaryRedirect)
		},
			"Custom allocation failed with status code: 307"},
		"not JSON":     {"<html>", "not the JSON"},
		"empty":        {"", "not the JSON"},
		"wrong type":   {`{"iotHubHostName":7}`, "not the JSON"},
		"no hub":       {`{}`, "not one of the linked hubs"},
		"unknown hub":  {document{"iotHubHostName": "hub-z.azure-devices.net"}, "not one of the linked hubs"},
		"unlinked hub": {document{"iotHubHostName": hubB}, "not one of the linked hubs"},
		"breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(w, "{")
		}, "broke off"},
		"hangs up":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "cannot be reached"},
		"no answer": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "did not answer in time"},
		"answers late": {func(w http.ResponseWriter, r *http.Request) {
			linger(r, 11*time.Second)
			_, _ = io.WriteString(w, "{}")
		}, "did not answer in time"},
		"endless":       {func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, endless{}) }, "too large"},
		"silent body":   {func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); <-r.Context().Done() }, "did not answer in time"},
		"secret stays":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "Custom allocation failed"},
		"deeply nested": {strings.Repeat("[", 20_000), "not the JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, dpstest.Config{}, func(w *world) {
				w.webhook().says(c.answer)
				w.enroll("dev", custom)
				state := w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
				assert.Equal(w.t, "failed", state.Status)
				assert.Equal(w.t, 400207, state.ErrorCode)
				assert.Contains(w.t, state.ErrorMessage, c.message)
				assert.NotContains(w.t, state.ErrorMessage, "secret")
				assert.Empty(w.t, state.AssignedHub)
				record, ok := w.dps.Registration("dev")
				require.True(w.t, ok)
				assert.Equal(w.t, dpstest.StatusFailed, record.Status)
			})
		})
	}
}

func linger(r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

func TestWebhookNobodyServes(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.webhook()
		w.net.SetFault(webhookHost, simnet.Refused)
		w.enroll("dev", custom)
		state := w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		assert.Equal(
			t, "Custom allocation failed: the webhook cannot be reached", state.ErrorMessage,
		)
	})
}

func TestDeviceSeesAssigningWhileTheWebhookThinks(t *testing.T) {
	onEach(t, dpstest.Config{WebhookTimeout: time.Minute}, func(w *world, transport string) {
		hook := w.webhook()
		hook.says(func(rw http.ResponseWriter, r *http.Request) {
			linger(r, 20*time.Second)
			_ = json.NewEncoder(rw).Encode(document{"iotHubHostName": hubA})
		})
		w.enroll("dev", custom)
		d := w.device(transport, "dev", byKey("dev", key1))
		defer d.close()
		began := time.Now()
		r := d.register("")
		require.Equal(w.t, 202, r.status)
		require.Less(
			w.t, time.Since(began), time.Second, "the answer does not wait for the webhook",
		)
		op := r.decode(w.t).OperationID
		for range 6 {
			time.Sleep(3 * time.Second)
			r = d.poll(op, "")
			require.Equal(w.t, 202, r.status)
			assert.Equal(w.t, "assigning", r.decode(w.t).Status)
			assert.Equal(w.t, "3", r.retryAfter)
		}
		record, ok := w.dps.Registration("dev")
		assert.True(w.t, ok)
		assert.Equal(w.t, dpstest.StatusAssigning, record.Status)
		assert.False(w.t, has(w.a, "dev"))
		time.Sleep(3 * time.Second)
		r = d.poll(op, "")
		require.Equal(w.t, 200, r.status)
		assert.Equal(w.t, hubA, r.decode(w.t).state(w.t).AssignedHub)
	})
}

func TestNewestRegistrationDecidesWhileWebhooksThink(t *testing.T) {
	inBubble(t, dpstest.Config{WebhookTimeout: time.Minute}, func(w *world) {
		w.dps.Link(w.b)
		hook := w.webhook()
		slow := func(hub string, d time.Duration) func(http.ResponseWriter, *http.Request) {
			return func(rw http.ResponseWriter, r *http.Request) {
				linger(r, d)
				_ = json.NewEncoder(rw).Encode(document{"iotHubHostName": hub})
			}
		}
		w.enroll("dev", custom)
		d := w.https("dev", version, byKey("dev", key1))
		hook.says(slow(hubA, 20*time.Second))
		first := d.register("").decode(t).OperationID
		time.Sleep(time.Second)
		hook.says(slow(hubB, time.Second))
		second := d.register("").decode(t).OperationID
		time.Sleep(30 * time.Second)
		for _, op := range []string{first, second} {
			assert.Equal(t, hubB, d.poll(op, "").decode(t).state(t).AssignedHub)
			time.Sleep(10 * time.Second)
		}
		assert.False(t, has(w.a, "dev"))
		assert.True(t, has(w.b, "dev"))
	})
}

func TestConcurrentRegistrationsAreRefusedWhileAWebhookThinks(t *testing.T) {
	inBubble(t, dpstest.Config{WebhookTimeout: time.Hour, RefuseConcurrent: true}, func(w *world) {
		hook := w.webhook()
		hook.says(func(rw http.ResponseWriter, r *http.Request) {
			linger(r, time.Minute)
			_ = json.NewEncoder(rw).Encode(document{"iotHubHostName": hubA})
		})
		w.enroll("dev", custom)
		d := w.https("dev", version, byKey("dev", key1))
		require.Equal(t, 202, d.register("").status)
		time.Sleep(50 * time.Second)
		assert.Equal(t, 409203, d.register("").decode(t).ErrorCode)
		time.Sleep(20 * time.Second)
		assert.Equal(t, 202, d.register("").status)
	})
}

func TestNetworkClosesWhileAWebhookThinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		w := &world{
			t: t, net: n, a: hubtest.NewHub(n, hubA),
			dps: dpstest.New(n, dpstest.Config{WebhookTimeout: time.Hour}),
		}
		w.dps.Link(w.a)
		w.webhook().says(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		w.enroll("dev", custom)
		d := w.https("dev", version, byKey("dev", key1))
		require.Equal(t, 202, d.register("").status)
		synctest.Wait()
		d.close()
		began := time.Now()
		require.NoError(t, n.Close())
		assert.Zero(t, time.Since(began))
		record, _ := w.dps.Registration("dev")
		assert.Equal(t, dpstest.StatusAssigning, record.Status, "nobody decided")
	})
}

func TestWebhookOutsideTheNetwork(t *testing.T) {
	n, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	w := populate(t, n, dpstest.Config{RetryAfter: -1})
	outside := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode(document{"iotHubHostName": hubA, "payload": "outside"})
	}))
	defer outside.Close()
	w.service().must("PUT", "/enrollments/dev", symmetric("dev", document{
		"allocationPolicy": "custom",
		"customAllocationDefinition": document{
			"webhookUrl": outside.URL + "/api", "apiVersion": "2021-10-01",
		},
	}))
	d := w.https("dev", version, byKey("dev", key1))
	defer d.close()
	op := d.register("").decode(t).OperationID
	require.Eventually(t, func() bool {
		record, _ := w.dps.Registration("dev")
		return record.Status == dpstest.StatusAssigned
	}, 10*time.Second, time.Millisecond)
	assert.JSONEq(t, `"outside"`, string(d.poll(op, "").decode(t).state(t).Payload))
}

func TestAssigningTakesTheTimeItIsGiven(t *testing.T) {
	inBubble(t, dpstest.Config{AssignTime: 10 * time.Second}, func(w *world) {
		w.dps.Link(w.b)
		w.enroll("dev")
		d := w.https("dev", version, byKey("dev", key1))
		began := time.Now()
		require.Equal(t, "assigned", w.finish(d, "").decode(t).state(t).Status)
		assert.Equal(t, 12*time.Second, time.Since(began), "the first poll after ten seconds")

		require.NoError(
			t, w.dps.Move("dev", map[bool]string{true: hubB, false: hubA}[has(w.a, "dev")]),
		)
		d.register("")
		lookup := d.lookup("").decode(t)
		assert.Equal(t, "assigning", lookup.Status)
		assert.Empty(t, lookup.AssignedHub)
		assert.NotEqual(
			t, has(w.a, "dev"), has(w.b, "dev"), "it lives at one hub until it has moved",
		)
		time.Sleep(11 * time.Second)
		assert.Equal(t, "deviceDataMigrated", d.lookup("").decode(t).Substatus)
	})
}
