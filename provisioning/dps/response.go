// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/https"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/retry"
)

// maxBody is what is accepted from the other side: the service's own limit is 96 KB a message.
const maxBody = https.MaxBody

// Pace of polling. Azure docs: "How to use symmetric key attestation over HTTPS": the service says
// Retry-After: 3.
const pollDelay = 3 * time.Second

// response is the service's response, over whichever transport.
type response struct {
	status     int
	body       []byte
	retryAfter string
	date       time.Time // of whoever responded
	requestID  string    // the x-ms-request-id header

	// marked says that the service itself responded, which over HTTPS its header or the body shows.
	// A proxy that the device trusts, or a front end, may respond in the service's place.
	marked bool
}

// markedBy is the response, marked if something in its body says so.
func (a response) markedBy(own bool) response {
	a.marked = a.marked || own
	return a
}

// serviceDate is the service's clock. Nobody else's clock is worth knowing.
func (a response) serviceDate() time.Time {
	if !a.marked {
		return time.Time{}
	}
	return a.date
}

// wait is the Retry-After of the response; ok is false if it has none that makes sense. Whoever
// wrote it, it is read against the clock that it was written by.
func (a response) wait() (d time.Duration, ok bool) {
	return retry.ParseRetryAfter(a.retryAfter, a.date)
}

// progress is what the response to a register request or a poll says: either an assignment, or an
// operation to poll after a delay.
type progress struct {
	assigned   bool
	assignment Assignment

	operationID string
	delay       time.Duration
}

// The service's JSON. Azure REST API: RegistrationOperationStatus, DeviceRegistrationResult,
// ProvisioningServiceErrorDetails.
type (
	wireOperation struct {
		OperationID       string            `json:"operationId"`
		Status            string            `json:"status"`
		RegistrationState *wireRegistration `json:"registrationState"`
	}
	wireRegistration struct {
		RegistrationID         string          `json:"registrationId"`
		AssignedHub            string          `json:"assignedHub"`
		DeviceID               string          `json:"deviceId"`
		Status                 string          `json:"status"`
		Substatus              string          `json:"substatus"`
		ConnectionProfile      string          `json:"connectionProfile"`
		ErrorCode              int             `json:"errorCode"`
		ErrorMessage           string          `json:"errorMessage"`
		ETag                   string          `json:"etag"`
		CreatedDateTimeUtc     string          `json:"createdDateTimeUtc"`
		LastUpdatedDateTimeUtc string          `json:"lastUpdatedDateTimeUtc"`
		Payload                json.RawMessage `json:"payload"`
		IssuedCertificateChain json.RawMessage `json:"issuedCertificateChain"`
	}
	wireError struct {
		ErrorCode  int    `json:"errorCode"`
		TrackingID string `json:"trackingId"`
		Message    string `json:"message"`

		// of the challenge that a TPM has to answer, which has neither of the first two
		AuthenticationKey string `json:"authenticationKey"`
	}
)

// own is whether only the service writes such a body.
func (e wireError) own(status int) bool {
	return e.ErrorCode != 0 || e.TrackingID != "" ||
		status == http.StatusUnauthorized && e.AuthenticationKey != ""
}

// readOperation reads the response to a register request or a poll.
func readOperation(op, registrationID string, a response) (progress, *Error) {
	if a.status != http.StatusOK && a.status != http.StatusAccepted {
		return progress{}, readRefusal(op, a)
	}
	var operation wireOperation
	if err := decode(a.body, &operation); err != nil {
		return progress{}, a.fail(op, err)
	}
	a = a.markedBy(isStatus(operation.Status))
	// What a later poll needs comes first, so that a bad response does not lose an operation.
	if err := checkOperationID(operation.OperationID); err != nil {
		operation.OperationID = ""
		if op != "poll" &&
			(operation.Status == statusAssigning || operation.Status == statusUnassigned) {
			return progress{}, a.fail(op, err)
		}
	}
	assignment, failure := readState(op, registrationID, operation, a)
	if failure != nil {
		failure.OperationID = operation.OperationID
		return progress{}, failure
	}
	if assignment.Hub != "" {
		return progress{assigned: true, assignment: assignment}, nil
	}
	delay, ok := a.wait()
	if !ok {
		delay = pollDelay
	}
	delay = min(delay, retry.LongestHonoured)
	return progress{operationID: operation.OperationID, delay: delay}, nil
}

