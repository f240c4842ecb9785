// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestAnyStatusAtAnyStep(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("dev")
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 429})
		w.dps.Inject(dpstest.Fault{
			On: dpstest.Register, Status: 503, RetryAfter: "Wed, 31 Aug 2022 22:02:49 GMT",
		})
		w.dps.Inject(dpstest.Fault{
			On: dpstest.Register, Code: 401002, Message: "CA certificate not found.",
		})
		w.dps.Inject(dpstest.Fault{
			On: dpstest.Poll, Skip: 1, Times: 2, Status: 429, RetryAfter: "30",
		})
		d := w.device(transport, "dev", byKey("dev", key1))
		defer d.close()

		r := d.register("")
		assert.Equal(w.t, 429, r.status)
		assert.Equal(w.t, 429001, r.decode(w.t).ErrorCode)
		assert.Empty(w.t, r.retryAfter)
		r = d.register("")
		assert.Equal(w.t, 503, r.status)
		assert.Equal(w.t, "Wed, 31 Aug 2022 22:02:49 GMT", r.retryAfter)
		r = d.register("")
		assert.Equal(w.t, 401, r.status)
		assert.Equal(w.t, "CA certificate not found.", r.decode(w.t).Message)
		_, ok := w.dps.Registration("dev")
		assert.False(w.t, ok, "nothing was carried out")

		op := d.register("").decode(w.t).OperationID
		assert.Equal(w.t, 202, d.poll(op, "").status)
		time.Sleep(3 * time.Second)
		for range 2 {
			r = d.poll(op, "")
			assert.Equal(w.t, 429, r.status)
			assert.Equal(w.t, "30", r.retryAfter)
			assert.Empty(w.t, r.decode(w.t).OperationID)
		}
		assert.Equal(
			w.t, 200, d.poll(op, "").status, "throttled polls took nothing from the operation",
		)

		var statuses []int
		for _, r := range w.dps.Requests() {
			if r.Op == dpstest.Register || r.Op == dpstest.Poll {
				statuses = append(statuses, r.Status)
			}
		}
		assert.Equal(w.t, []int{429, 503, 401, 202, 202, 429, 429, 200}, statuses)
	})
}

func TestFaultsCanBeAimedAndTakenBack(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("one")
		w.enroll("two")
		w.dps.Inject(dpstest.Fault{RegistrationID: "ONE", Times: -1, Status: 500})
		one, two := w.https("one", version, byKey("one", key1)),
			w.https("two", version, byKey("two", key1))
		defer one.close()
		defer two.close()
		for range 10 {
			assert.Equal(t, 500, one.register("").status)
		}
		assert.Equal(t, 202, two.register("").status)
		w.dps.ClearFaults()
		assert.Equal(t, 202, one.register("").status)

		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Skip: 2, Status: 500})
		for _, status := range []int{202, 202, 500, 202} {
			assert.Equal(t, status, one.register("").status)
		}

		w.dps.Inject(dpstest.Fault{On: dpstest.Lookup, Code: 404201})
		w.dps.Inject(dpstest.Fault{On: dpstest.Clock, Status: 500})
		assert.Equal(t, 202, one.register("").status)
		assert.Equal(t, 404, one.lookup("").status)
		assert.Equal(t, 200, one.lookup("").status)
		assert.Equal(t, 500, one.must("HEAD", "/", "").status)
		assert.NotEmpty(t, one.must("HEAD", "/", "").header.Get("Date"))
	})
}

func TestRawBodies(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 10<<20)
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("dev")
		d := w.device(transport, "dev", byKey("dev", key1))
		defer d.close()
		for _, raw := range [][]byte{
			[]byte("<html>portal</html>"), []byte(`{"operationId":"5.`),
			[]byte(`{"operationId":5,"status":[]}`), {}, big,
		} {
			w.dps.Inject(dpstest.Fault{On: dpstest.Register, Body: raw, ContentType: "text/html"})
			r := d.register("")
			assert.Equal(w.t, 200, r.status)
			assert.True(w.t, bytes.Equal(raw, r.raw), "%d bytes", len(r.raw))
			if transport == dpstest.HTTPS {
				assert.Equal(w.t, "text/html", r.header.Get("Content-Type"))
			}
			w.dps.Inject(dpstest.Fault{On: dpstest.Poll, Status: 502, Body: raw})
			r = d.poll("x", "")
			assert.Equal(w.t, 502, r.status)
			assert.True(w.t, bytes.Equal(raw, r.raw))
		}
	})
}

