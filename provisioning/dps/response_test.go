// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// Answers as the service's documentation records them. Azure docs: "How to use symmetric key
// attestation over HTTPS".
const (
	recordedAccepted  = `{"operationId":"5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550","status":"assigning"}`
	recordedAssigning = `{"operationId":"5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550","status":"assigning","registrationState":{"registrationId":"my-device-01","status":"assigning"}}`
	recordedAssigned  = `{"operationId":"5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550","status":"assigned","registrationState":{` +
		`"x509":{},"registrationId":"my-device-01","createdDateTimeUtc":"2022-08-31T22:02:50.5163352Z","assignedHub":"MyExampleHub.azure-devices.net",` +
		`"deviceId":"my-device-01","status":"assigned","substatus":"initialAssignment","lastUpdatedDateTimeUtc":"2022-08-31T22:02:50.7370676Z",` +
		`"etag":"IjY5MDAzNTUyLTAwMDAtMDMwMC0wMDAwLTYzMGZkYThhMDAwMCI="}}`
	recordedFailed = `{"operationId":"5.a.b","status":"failed","registrationState":{"registrationId":"my-device-01","status":"failed",` +
		`"errorCode":400207,"errorMessage":"Custom allocation failed with status code: 400","lastUpdatedDateTimeUtc":"2022-08-31T22:02:50Z","etag":"x"}}`
	recordedConflict  = `{"errorCode":409203,"trackingId":"e5490c1e-2528-4eb5-9cf6-e72e80c20268","message":"Precondition failed.","timestampUtc":"2022-02-28T10:11:31.1373215Z"}`
	recordedChallenge = `{"message":"Authorization required, resend request using supplied key","authenticationKey":"ADQAI","keyName":"registration"}`
	recordedOpID      = "5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550"
)

func TestAnswerInProgressIsAnOperationToPoll(t *testing.T) {
	for body, name := range map[string]string{
		recordedAccepted: "register", recordedAssigning: "poll",
		strings.ReplaceAll(recordedAssigning, "assigning", "unassigned"): "poll",
	} {
		p, failure := readOperation(
			name, "my-device-01", response{status: 202, retryAfter: "3", body: []byte(body)},
		)
		require.Nil(t, failure)
		assert.Equal(t, progress{operationID: recordedOpID, delay: 3 * time.Second}, p)
	}
	// A poll need not repeat the operation's name.
	p, failure := readOperation(
		"poll", "d", response{status: 202, body: []byte(`{"status":"assigning"}`)},
	)
	require.Nil(t, failure)
	assert.Equal(t, progress{delay: 3 * time.Second}, p)
}

func TestAnswerPacesPollsByRetryAfterOfASuccess(t *testing.T) {
	date := time.Date(2022, 8, 31, 22, 2, 49, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":     3 * time.Second,
		"3":    3 * time.Second,
		"0":    time.Second,
		"1":    time.Second,
		"-1":   3 * time.Second,
		"soon": 3 * time.Second,
		"3600": time.Hour,
		date.Add(7 * time.Second).Format(http.TimeFormat): 7 * time.Second,
		date.Add(-time.Hour).Format(http.TimeFormat):      time.Second,
	} {
		p, failure := readOperation("register", "d", response{
			status: 202, date: date, retryAfter: value, body: []byte(recordedAccepted),
		})
		require.Nil(t, failure)
		assert.Equal(t, want, p.delay, "Retry-After: %q", value)
	}
	p, failure := readOperation("register", "d", response{
		status: 202, retryAfter: "99999999999999999999", body: []byte(recordedAccepted),
	})
	require.Nil(t, failure)
	assert.Equal(t, 24*time.Hour, p.delay, "an overflow is no short wait, and none for ever")
}