// readState reads an assignment, a registration in progress (a zero Assignment) or a failure.
func readState(
	op, registrationID string, operation wireOperation, a response,
) (Assignment, *Error) {
	switch operation.Status {
	case statusAssigning, statusUnassigned:
		return Assignment{}, nil
	case StatusAssigned:
		if operation.RegistrationState == nil {
			return Assignment{}, a.fail(op, unreadable("the answer has no field registrationState"))
		}
		if inner := operation.RegistrationState.Status; inner != "" && inner != StatusAssigned {
			return Assignment{}, a.fail(op, unreadable(
				"the answer contradicts itself: status is assigned and registrationState.status %q",
				oneline.Of(inner, 32),
			))
		}
		assignment, err := readAssignment(
			"registrationState.", registrationID, operation.RegistrationState, a,
		)
		if err != nil {
			return Assignment{}, a.fail(op, err)
		}
		return assignment, nil
	case statusFailed, statusDisabled:
		return Assignment{}, a.failState(op, operation.Status, operation.RegistrationState)
	case "":
		return Assignment{}, a.fail(op, unreadable("the answer has no field status"))
	}
	return Assignment{}, a.fail(
		op, unreadable("the answer has an unknown status %q", oneline.Of(operation.Status, 32)),
	)
}

// readLookup reads the response to a status lookup: a bare registration, in no operation.
func readLookup(registrationID string, a response) (Assignment, *Error) {
	const op = "lookup"
	if a.status != http.StatusOK {
		return Assignment{}, readRefusal(op, a)
	}
	var registration wireRegistration
	if err := decode(a.body, &registration); err != nil {
		return Assignment{}, a.fail(op, err)
	}
	a = a.markedBy(isStatus(registration.Status))
	switch registration.Status {
	case StatusAssigned:
		assignment, err := readAssignment("", registrationID, &registration, a)
		if err != nil {
			return Assignment{}, a.fail(op, err)
		}
		return assignment, nil
	case statusUnassigned, statusAssigning, statusFailed, statusDisabled:
		return Assignment{}, a.failState(op, registration.Status, &registration)
	case "":
		return Assignment{}, a.fail(op, unreadable("the answer has no field status"))
	}
	return Assignment{}, a.fail(
		op, unreadable("the answer has an unknown status %q", oneline.Of(registration.Status, 32)),
	)
}

// readAssignment accepts a response as a whole or not at all: a device sent to a wrong name is
// lost.
func readAssignment(
	prefix, registrationID string, r *wireRegistration, a response,
) (Assignment, error) {
	switch {
	case r.AssignedHub == "":
		return Assignment{}, unreadable("the answer has no field %sassignedHub", prefix)
	case !isHostName(r.AssignedHub):
		return Assignment{}, unreadable(
			"the answer's %sassignedHub %q is not a host name", prefix,
			oneline.Of(r.AssignedHub, 64),
		)
	case r.DeviceID == "":
		return Assignment{}, unreadable("the answer has no field %sdeviceId", prefix)
	case !isDeviceID(r.DeviceID):
		return Assignment{}, unreadable(
			"the answer's %sdeviceId %q is not a device id", prefix, oneline.Of(r.DeviceID, 64),
		)
	case r.RegistrationID != "" && !strings.EqualFold(r.RegistrationID, registrationID):
		return Assignment{}, unreadable(
			"the answer is for another device: %sregistrationId is %q", prefix,
			oneline.Of(r.RegistrationID, 64),
		)
	}
	payload := r.Payload
	if bytes.Equal(payload, []byte("null")) {
		payload = nil
	}
	return Assignment{
		Hub:               r.AssignedHub,
		DeviceID:          r.DeviceID,
		RegistrationID:    registrationID,
		Status:            StatusAssigned,
		Substatus:         r.Substatus,
		ConnectionProfile: oneline.ASCII(r.ConnectionProfile, maxProfile),
		IssuedChain:       chainOf(r.IssuedCertificateChain),
		ETag:              r.ETag,
		Payload:           payload,
		Created:           readTime(r.CreatedDateTimeUtc),
		Updated:           readTime(r.LastUpdatedDateTimeUtc),
		Date:              a.serviceDate(),
	}, nil
}