func TestRetryAfterAlone(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("dev")
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, RetryAfter: "-1"})
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, NoRetryAfter: true})
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 200})
		d := w.device(transport, "dev", byKey("dev", key1))
		defer d.close()
		r := d.register("")
		assert.Equal(w.t, 202, r.status)
		assert.Equal(w.t, "-1", r.retryAfter)
		r = d.register("")
		assert.Equal(w.t, 202, r.status)
		assert.Empty(w.t, r.retryAfter)
		r = d.register("")
		assert.Equal(w.t, 200, r.status, "a status that is no error changes the status alone")
		assert.NotEmpty(w.t, r.decode(w.t).OperationID)
	})
}

func TestLostOperation(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("dev")
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, DropOperation: true})
		w.dps.Inject(dpstest.Fault{On: dpstest.Poll, Skip: 1, DropOperation: true})
		d := w.device(transport, "dev", byKey("dev", key1))
		defer d.close()
		r := d.register("")
		assert.Equal(w.t, 202, r.status)
		r = d.poll(r.decode(w.t).OperationID, "")
		assert.Equal(w.t, 404, r.status)
		assert.Equal(w.t, 404203, r.decode(w.t).ErrorCode)
		assert.Equal(w.t, "Operation not found.", r.decode(w.t).Message)

		op := d.register("").decode(w.t).OperationID
		assert.Equal(w.t, 202, d.poll(op, "").status)
		assert.Equal(w.t, 404203, d.poll(op, "").decode(w.t).ErrorCode)
	})
}

func TestHTTPSCutDelayAndSilence(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev")
		d := w.https("dev", version, byKey("dev", key1))
		defer d.close()
		path := d.path() + "/register" + d.query()

		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Cut: true})
		_, err := d.do(w.t.Context(), "PUT", path, "")
		assert.Error(t, err)
		_, ok := w.dps.Registration("dev")
		assert.False(t, ok)

		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Cut: true, Perform: true})
		_, err = d.do(w.t.Context(), "PUT", path, "")
		assert.Error(t, err)
		_, ok = w.dps.Registration("dev")
		assert.True(t, ok, "carried out, and the answer lost")

		w.dps.Inject(dpstest.Fault{On: dpstest.Register, CutAfter: 20})
		r, err := d.do(w.t.Context(), "PUT", path, "")
		assert.Error(t, err)
		assert.Equal(t, 202, r.status)
		assert.Len(t, r.raw, 20)

		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Delay: 17 * time.Second})
		start := time.Now()
		assert.Equal(t, 202, d.register("").status)
		assert.Equal(t, 17*time.Second, time.Since(start))

		w.dps.Inject(dpstest.Fault{On: dpstest.Register, NoAnswer: true})
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Hour)
		defer cancel()
		_, err = d.do(ctx, "PUT", path, "")
		assert.True(t, errors.Is(err, context.DeadlineExceeded), "%v", err)
		log := w.dps.Requests()
		assert.Zero(t, log[len(log)-1].Status)
		assert.Equal(t, 5, w.dps.Count(dpstest.Register))
	})
}

func TestMQTTCutAndSilence(t *testing.T) {
	onMQTT(t, func(w *world, transport string) {
		w.enroll("dev")
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, NoAnswer: true})
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Cut: true, Perform: true})
		d := w.device(transport, "dev", byKey("dev", key1)).(*mqttDevice)
		d.publish("$dps/registrations/PUT/iotdps-register/?$rid=1", "", 1)
		require.IsType(w.t, &packets.PubackPacket{}, d.read())
		require.NoError(w.t, d.nc.SetReadDeadline(time.Now().Add(time.Hour)))
		d.ended()

		d = w.device(transport, "dev", byKey("dev", key1)).(*mqttDevice)
		d.publish("$dps/registrations/PUT/iotdps-register/?$rid=1", "", 0)
		d.ended()
		_, ok := w.dps.Registration("dev")
		assert.True(w.t, ok)
	})
}