func TestAnswerAssignedIsReadWhole(t *testing.T) {
	date := time.Date(2022, 8, 31, 22, 2, 55, 0, time.UTC)
	want := Assignment{
		Hub: "MyExampleHub.azure-devices.net", DeviceID: "my-device-01",
		RegistrationID: "my-device-01",
		Status:         "assigned", Substatus: "initialAssignment",
		ETag:    "IjY5MDAzNTUyLTAwMDAtMDMwMC0wMDAwLTYzMGZkYThhMDAwMCI=",
		Created: time.Date(2022, 8, 31, 22, 2, 50, 516335200, time.UTC),
		Updated: time.Date(2022, 8, 31, 22, 2, 50, 737067600, time.UTC),
		Date:    date,
	}
	p, failure := readOperation(
		"poll", "my-device-01", response{status: 200, date: date, body: []byte(recordedAssigned)},
	)
	require.Nil(t, failure)
	assert.Equal(t, progress{assigned: true, assignment: want}, p)
	assert.Equal(t, "MyExampleHub.azure-devices.net", p.assignment.Target().Host)
	assert.Equal(t, "my-device-01", p.assignment.Target().DeviceID)

	// The lookup answers with the bare registration.
	bare := recordedAssigned[strings.Index(recordedAssigned, `{"x509"`) : len(recordedAssigned)-1]
	looked, failure := readLookup(
		"my-device-01", response{status: 200, date: date, body: []byte(bare)},
	)
	require.Nil(t, failure)
	assert.Equal(t, want, looked)
}

func TestAnswerAssignedKeepsThePayloadAndForgivesMissingFrills(t *testing.T) {
	read := func(members string) Assignment {
		body := `{"operationId":"1","status":"assigned","registrationState":{"assignedHub":"h.example.net","deviceId":"d"` + members + `}}`
		p, failure := readOperation("poll", "r", response{status: 200, body: []byte(body)})
		require.Nil(t, failure, members)
		return p.assignment
	}
	assert.Equal(
		t, Assignment{Hub: "h.example.net", DeviceID: "d", RegistrationID: "r", Status: "assigned"},
		read(""),
	)
	assert.JSONEq(t, `{"room":[1,2]}`, string(read(`,"payload":{"room":[1,2]}`).Payload))
	assert.Nil(t, read(`,"payload":null`).Payload)
	assert.True(t, read(`,"createdDateTimeUtc":"yesterday"`).Created.IsZero())
	assert.Equal(t, "d", read(`,"registrationId":"R","unknown":{"deep":[{}]}`).DeviceID)
}

func TestAnswerNamesTheConnectionProfileOfTheHub(t *testing.T) {
	for member, want := range map[string]struct {
		profile string
		classic bool
	}{
		``:                                 {"", true},
		`,"connectionProfile":null`:        {"", true},
		`,"connectionProfile":""`:          {"", true},
		`,"connectionProfile":"classic"`:   {"classic", true},
		`,"connectionProfile":"Classic"`:   {"Classic", true},
		`,"connectionProfile":"mqttV5"`:    {"mqttV5", false},
		`,"connectionProfile":"MqttV5"`:    {"MqttV5", false},
		`,"connectionProfile":"classic\n"`: {"classic ", false},
		`,"connectionProfile":"a\r\nb"`:    {"a  b", false},
		`,"connectionProfile":"` + strings.Repeat("x", 1000) + `"`: {strings.Repeat("x", 63), false},
	} {
		registration := `"status":"assigned","assignedHub":"h.example.net","deviceId":"d"` + member
		p, failure := readOperation("poll", "d", response{status: 200, body: []byte(
			`{"operationId":"1","status":"assigned","registrationState":{` + registration + `}}`,
		)})
		require.Nil(t, failure, member)
		looked, failure := readLookup(
			"d", response{status: 200, body: []byte("{" + registration + "}")},
		)
		require.Nil(t, failure, member)
		for _, assignment := range []Assignment{p.assignment, looked} {
			assert.Equal(t, want.profile, assignment.ConnectionProfile, member)
			assert.Equal(t, want.classic, assignment.Classic(), member)
		}
	}
}

