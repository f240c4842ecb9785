// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/rehome-iot/rehome/internal/uuid"
)

// Error codes of the service. The HTTP status is the code divided by 1000.
const (
	codeBadRequest       = 400000
	codeBadRequestBody   = 400004
	codeAllocationFailed = 400207 // inside a failed registration
	codeNoHub            = 400208 // inside a failed registration
	codeHubRefused       = 400209 // inside a failed registration
	codeUnauthorized     = 401000
	codeBadCertificate   = 401002
	codeNoInstance       = 404000
	codeNoRegistration   = 404201
	codeExists           = 409201
	codePrecondition     = 412201
	codeNoOperation      = 404203
	codeBadMethod        = 405000
	codeConflict         = 409203
	codeTooLarge         = 413000
	codeThrottled        = 429001
)

var messages = map[int]string{
	codeBadRequest:     "Bad request.",
	codeBadRequestBody: "Bad request.",
	codeUnauthorized:   "Unauthorized",
	codeBadCertificate: "Invalid certificate.",
	codeNoInstance:     "Device Provisioning Service instance not found.",
	codeNoRegistration: "Registration not found.",
	codeNoOperation:    "Operation not found.",
	codeBadMethod:      "Method not allowed.",
	codeConflict:       "Precondition failed.",
	codeExists:         "Enrollment already exists.",
	codePrecondition:   "Precondition failed.",
	codeTooLarge:       "Message is too large.",
	codeThrottled:      "Operations are being throttled for this tenant.",
}

// A response is what a request is answered with, whatever carries it.
type response struct {
	status      int
	code        int // six digits; 0 for no error
	body        []byte
	contentType string
	retryAfter  string // raw; "" for none
	requestID   string
	registered  bool // the response to a register request, which names its own address
	operationID string
	header      http.Header // more of them; nil for none
}

const contentJSON = "application/json; charset=utf-8"

// errorBody is the service's error body. All four members are always there.
type errorBody struct {
	ErrorCode    int       `json:"errorCode"`
	TrackingID   string    `json:"trackingId"`
	Message      string    `json:"message"`
	TimestampUTC Timestamp `json:"timestampUtc"`
}

// operationStatus is the response to a registration and to a poll.
type operationStatus struct {
	OperationID       string `json:"operationId"`
	Status            string `json:"status"`
	RegistrationState any    `json:"registrationState,omitempty"`
}

// progress is the registrationState of an operation that is still running.
type progress struct {
	RegistrationID string `json:"registrationId"`
	Status         string `json:"status"`
}

func (s *Server) refuse(code int, message string) response {
	if message == "" {
		message = messages[code]
	}
	id := uuid.New()
	return response{
		status: code / 1000, code: code, requestID: id, contentType: contentJSON,
		body: encode(errorBody{
			ErrorCode: code, TrackingID: id, Message: message,
			TimestampUTC: Timestamp{s.network.Now()},
		}),
	}
}

func succeed(status int, v any) response {
	return response{
		status: status, requestID: uuid.New(), contentType: contentJSON, body: encode(v),
	}
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil { // an enrollment's payload that is not JSON: the server's own fault
		return []byte(`{}`)
	}
	return data
}

// seconds writes a wait as Retry-After does: whole seconds, rounded up, at least 1.
func seconds(d time.Duration) string {
	return strconv.Itoa(int(wholeSeconds(d) / time.Second))
}

func wholeSeconds(d time.Duration) time.Duration {
	return max(1, time.Duration(math.Ceil(d.Seconds()))) * time.Second
}

func (c Config) retryAfter() string {
	if c.RetryAfter < 0 {
		return ""
	}
	return seconds(c.RetryAfter)
}