func TestStaleAndRepeatedAnswers(t *testing.T) {
	onMQTT(t, func(w *world, transport string) {
		w.enroll("dev")
		w.dps.Inject(dpstest.Fault{
			On: dpstest.Register, Stale: true, Twice: true, RetryAfterFirst: true,
		})
		d := w.device(transport, "dev", byKey("dev", key1)).(*mqttDevice)
		defer d.close()
		r := d.register("")
		assert.Equal(w.t, "$dps/registrations/res/202/?retry-after=3&$rid=07", r.topic)
		for range 2 {
			again := d.response()
			assert.Equal(w.t, "$dps/registrations/res/202/?retry-after=3&$rid=7", again.topic)
			assert.Equal(w.t, r.raw, again.raw)
		}
	})
}

func TestRefusedConnections(t *testing.T) {
	onMQTT(t, func(w *world, transport string) {
		w.enroll("dev")
		for code := byte(1); code <= 5; code++ {
			delay := time.Duration(code) * 10 * time.Second
			w.dps.Inject(dpstest.Fault{
				On: dpstest.Connect, ReturnCode: code, Delay: delay, RegistrationID: "dev",
			})
			start := time.Now()
			d := w.mqtt(transport, "dev", userName("dev", version), byKey("dev", key1))
			assert.Equal(w.t, code, d.connack.ReturnCode)
			assert.Equal(w.t, delay, time.Since(start))
			d.ended()
		}
		assert.Equal(w.t, 5, w.dps.Count(dpstest.Connect))

		w.dps.Inject(dpstest.Fault{On: dpstest.Connect, Cut: true})
		w.dps.Inject(dpstest.Fault{On: dpstest.Connect, NoAnswer: true})
		for range 2 {
			d, err := w.dialMQTT(transport, credential{})
			require.NoError(w.t, err)
			require.NoError(w.t, d.nc.SetReadDeadline(time.Now().Add(time.Hour)))
			d.connect("dev", userName("dev", version), "")
			d.ended()
			d.close()
		}

		w.dps.Inject(dpstest.Fault{SubackFailure: true})
		d := w.mqtt(transport, "dev", userName("dev", version), byKey("dev", key1))
		defer d.close()
		assert.Equal(w.t, []byte{0x80}, d.subscribe("$dps/registrations/res/#", 1))
		assert.Equal(w.t, []byte{1}, d.subscribe("$dps/registrations/res/#", 1))
	})
}

func TestRefusedUpgrade(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev")
		w.dps.Inject(dpstest.Fault{
			On: dpstest.Connect, Status: 503, RetryAfter: "12", Delay: time.Second,
		})
		w.dps.Inject(dpstest.Fault{
			On: dpstest.Connect, Status: 407, Body: []byte("<html>"), ContentType: "text/html",
		})
		plain := w.mqtt(dpstest.MQTT, "dev", userName("dev", version), credential{})
		assert.Equal(t, byte(0), plain.connack.ReturnCode, "there is no upgrade to refuse")
		plain.close()
		upgrade := func() *http.Response {
			dialer := websocket.Dialer{
				NetDialContext: w.net.DialContext, TLSClientConfig: w.net.TLSConfig(),
				Subprotocols: []string{"MQTT"},
			}
			ws, res, err := dialer.Dial("wss://"+dpstest.GlobalEndpoint+"/$iothub/websocket", nil)
			if err == nil {
				ws.Close()
			}
			return res
		}
		res := upgrade()
		assert.Equal(t, 503, res.StatusCode)
		assert.Equal(t, "12", res.Header.Get("Retry-After"))
		assert.NotEmpty(t, res.Header.Get("Date"))
		assert.Equal(t, 407, upgrade().StatusCode)
		res = upgrade()
		assert.Equal(t, 101, res.StatusCode)
		assert.Equal(t, "MQTT", res.Header.Get("Sec-WebSocket-Protocol"), "as the client writes it")
		log := w.dps.Requests()
		assert.Equal(t, 503, log[1].Status)
		assert.Equal(t, dpstest.WebSocket, log[1].Transport)

		d := w.https("dev", version, credential{})
		defer d.close()
		assert.Equal(t, 400, d.must("GET", "/$iothub/websocket", "").status, "no upgrade at all")
	})
}