func TestAnswerFailedOrDisabledComesWithSuccessStatus(t *testing.T) {
	_, failure := readOperation("poll", "my-device-01", response{
		status: 200, body: []byte(recordedFailed), requestID: "req-1",
	})
	require.NotNil(t, failure)
	assert.Equal(t, "failed", failure.State)
	assert.Equal(t, 400207, failure.Code)
	assert.Equal(t, 200, failure.Status)
	assert.Equal(t, "req-1", failure.TrackingID)
	assert.Equal(t, retry.Stop, failure.Verdict())
	assert.Equal(
		t,
		`dps: poll: status 200 ok, the registration is failed, code 400207, "Custom allocation failed with status code: 400", tracking id req-1`,
		failure.Error(),
	)

	_, failure = readOperation("register", "d", response{status: 200, body: []byte(
		`{"operationId":"1","status":"disabled","registrationState":{"status":"disabled"}}`,
	)})
	require.NotNil(t, failure)
	assert.Equal(t, "disabled", failure.State)
	assert.Equal(t, retry.Stop, failure.Verdict())
	_, failure = readOperation("register", "d", response{
		status: 200, body: []byte(`{"operationId":"1","status":"failed"}`),
	})
	assert.Equal(t, retry.Stop, failure.Verdict(), "without any detail")
}

func TestAnswerRefusalsAndTheirVerdicts(t *testing.T) {
	body := func(code string) string {
		return `{"errorCode":` + code +
			`,"trackingId":"t-1","message":"Because.","timestampUtc":"2019-03-15T19:43:02.7904455Z"}`
	}
	for _, in := range []struct {
		op     string
		status int
		body   string
		want   retry.Verdict
	}{
		{"register", 400, body("400004"), retry.Stop},
		{"register", 401, body("401000"), retry.Stop},
		{"register", 401, body("401002"), retry.Stop},
		{"register", 401, "", retry.Stop},
		{"register", 401, recordedChallenge, retry.Stop},
		{"register", 403, body("403001"), retry.Stop},
		{"register", 404, body("404201"), retry.Stop},
		{"poll", 404, body("404201"), retry.Stop},
		{"poll", 404, body("404203"), retry.Register},
		{"poll", 404, body("404202"), retry.Register},
		{"poll", 404, "", retry.Register},
		{"lookup", 404, body("404201"), retry.Register},
		{"lookup", 404, "", retry.Register},
		{"register", 405, "", retry.Stop},
		{"register", 409, recordedConflict, retry.Wait},
		{"register", 412, body("412001"), retry.Stop},
		{"register", 415, body("415001"), retry.Stop},
		{"register", 429, body("429001"), retry.Wait},
		{"poll", 429, "", retry.Wait},
		{"register", 500, body("500001"), retry.Wait},
		{"register", 502, "<html>bad gateway</html>", retry.Wait},
		{"register", 503, "", retry.Wait},
		{"register", 503, "upstream connect error", retry.Wait},
		{"register", 403, "<!DOCTYPE html><title>Blocked</title>", retry.Wait}, // a proxy speaks, not the service
		{"register", 401, `{"errorCode":"abc"}`, retry.Wait},
		{"register", 302, "", retry.Wait},
		{"register", 204, "", retry.Wait},
		{"lookup", 202, "{}", retry.Wait},
		{"register", 999, "", retry.Wait},
	} {
		a := response{status: in.status, body: []byte(in.body), marked: true}
		var failure *Error
		if in.op == "lookup" {
			_, failure = readLookup("d", a)
		} else {
			_, failure = readOperation(in.op, "d", a)
		}
		require.NotNil(t, failure, "%+v", in)
		assert.Equal(t, in.want, failure.Verdict(), "%+v", in)
		assert.Equal(
			t, in.want, retry.Classify(errors.Join(errors.New("outer"), failure)),
			"wrapping breaks no rule",
		)
		assert.Equal(t, in.status, failure.Status)
		assert.NotContains(t, failure.Error(), "\n")
	}
}

func TestAnswerRefusalIsToldWithItsTrackingID(t *testing.T) {
	_, failure := readOperation(
		"register", "d", response{status: 409, body: []byte(recordedConflict)},
	)
	require.NotNil(t, failure)
	failure.Endpoint = "dps.example.net"
	assert.Equal(
		t,
		`dps: register at dps.example.net: status 409 conflict, code 409203, "Precondition failed.", tracking id e5490c1e-2528-4eb5-9cf6-e72e80c20268`,
		failure.Error(),
	)

	_, failure = readOperation("register", "d", response{
		status: 401, requestID: "from-header",
		body: []byte(`{"errorCode":401002,"trackingId":"","message":"a\nb\u0007c"}`),
	})
	require.NotNil(t, failure)
	assert.Equal(t, "from-header", failure.TrackingID)
	assert.Equal(
		t, `dps: register: status 401 unauthorized, code 401002, "a b c", tracking id from-header: `+
			`id scope, registration id and credential do not fit each other`,
		failure.Error(),
	)
}

