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

// StatusAssigned is the status of every [Assignment].
const StatusAssigned = "assigned"

// The other registration statuses. Azure REST API: Device Registration, EnrollmentStatus.
const (
	statusUnassigned = "unassigned"
	statusAssigning  = "assigning"
	statusFailed     = "failed"
	statusDisabled   = "disabled"
)

// Limits on what is accepted from the other side.
const (
	maxBody        = https.MaxBody
	maxOperationID = 512
	maxDeviceID    = 128
)

// Pace of polling. Azure docs: "How to use symmetric key attestation over HTTPS": the service says
// Retry-After: 3.
const pollDelay = 3 * time.Second

// response is the service's response, over whichever transport.
type response struct {
	status     int
	body       []byte
	retryAfter string
	date       time.Time
	requestID  string // the x-ms-request-id header
}

// wait is the Retry-After of the response; ok is false if it has none that makes sense.
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
		ErrorCode              int             `json:"errorCode"`
		ErrorMessage           string          `json:"errorMessage"`
		ETag                   string          `json:"etag"`
		CreatedDateTimeUtc     string          `json:"createdDateTimeUtc"`
		LastUpdatedDateTimeUtc string          `json:"lastUpdatedDateTimeUtc"`
		Payload                json.RawMessage `json:"payload"`
	}
	wireError struct {
		ErrorCode  int    `json:"errorCode"`
		TrackingID string `json:"trackingId"`
		Message    string `json:"message"`
	}
)

// readOperation reads the response to a register request or a poll.
func readOperation(op, registrationID string, a response) (progress, *Error) {
	if a.status != http.StatusOK && a.status != http.StatusAccepted {
		return progress{}, readRefusal(op, a)
	}
	var operation wireOperation
	if err := decode(a.body, &operation); err != nil {
		return progress{}, a.fail(op, err)
	}
	// What a later poll needs comes first, so that a bad response does not lose an operation.
	if err := checkOperationID(operation.OperationID); err != nil {
		operation.OperationID = ""
		if op != "poll" && (operation.Status == statusAssigning || operation.Status == statusUnassigned) {
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
	return progress{operationID: operation.OperationID, delay: delay}, nil
}

// readState reads an assignment, a registration in progress (a zero Assignment) or a failure.
func readState(op, registrationID string, operation wireOperation, a response) (Assignment, *Error) {
	switch operation.Status {
	case statusAssigning, statusUnassigned:
		return Assignment{}, nil
	case StatusAssigned:
		if operation.RegistrationState == nil {
			return Assignment{}, a.fail(op, unreadable("the answer has no field registrationState"))
		}
		if inner := operation.RegistrationState.Status; inner != "" && inner != StatusAssigned {
			return Assignment{}, a.fail(op, unreadable("the answer contradicts itself: status is assigned and registrationState.status %q", oneline.Of(inner, 32)))
		}
		assignment, err := readAssignment("registrationState.", registrationID, operation.RegistrationState, a)
		if err != nil {
			return Assignment{}, a.fail(op, err)
		}
		return assignment, nil
	case statusFailed, statusDisabled:
		return Assignment{}, a.failState(op, operation.Status, operation.RegistrationState)
	case "":
		return Assignment{}, a.fail(op, unreadable("the answer has no field status"))
	}
	return Assignment{}, a.fail(op, unreadable("the answer has an unknown status %q", oneline.Of(operation.Status, 32)))
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
	return Assignment{}, a.fail(op, unreadable("the answer has an unknown status %q", oneline.Of(registration.Status, 32)))
}

// readAssignment accepts a response as a whole or not at all: a device sent to a wrong name is
// lost.
func readAssignment(prefix, registrationID string, r *wireRegistration, a response) (Assignment, error) {
	switch {
	case r.AssignedHub == "":
		return Assignment{}, unreadable("the answer has no field %sassignedHub", prefix)
	case !isHostName(r.AssignedHub):
		return Assignment{}, unreadable("the answer's %sassignedHub %q is not a host name", prefix, oneline.Of(r.AssignedHub, 64))
	case r.DeviceID == "":
		return Assignment{}, unreadable("the answer has no field %sdeviceId", prefix)
	case !isDeviceID(r.DeviceID):
		return Assignment{}, unreadable("the answer's %sdeviceId %q is not a device id", prefix, oneline.Of(r.DeviceID, 64))
	case r.RegistrationID != "" && !strings.EqualFold(r.RegistrationID, registrationID):
		return Assignment{}, unreadable("the answer is for another device: %sregistrationId is %q", prefix, oneline.Of(r.RegistrationID, 64))
	}
	payload := r.Payload
	if bytes.Equal(payload, []byte("null")) {
		payload = nil
	}
	return Assignment{
		Hub:            r.AssignedHub,
		DeviceID:       r.DeviceID,
		RegistrationID: registrationID,
		Status:         StatusAssigned,
		Substatus:      r.Substatus,
		ETag:           r.ETag,
		Payload:        payload,
		Created:        readTime(r.CreatedDateTimeUtc),
		Updated:        readTime(r.LastUpdatedDateTimeUtc),
		Date:           a.date,
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
	e := a.fail(op, nil)
	e.Code, e.Message = body.ErrorCode, body.Message
	if body.TrackingID != "" {
		e.TrackingID = body.TrackingID
	}
	return e
}

// fail is an error that carries all that the response has outside its body.
func (a response) fail(op string, err error) *Error {
	e := &Error{Op: op, Status: a.status, TrackingID: a.requestID, Date: a.date, Err: err}
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
		return unreadable("the answer is an html page, not the service's: is there a proxy or a captive portal in between?")
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
		return &responseError{problem: "the answer's field " + oneline.Of(wrong.Field, 64) + " has the wrong type: " + oneline.Of(wrong.Value, 32) + " for " + wrong.Type.String(), cause: err}
	}
	return &responseError{problem: "the answer is not json: " + err.Error(), cause: err}
}

// checkOperationID: an operation ID is opaque, but it must fit into a path and a topic.
func checkOperationID(id string) error {
	if id == "" {
		return unreadable("the answer has no field operationId")
	}
	if len(id) > maxOperationID || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return unreadable("the answer's operationId %q is not one", oneline.Of(id, 64))
	}
	return nil
}

// isDeviceID allows what IoT Hub allows and a little more: nothing that could end a topic level or
// a line.
func isDeviceID(id string) bool {
	return id != "" && len(id) <= maxDeviceID && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' })
}

// isHostName accepts DNS names of letters, digits and hyphens (RFC 1123 §2.1). A last label of
// digits alone would be an IP address.
func isHostName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	digits := true
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		digits = true
		for i := range len(label) {
			if c := label[i]; !isAlphanumeric(c) && c != '-' {
				return false
			}
			digits = digits && '0' <= label[i] && label[i] <= '9'
		}
	}
	return !digits
}

// readTime: timestamps inform people and decide nothing, so an odd one is not worth an assignment.
func readTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