func TestNetworkClosesWhileRequestsAreHeld(t *testing.T) {
	for _, transport := range []string{dpstest.HTTPS, dpstest.MQTT, dpstest.WebSocket} {
		inBubble(t, dpstest.Config{}, func(w *world) {
			w.enroll("dev")
			w.dps.Inject(dpstest.Fault{
				On: dpstest.Register, Times: -1, NoAnswer: transport != dpstest.MQTT,
				Delay: time.Hour,
			})
			if transport == dpstest.HTTPS {
				d := w.https("dev", version, byKey("dev", key1))
				done := make(chan error)
				go func() {
					_, err := d.do(context.Background(), "PUT", d.path()+"/register"+d.query(), "")
					done <- err
				}()
				time.Sleep(time.Second)
				require.NoError(t, w.net.Close())
				assert.Error(t, <-done)
				return
			}
			d := w.device(transport, "dev", byKey("dev", key1)).(*mqttDevice)
			for range 30 { // more than are carried out at once
				d.publish("$dps/registrations/PUT/iotdps-register/?$rid=1", "", 0)
			}
			time.Sleep(time.Second)
			require.NoError(t, w.net.Close())
			d.ended()
		})
	}
}

func TestOnLoopbackSockets(t *testing.T) {
	n, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	w := populate(t, n, dpstest.Config{AssignTime: -1})
	ca := simnet.NewCA("Factory", time.Now()).Intermediate("Line 1")
	w.enroll("dev")
	require.NoError(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "line", Attestation: dpstest.SigningCertificates(ca.Certificate(), nil),
	}))
	for _, transport := range []string{dpstest.HTTPS, dpstest.MQTT, dpstest.WebSocket} {
		for id, c := range map[string]credential{
			"dev": byKey("dev", key1), "certified": byCertificate(ca.Device("certified")),
		} {
			d := w.device(transport, id, c)
			r := d.register("")
			require.Equal(t, 202, r.status)
			r = d.poll(r.decode(t).OperationID, "")
			require.Equal(t, 200, r.status)
			assert.Equal(t, hubA, r.decode(t).state(t).AssignedHub)
			d.close()
		}
	}
}

func TestFaultIsTheSameAfterJSON(t *testing.T) {
	whole := dpstest.Fault{
		On: dpstest.Lookup, Delay: 90 * time.Second, Body: []byte("<html>"),
		Chain: hubtest.ChainExpired,
	}
	v := reflect.ValueOf(&whole).Elem()
	for i := range v.NumField() { // so that no field is forgotten
		switch f := v.Field(i); f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		case reflect.String:
			if f.IsZero() {
				f.SetString("text")
			}
		case reflect.Uint8:
			f.SetUint(3)
		case reflect.Int:
			f.SetInt(500)
		}
		require.False(t, v.Field(i).IsZero(), v.Type().Field(i).Name)
	}
	for _, f := range []dpstest.Fault{whole, {}, {Body: []byte{}}} {
		text, err := json.Marshal(f)
		require.NoError(t, err)
		var back dpstest.Fault
		require.NoError(t, json.Unmarshal(text, &back))
		assert.Equal(t, f, back, "%s", text)
	}
	assert.ErrorContains(
		t, json.Unmarshal([]byte(`{"on":"lunch"}`), new(dpstest.Fault)), "register, poll",
	)
	assert.Error(t, json.Unmarshal([]byte(`{"delay":5}`), new(dpstest.Fault)))
}