func TestAnswerRefusalCarriesRetryAfterAndDate(t *testing.T) {
	date := time.Date(2022, 8, 31, 22, 2, 49, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "17": 17 * time.Second, "0": time.Second, "-4": 0, "x": 0,
		date.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
	} {
		for _, body := range []string{"", "<html>", `{"errorCode":429001}`} {
			for _, marked := range []bool{true, false} {
				_, failure := readOperation("poll", "d", response{
					status: 429, date: date, retryAfter: value, body: []byte(body), marked: marked,
				})
				require.NotNil(t, failure)
				assert.Equal(t, want, retry.After(failure), "Retry-After: %q", value)
				if marked || body == `{"errorCode":429001}` {
					assert.Equal(t, date, failure.Date)
				} else {
					assert.Zero(t, failure.Date, "it is the clock of somebody else")
				}
			}
		}
	}
}

func TestAnswerWithoutAMarkOfTheServiceIsNoAnswer(t *testing.T) {
	date := time.Date(2022, 8, 31, 22, 2, 49, 0, time.UTC)
	read := func(op string, a response) (failure *Error) {
		if a.date = date; op == "lookup" {
			_, failure = readLookup("d", a)
		} else {
			_, failure = readOperation(op, "d", a)
		}
		require.NotNil(t, failure)
		return failure
	}
	for _, op := range []string{"register", "poll", "lookup"} {
		for _, status := range []int{
			400, 401, 403, 404, 405, 407, 408, 409, 412, 415, 429, 451, 499, 500, 502, 503, 302,
		} {
			for _, body := range []string{
				"", "{}", `{"error":"blocked by policy"}`, `{"errorCode":0,"trackingId":""}`,
				"<html>blocked</html>", "Forbidden", `{"status":"failed"}`,
			} {
				failure := read(op, response{status: status, body: []byte(body)})
				assert.False(t, failure.Answered(), "%v", failure)
				assert.Equal(t, retry.Wait, failure.Verdict(), "%v", failure)
				assert.Zero(t, failure.Date)
				assert.Equal(t, status, failure.Status, "people want to know it")
			}
		}
		for body, own := range map[string]bool{
			`{"errorCode":401002}`:     true,
			`{"trackingId":"t-1"}`:     true,
			recordedChallenge:          true,
			`{"authenticationKey":""}`: false,
			`{"keyName":"x"}`:          false,
		} {
			failure := read(op, response{status: 401, body: []byte(body)})
			assert.Equal(t, own, failure.Answered(), body)
			assert.Equal(t, own, failure.Verdict() == retry.Stop, body)
			assert.Equal(t, own, failure.Date.Equal(date), body)
		}
	}
	challenged := read("register", response{status: 403, body: []byte(recordedChallenge)})
	assert.False(t, challenged.Answered(), "a challenge is a 401")
	assert.Equal(
		t, "dps: poll: status 404 not found, the answer has no mark of the service: is there a "+
			"proxy in between?", read("poll", response{status: 404}).Error(),
	)

	// A registration's status is in the answers of the service alone.
	for _, body := range []string{`{"status":"failed"}`, `{"status":"disabled"}`} {
		failure := read("poll", response{status: 200, body: []byte(body)})
		assert.True(t, failure.Answered())
		assert.Equal(t, retry.Stop, failure.Verdict())
		assert.Equal(t, date, failure.Date)
	}
	for _, body := range []string{"", "{}", `{"status":"ok"}`, "<html>"} {
		failure := read("poll", response{status: 200, body: []byte(body)})
		assert.False(t, failure.Answered())
		assert.Zero(t, failure.Date)
		failure = read("poll", response{status: 200, body: []byte(body), marked: true})
		assert.True(t, failure.Answered())
		assert.Equal(t, date, failure.Date)
	}
	assert.False(t, (&Error{Op: "register", Err: io.EOF}).Answered())
	assert.True(t, (&Error{Op: "connect", ReturnCode: 5}).Answered())
}

