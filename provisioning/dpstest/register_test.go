// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

var timestamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$`)

func TestRegistrationIsDoneOnceItsRetryAfterHasPassed(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("sensor-042")
		d := w.device(transport, "sensor-042", byKey("sensor-042", key1))
		defer d.close()

		r := d.register(`{"registrationId":"sensor-042"}`)
		require.Equal(w.t, 202, r.status)
		assert.Equal(w.t, "3", r.retryAfter)
		accepted := members(w.t, r.raw)
		assert.Len(w.t, accepted, 2)
		assert.Equal(w.t, "assigning", accepted["status"])
		op := r.decode(w.t).OperationID
		assert.Regexp(w.t, `^\d\.[0-9a-f]{16}\.[0-9a-f-]{36}$`, op)

		time.Sleep(2900 * time.Millisecond)
		for range 2 {
			require.Equal(w.t, 202, d.poll(op, "").status, "polls take nothing from it")
		}
		assert.Empty(w.t, w.a.Devices(), "the hub knows nothing of it yet")
		record, _ := w.dps.Registration("sensor-042")
		assert.Equal(w.t, dpstest.StatusAssigning, record.Status)
		r = d.poll(op, " ")
		require.Equal(w.t, 202, r.status)
		assert.Equal(w.t, "3", r.retryAfter)
		assert.Equal(w.t, map[string]any{
			"operationId": op, "status": "assigning",
			"registrationState": map[string]any{"registrationId": "sensor-042", "status": "assigning"},
		}, members(w.t, r.raw))

		time.Sleep(100 * time.Millisecond)
		r = d.poll(op, "")
		require.Equal(w.t, 200, r.status)
		assert.Empty(w.t, r.retryAfter)
		final := r.decode(w.t)
		assert.Equal(w.t, op, final.OperationID)
		assert.Equal(w.t, "assigned", final.Status)
		state := final.state(w.t)
		assert.Equal(w.t, "sensor-042", state.RegistrationID)
		assert.Equal(w.t, "assigned", state.Status)
		assert.Equal(w.t, "initialAssignment", state.Substatus)
		assert.Equal(w.t, hubA, state.AssignedHub)
		assert.Equal(w.t, "sensor-042", state.DeviceID)
		assert.Regexp(w.t, timestamp, state.CreatedDateTimeUTC)
		assert.Regexp(w.t, timestamp, state.LastUpdatedDateTimeUTC)
		etag, err := base64.StdEncoding.DecodeString(state.ETag)
		require.NoError(w.t, err)
		assert.Regexp(w.t, `^"[0-9a-f-]{36}"$`, string(etag))

		again := d.poll(op, `{"registrationId":"sensor-042"}`)
		assert.JSONEq(w.t, string(r.raw), string(again.raw), "a final answer stays")

		assert.Equal(w.t, 1, w.dps.Count(dpstest.Register))
		assert.Equal(w.t, 5, w.dps.Count(dpstest.Poll))
		device, ok := w.a.Get("sensor-042")
		require.True(w.t, ok)
		assert.Equal(w.t, key1, device.PrimaryKey)
		assert.Equal(w.t, key2, device.SecondaryKey)
	})
}

func TestHTTPSHeaders(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev:1")
		d := w.https("dev:1", version, byKey("dev:1", key1))
		defer d.close()
		r := d.register("")
		require.Equal(t, 202, r.status, "%s", r.raw)
		assert.Equal(t, "application/json; charset=utf-8", r.header.Get("Content-Type"))
		assert.Equal(t, "https://"+dpstest.GlobalEndpoint+d.path()+"/register", r.header.Get("Location"), "the register address, not the operation's")
		assert.NotEmpty(t, r.header.Get("x-ms-request-id"))
		assert.NotEmpty(t, r.header.Get("Strict-Transport-Security"))
		date, err := time.Parse(time.RFC1123, r.header.Get("Date"))
		require.NoError(t, err)
		assert.Equal(t, time.Now().Unix(), date.Unix())
		assert.Empty(t, d.poll(r.decode(t).OperationID, "").header.Get("Location"))
	})
}

func TestAssignTimeAndRetryAfterAreSettable(t *testing.T) {
	onEach(t, dpstest.Config{RetryAfter: -1}, func(w *world, transport string) {
		w.enroll("dev")
		d := w.device(transport, "dev", byKey("dev", key1))
		defer d.close()
		r := d.register("")
		require.Equal(w.t, 202, r.status)
		assert.Empty(w.t, r.retryAfter)
		assert.Equal(w.t, 200, d.poll(r.decode(w.t).OperationID, "").status)
	})
	inBubble(t, dpstest.Config{RetryAfter: 1200 * time.Millisecond}, func(w *world) {
		w.enroll("dev")
		d := w.https("dev", version, byKey("dev", key1))
		defer d.close()
		r := d.register("")
		assert.Equal(t, "2", r.retryAfter, "rounded up")
		op := r.decode(t).OperationID
		time.Sleep(1900 * time.Millisecond)
		assert.Equal(t, 202, d.poll(op, "").status, "not before what the device was told")
		time.Sleep(100 * time.Millisecond)
		assert.Equal(t, 200, d.poll(op, "").status)
	})
	onEach(t, dpstest.Config{AssignTime: -1}, func(w *world, transport string) {
		w.enroll("dev")
		d := w.device(transport, "dev", byKey("dev", key1))
		defer d.close()
		r := d.register("")
		assert.Equal(w.t, "3", r.retryAfter)
		assert.Equal(w.t, 200, d.poll(r.decode(w.t).OperationID, "").status)
	})
}

func TestFailedAndDisabledAreStatus200(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("off", func(e *dpstest.IndividualEnrollment) {
			e.ProvisioningStatus = dpstest.Disabled
		})
		d := w.device(transport, "off", byKey("off", key1))
		r := w.finish(d, "")
		d.close()
		assert.Equal(w.t, 200, r.status)
		assert.Empty(w.t, r.retryAfter)
		assert.Equal(w.t, "disabled", r.decode(w.t).Status)
		assert.Equal(w.t, "disabled", r.decode(w.t).state(w.t).Status)
		assert.NotContains(w.t, members(w.t, r.decode(w.t).RegistrationState), "assignedHub")
		record, ok := w.dps.Registration("off")
		require.True(w.t, ok)
		assert.Equal(w.t, dpstest.StatusDisabled, record.Status)

		require.True(w.t, w.dps.Unlink(hubA))
		w.enroll("homeless")
		d = w.device(transport, "homeless", byKey("homeless", key1))
		r = w.finish(d, "")
		d.close()
		assert.Equal(w.t, 200, r.status)
		assert.Equal(w.t, "failed", r.decode(w.t).Status)
		state := r.decode(w.t).state(w.t)
		assert.Equal(w.t, "failed", state.Status)
		assert.Equal(w.t, 400208, state.ErrorCode)
		assert.NotEmpty(w.t, state.ErrorMessage)
	})
}

func TestPayloadGoesOutAndComesBack(t *testing.T) {
	var got dpstest.Allocation
	cfg := dpstest.Config{
		Allocate: func(_ context.Context, a dpstest.Allocation) (dpstest.Allocated, error) {
			got = a
			return dpstest.Allocated{
				Hub: a.LinkedHubs[0], Payload: json.RawMessage(`{"room":7}`),
			}, nil
		},
	}
	onEach(t, cfg, func(w *world, transport string) {
		w.enroll("dev")
		d := w.device(transport, "dev", byKey("dev", key1))
		defer d.close()
		r := w.finish(d, `{"registrationId":"dev","payload":{"model":"toaster"}}`)
		assert.JSONEq(w.t, `{"room":7}`, string(r.decode(w.t).state(w.t).Payload))
		assert.JSONEq(w.t, `{"model":"toaster"}`, string(got.Payload))
		assert.Equal(w.t, []string{hubA}, got.LinkedHubs)
		require.NotNil(w.t, got.Individual)
		assert.Empty(w.t, got.CurrentHub)
		for _, request := range w.dps.Requests() {
			if request.Op == dpstest.Register {
				assert.JSONEq(w.t, `{"model":"toaster"}`, string(request.Payload))
			}
		}

		r = w.finish(d, `{"registrationId":"dev"}`)
		assert.JSONEq(
			w.t, `{"room":7}`, string(r.decode(w.t).state(w.t).Payload), "with every registration",
		)
		assert.Empty(w.t, got.Payload)
		assert.Equal(w.t, hubA, got.CurrentHub)
		assert.Equal(w.t, "dev", got.CurrentDevice)
	})
}

func TestPayloadNeedsAVersionThatKnowsIt(t *testing.T) {
	cfg := dpstest.Config{
		Allocate: func(_ context.Context, a dpstest.Allocation) (dpstest.Allocated, error) {
			return dpstest.Allocated{Hub: hubA, Payload: json.RawMessage(`1`)}, nil
		},
	}
	inBubble(t, cfg, func(w *world) {
		w.enroll("dev")
		state := w.assigned(dpstest.HTTPS, "dev", "2018-11-01", byKey("dev", key1))
		assert.Empty(t, state.Payload)
		assert.Regexp(t, `^".*"$`, state.ETag, "not encoded in 2018")
	})
}

func TestStatusLookupAnswersTheBareRecord(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev")
		d := w.https("dev", version, byKey("dev", key1))
		defer d.close()
		r := d.lookup(`{"registrationId":"dev"}`)
		assert.Equal(t, 404, r.status)
		assert.Equal(t, 404201, r.decode(t).ErrorCode)

		final := w.finish(d, "")
		r = d.lookup("")
		require.Equal(t, 200, r.status)
		assert.JSONEq(t, string(final.decode(t).RegistrationState), string(r.raw))
		assert.Empty(t, r.retryAfter)
		assert.Equal(t, 2, w.dps.Count(dpstest.Lookup))

		assert.Equal(t, 400, d.lookup(`{"registrationId":"dev","csr":"MIIB"}`).status)

		wrong := w.https("dev", version, byKey("dev", "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmc="))
		defer wrong.close()
		assert.Equal(t, 401, wrong.lookup("").status)
	})
	inBubble(t, dpstest.Config{UnassignedLookup: true}, func(w *world) {
		w.enroll("dev")
		d := w.https("dev", version, byKey("dev", key1))
		defer d.close()
		r := d.lookup("")
		assert.Equal(t, 200, r.status)
		assert.JSONEq(t, `{"registrationId":"dev","status":"unassigned"}`, string(r.raw))
	})
}

func TestErrorBodies(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev")
		d := w.https("dev", version, byKey("dev", key1))
		defer d.close()
		check := func(r result, code int) {
			t.Helper()
			m := members(t, r.raw)
			assert.Len(t, m, 4)
			b := r.decode(t)
			assert.Equal(t, code, b.ErrorCode)
			assert.Equal(t, code/1000, r.status)
			assert.NotEmpty(t, b.Message)
			assert.Regexp(t, timestamp, b.TimestampUTC)
			assert.Equal(t, r.header.Get("x-ms-request-id"), b.TrackingID)
			assert.NotEmpty(t, b.TrackingID)
			assert.Empty(t, r.header.Get("WWW-Authenticate"))
			assert.Empty(t, r.retryAfter)
		}
		query := d.query()
		check(d.poll("5.0000000000000000.none", ""), 404203)
		check(d.must("PUT", "/0ne0000FFFF/registrations/dev/register"+query, ""), 404000)
		check(d.must("PUT", d.path()+"/register", ""), 400000)
		check(d.must("PUT", d.path()+"/register?api-version=1999-01-01", ""), 400000)
		check(d.must("PUT", "/"+scope+"/registrations/sp%20ace/register"+query, ""), 400000)
		check(d.must("PUT", "/"+scope+"/registrations/a%2Fb/register"+query, ""), 400000)
		check(d.must("POST", d.path()+"/register"+query, ""), 405000)
		check(d.must("GET", d.path()+query, ""), 405000)
		check(d.register(`{"registrationId":"other"}`), 400000)
		check(d.register(`{"registrationId":`), 400000)
		check(d.register(`[1]`), 400000)
		check(d.register(`{"registrationId":5}`), 400000)
		check(d.register(`{"payload":"`+string(make([]byte, 96<<10))+`"}`), 413000)
		check(d.must("GET", "/", ""), 404000)
		assert.Equal(t, 202, d.register("").status, "and the right request is served")
	})
}

func TestAnyOtherRequestIsAClock(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.net.SetClockOffset(12 * time.Hour)
		d := w.https("dev", version, credential{})
		defer d.close()
		for _, method := range []string{"HEAD", "GET"} {
			r := d.must(method, "/", "")
			assert.Equal(t, 404, r.status)
			date, err := time.Parse(time.RFC1123, r.header.Get("Date"))
			require.NoError(t, err)
			assert.Equal(t, time.Now().Add(12*time.Hour).Unix(), date.Unix())
		}
		assert.Equal(t, 2, w.dps.Count(dpstest.Clock))
		assert.Equal(t, 0, w.dps.Count(dpstest.Register, dpstest.Poll, dpstest.Lookup))
	})
}

func TestRequestLog(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		assert.Zero(w.t, w.dps.Count())
		w.enroll("dev")
		start := time.Now()
		d := w.device(transport, "dev", byKey("dev", key1))
		defer d.close()
		op := d.register("").decode(w.t).OperationID
		time.Sleep(time.Second)
		d.poll(op, "")
		d.poll("nonsense", "")
		log := w.dps.Requests()
		if transport != dpstest.HTTPS {
			assert.Equal(w.t, dpstest.Request{
				Time: start, Op: dpstest.Connect, Transport: transport, RegistrationID: "dev",
				APIVersion: version, Answered: start,
			}, log[0])
			log = log[1:]
		}
		assert.Equal(w.t, []dpstest.Request{
			{Time: start, Op: dpstest.Register, Transport: transport, RegistrationID: "dev", APIVersion: version, OperationID: op, Status: 202, Answered: start, RetryAfter: "3"},
			{Time: start.Add(time.Second), Op: dpstest.Poll, Transport: transport, RegistrationID: "dev", APIVersion: version, OperationID: op, Status: 202, Answered: start.Add(time.Second), RetryAfter: "3"},
			{Time: start.Add(time.Second), Op: dpstest.Poll, Transport: transport, RegistrationID: "dev", APIVersion: version, OperationID: "nonsense", Status: 404, Code: 404203, Answered: start.Add(time.Second)},
		}, log)
		assert.Equal(w.t, 2, w.dps.Count(dpstest.Poll))
		w.dps.ResetLog()
		assert.Empty(w.t, w.dps.Requests())
		assert.Zero(w.t, w.dps.Count())
	})
}

func TestOperationsEnd(t *testing.T) {
	inBubble(t, dpstest.Config{OperationLifetime: time.Hour}, func(w *world) {
		w.enroll("dev")
		w.enroll("other")
		d := w.https("dev", version, byKey("dev", key1))
		defer d.close()
		op := d.register("").decode(t).OperationID

		other := w.https("other", version, byKey("other", key1))
		defer other.close()
		assert.Equal(
			t, 404203, other.poll(op, "").decode(t).ErrorCode, "an operation is its device's alone",
		)

		time.Sleep(59 * time.Minute)
		d.auth, d.client.Timeout = token("dev", key1), time.Minute
		assert.Equal(t, 200, d.poll(op, "").status)
		time.Sleep(time.Minute)
		assert.Equal(t, 404203, d.poll(op, "").decode(t).ErrorCode)
	})
}

func TestOperationOutlivesItsConnection(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev")
		d := w.device(dpstest.MQTT, "dev", byKey("dev", key1))
		op := d.register("").decode(t).OperationID
		d.close()
		d = w.device(dpstest.WebSocket, "dev", byKey("dev", key1))
		assert.Equal(t, 202, d.poll(op, "").status)
		d.close()
		time.Sleep(3 * time.Second)
		d = w.device(dpstest.HTTPS, "dev", byKey("dev", key1))
		assert.Equal(t, 200, d.poll(op, "").status)
		d.close()
	})
}

func TestTwoRegistrationsAtOnce(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev")
		d := w.https("dev", version, byKey("dev", key1))
		defer d.close()
		one := d.register("").decode(t).OperationID
		two := d.register("").decode(t).OperationID
		assert.NotEqual(t, one, two, "each has its operation")
		time.Sleep(3*time.Second + time.Millisecond) // past the moment itself
		for _, op := range []string{one, two} {
			assert.Equal(t, 200, d.poll(op, "").status)
		}
	})
	onEach(t, dpstest.Config{RefuseConcurrent: true}, func(w *world, transport string) {
		w.enroll("dev")
		d := w.device(transport, "dev", byKey("dev", key1))
		defer d.close()
		op := d.register("").decode(w.t).OperationID
		refused := d.register("")
		assert.Equal(w.t, 409, refused.status)
		assert.Equal(w.t, 409203, refused.decode(w.t).ErrorCode)
		assert.Equal(w.t, "Precondition failed.", refused.decode(w.t).Message)
		time.Sleep(3*time.Second + time.Millisecond) // past the moment itself
		require.Equal(w.t, 200, d.poll(op, "").status)
		require.Equal(w.t, 202, d.register("").status, "the first one is done")
		time.Sleep(3*time.Second + time.Millisecond) // past the moment itself
		assert.Equal(
			w.t, 202, d.register("").status, "nobody polls it, and the service is done with it",
		)
	})
}