// readRefusal reads a response whose status is that of a refusal.
func readRefusal(op string, a response) *Error {
	var body wireError
	err := error(nil)
	switch {
	case a.status < 400 || a.status > 599:
		err = unreadable("the answer is not the service's: it never gives this status")
	case len(bytes.TrimSpace(a.body)) > 0:
		err = decode(a.body, &body)
	}
	if err != nil {
		return a.fail(op, err)
	}
	a = a.markedBy(body.own(a.status))
	if a.status < 500 && !a.marked {
		return a.fail(op, unreadable("the answer has no mark of the service: is there a proxy in "+
			"between?"))
	}
	e := a.fail(op, nil)
	e.Code, e.Message = body.ErrorCode, body.Message
	if body.TrackingID != "" {
		e.TrackingID = body.TrackingID
	}
	return e
}

// fail is an error that carries all that the response has outside its body.
func (a response) fail(op string, err error) *Error {
	e := &Error{
		Op: op, Status: a.status, TrackingID: a.requestID, Date: a.serviceDate(), Err: err,
		unmarked: a.status != 0 && !a.marked,
	}
	if a.status >= 300 {
		e.Wait, _ = a.wait() // on a success it paces polls
	}
	return e
}

// failState is a registration that ended, or stands, otherwise than assigned.
func (a response) failState(op, status string, r *wireRegistration) *Error {
	e := a.fail(op, nil)
	e.State = status
	if r != nil {
		e.Code, e.Message = r.ErrorCode, r.ErrorMessage
	}
	return e
}

// decode says what is wrong with a body in words that help: which field, or what it seems to be
// instead of JSON.
func decode(body []byte, into any) error {
	if len(body) > maxBody {
		return unreadable("the answer is longer than %d bytes", maxBody)
	}
	trimmed := bytes.TrimSpace(body)
	switch {
	case len(trimmed) == 0:
		return unreadable("the answer is empty")
	case https.IsHTML(trimmed):
		return unreadable("the answer is an html page, not the service's: is there a proxy or a " +
			"captive portal in between?")
	case trimmed[0] != '{':
		return unreadable("the answer is not a json object")
	}
	decoder := json.NewDecoder(bytes.NewReader(trimmed))
	err := decoder.Decode(into)
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		return unreadable("the answer is not json: it goes on after its end")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &responseError{problem: "the answer is cut short", cause: err}
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return &responseError{
			problem: "the answer's field " + oneline.Of(wrong.Field, 64) + " has the wrong type: " +
				oneline.Of(wrong.Value, 32) + " for " + wrong.Type.String(),
			cause: err,
		}
	}
	return &responseError{problem: "the answer is not json: " + err.Error(), cause: err}
}

// readTime: timestamps inform people and decide nothing, so an odd one is not worth an assignment.
func readTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// responseOf is what the service said in an HTTP response.
func responseOf(r https.Response) response {
	return response{
		status: r.Status, body: r.Body, retryAfter: r.RetryAfter, date: r.Date,
		requestID: r.RequestID, marked: r.RequestID != "",
	}
}