func TestAnswerLookupStatesAndTheirVerdicts(t *testing.T) {
	for state, want := range map[string]retry.Verdict{
		"unassigned": retry.Register, "assigning": retry.Wait, "failed": retry.Stop,
		"disabled": retry.Stop,
	} {
		_, failure := readLookup("d", response{
			status: 200, body: []byte(`{"registrationId":"d","status":"` + state + `"}`),
		})
		require.NotNil(t, failure)
		assert.Equal(t, state, failure.State)
		assert.Equal(t, want, failure.Verdict(), state)
	}
}

func TestAnswerThatIsNotTheServicesNamesWhatIsWrong(t *testing.T) {
	state := func(members string) string {
		return `{"operationId":"1","status":"assigned","registrationState":{` + members + `}}`
	}
	long := `{"operationId":"` + strings.Repeat("x", 200<<10) + `"}`
	for body, want := range map[string]string{
		"":                       "is empty",
		" \n":                    "is empty",
		"<html></html>":          "html page",
		"OK":                     "not a json object",
		"[]":                     "not a json object",
		"null":                   "not a json object",
		"{}":                     "no field operationId|no field status",
		`{"operationId":"1"}`:    "no field status",
		`{"status":"assigning"}`: "no field operationId",
		`{"operationId":"","status":"assigning"}`:                          "no field operationId",
		`{"operationId":"a b","status":"assigning"}`:                       "operationId",
		`{"operationId":"1","status":"blessed"}`:                           `unknown status "blessed"`,
		`{"operationId":7,"status":"assigning"}`:                           "field operationId has the wrong type: number for string",
		`{"operationId":"1","status":true}`:                                "field status has the wrong type",
		`{"operationId":"1","status":"assigned"}`:                          "no field registrationState",
		`{"operationId":"1","status":"assigned","registrationState":null}`: "no field registrationState",
		`{"operationId":"1","status":"assigned","registrationState":"x"}`:  "registrationState has the wrong type",
		state(``):                                                                              "no field registrationState.assignedHub",
		state(`"assignedHub":"h.example.net"`):                                                 "no field registrationState.deviceId",
		state(`"deviceId":"d"`):                                                                "no field registrationState.assignedHub",
		state(`"assignedHub":null,"deviceId":"d"`):                                             "no field registrationState.assignedHub",
		state(`"assignedHub":["h"],"deviceId":"d"`):                                            "registrationState.assignedHub has the wrong type: array for string",
		state(`"assignedHub":"h.example.net","deviceId":{}`):                                   "registrationState.deviceId has the wrong type",
		state(`"assignedHub":"h.example.net/x","deviceId":"d"`):                                "assignedHub",
		state(`"assignedHub":"h example","deviceId":"d"`):                                      "assignedHub",
		state(`"assignedHub":"h.example.net:443","deviceId":"d"`):                              "assignedHub",
		state(`"assignedHub":"10.0.0.1","deviceId":"d"`):                                       "assignedHub",
		state(`"assignedHub":"h.example.net\u0000","deviceId":"d"`):                            "assignedHub",
		state(`"assignedHub":"h..net","deviceId":"d"`):                                         "assignedHub",
		state(`"assignedHub":"-h.net","deviceId":"d"`):                                         "assignedHub",
		state(`"assignedHub":"h.example.net","deviceId":"a/b"`):                                "deviceId",
		state(`"assignedHub":"h.example.net","deviceId":"a\nb"`):                               "deviceId",
		state(`"assignedHub":"h.example.net","deviceId":"` + strings.Repeat("d", 129) + `"`):   "deviceId",
		state(`"assignedHub":"h.example.net","deviceId":"d","status":"failed"`):                "contradicts itself",
		state(`"assignedHub":"h.example.net","deviceId":"d","registrationId":"somebody-else"`): "another device",
		long:                   "longer than",
		recordedAssigned + "}": "not json",
	} {
		_, failure := readOperation(
			"register", "my-device-01", response{status: 200, body: []byte(body)},
		)
		require.NotNil(t, failure, body[:min(len(body), 80)])
		matched := false
		for alternative := range strings.SplitSeq(want, "|") {
			matched = matched || strings.Contains(failure.Error(), alternative)
		}
		assert.True(t, matched, "%s: %s", want, failure)
		assert.Equal(t, retry.Wait, failure.Verdict(), "a proxy or an outage: %s", want)
		assert.NotContains(t, failure.Error(), "\n")
		assert.Less(t, len(failure.Error()), 1000)
	}
}

func TestAnswerCutAtAnyByteIsNeverAnAssignment(t *testing.T) {
	for n := range len(recordedAssigned) {
		p, failure := readOperation(
			"poll", "my-device-01", response{status: 200, body: []byte(recordedAssigned[:n])},
		)
		require.NotNil(t, failure, n)
		require.Zero(t, p.assignment)
		require.Equal(t, retry.Wait, failure.Verdict())
		if n > 0 {
			require.ErrorIs(t, failure, io.ErrUnexpectedEOF, "at %d: %v", n, failure)
		}
	}
}

func TestAnswerThatFailsStillNamesItsOperation(t *testing.T) {
	_, failure := readOperation("poll", "d", response{
		status: 200, body: []byte(`{"operationId":"5.a","status":"assigned"}`),
	})
	require.NotNil(t, failure)
	assert.Equal(t, "5.a", failure.OperationID)
}

func TestErrorOfConnackCallsForWhatTheCodeSays(t *testing.T) {
	for code, want := range map[byte]retry.Verdict{
		1: retry.Stop, 2: retry.Stop, 3: retry.Wait, 4: retry.Stop, 5: retry.Stop, 6: retry.Wait,
		0x87: retry.Wait,
	} {
		assert.Equal(t, want, (&Error{Op: "connect", ReturnCode: code}).Verdict(), code)
	}
	assert.Equal(t, retry.Wait, (&Error{Op: "register", Err: io.EOF}).Verdict(), "no answer")
	assert.Equal(t, "dps: register: no reason given", (&Error{Op: "register"}).Error())
}

func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		recordedAccepted, recordedAssigning, recordedAssigned, recordedFailed, recordedConflict,
		recordedChallenge,
		"<html>", "{}", `{"registrationState":{"payload":{}}}`,
		strings.Replace(recordedAssigned, `"x509":{}`,
			`"payload":{"rehome":{"staggerSeconds":1e3}}`, 1),
	} {
		for _, status := range []int{200, 202, 401, 429} {
			f.Add(status, "3", body)
		}
	}
	f.Fuzz(func(t *testing.T, status int, retryAfter, body string) {
		a := response{
			status: status, retryAfter: retryAfter, body: []byte(body),
			date: time.Unix(1_700_000_000, 0),
		}
		sound := func(assignment Assignment) {
			if !isHostName(assignment.Hub) || !isDeviceID(assignment.DeviceID) ||
				assignment.Status != "assigned" {
				t.Errorf("a partial assignment: %+v", assignment)
			}
			stagger, err := assignment.Stagger()
			if stagger < 0 || stagger > LongestStagger || err != nil && stagger != 0 {
				t.Errorf("a stagger of %v, %v", stagger, err)
			}
		}
		told := func(failure *Error) {
			if text := failure.Error(); strings.ContainsAny(text, "\n\r\x00\x1b") ||
				len(text) > 8000 {
				t.Errorf("not one line: %q", text)
			}
			if failure.RetryAfter() < 0 {
				t.Errorf("negative wait %v", failure.Wait)
			}
			if !failure.Answered() && (failure.Verdict() != retry.Wait || !failure.Date.IsZero()) {
				t.Errorf("somebody else decides: %v", failure)
			}
		}
		for _, op := range []string{"register", "poll"} {
			p, failure := readOperation(op, "my-device-01", a)
			switch {
			case failure != nil:
				told(failure)
			case p.assigned:
				sound(p.assignment)
			case p.delay < time.Second, op == "register" && checkOperationID(p.operationID) != nil:
				t.Errorf("cannot be polled: %+v", p)
			}
		}
		if assignment, failure := readLookup("my-device-01", a); failure != nil {
			told(failure)
		} else {
			sound(assignment)
		}
	})
}
