// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/retry"
)

// Codes of the service that call for something else than their HTTP status does.
const (
	codeEnrollmentNotFound = 404201
	codeOperationNotFound  = 404203
)

// Error is why an exchange with DPS failed. Its text is one line and holds no key and no token.
type Error struct {
	_ [0]func() // only its pointer is compared, which saves code in a device's program

	// Op is what was being done: "register" (the first request of a registration), "poll",
	// "lookup", "connect" (to DPS over MQTT), "time", "validate" (of what the program set, before
	// any use of the network), "seal", "verify", "protect", "unprotect", "csr", "issued chain"
	// ([Chain.KeyPair]) or "activate" (of a key in a TPM, [Endorsed]).
	Op string

	// Endpoint is the host of DPS that the request went to.
	Endpoint string

	// Status is the HTTP status, or its equivalent in an MQTT response topic; 0 if there was no
	// response. A registration that failed inside the service comes with status 200 and a State.
	Status int

	// Code is the service's six-digit code, such as 401002; 0 if it gave none.
	Code int

	// Message is the service's own text.
	Message string

	// TrackingID is the service's name for the exchange, which Azure support needs.
	TrackingID string

	// OperationID is the registration in progress, when known: [Client.Register] resumes it with
	// [Registration].OperationID.
	OperationID string

	// State is the registration's status when that is the failure: "failed", "disabled",
	// "unassigned" or, of a lookup while a registration is in progress, "assigning".
	State string

	// ReturnCode is the code of a CONNACK that refused the connection (MQTT 3.1.1 §3.2.2.3); 0 if
	// none did.
	ReturnCode byte

	// Date is the service's clock when it responded (the Date header); zero if it did not say, and
	// if it was not the service that responded ([Error.Answered]). MQTT has none.
	Date time.Time

	// Wait is how long the service is to be sent nothing (its Retry-After); zero if it gave none.
	Wait time.Duration

	// Err is the cause: an error of the network, TLS or ctx, or what is wrong with the response.
	Err error

	// unmarked is true of a response that nothing shows to be the service's.
	unmarked bool
}

// Error describes the failure in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("dps: ")
	b.WriteString(e.Op)
	if e.Endpoint != "" {
		b.WriteString(" at " + e.Endpoint)
	}
	b.WriteString(": ")
	var said []string
	if e.Status != 0 {
		said = append(said, strings.TrimSpace(
			fmt.Sprintf("status %d %s", e.Status, strings.ToLower(http.StatusText(e.Status))),
		))
	}
	if e.ReturnCode != 0 {
		said = append(said, fmt.Sprintf("connack return code %d", e.ReturnCode))
	}
	if e.State != "" {
		said = append(said, "the registration is "+oneline.Of(e.State, 32))
	}
	if e.Code != 0 {
		said = append(said, "code "+strconv.Itoa(e.Code))
	}
	if e.Message != "" {
		said = append(said, strconv.Quote(oneline.Of(e.Message, 300)))
	}
	if e.Err != nil {
		said = append(said, oneline.Of(e.Err.Error(), 600))
	}
	if e.Wait > 0 {
		said = append(said, "retry after "+e.Wait.String())
	}
	if e.TrackingID != "" {
		said = append(said, "tracking id "+oneline.Of(e.TrackingID, 64))
	}
	if len(said) == 0 {
		said = append(said, "no reason given")
	}
	b.WriteString(strings.Join(said, ", "))
	if e.Mismatched() {
		b.WriteString(": " + mismatch)
	}
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// RetryAfter returns Wait, but no less than 5 s after a server error; [retry.After] calls it.
func (e *Error) RetryAfter() time.Duration {
	if e.Status >= 500 && e.Wait > 0 {
		return max(e.Wait, retry.DefaultMinDelay)
	}
	return e.Wait
}

// Answered reports whether DPS itself answered. It did not if there was no response at all, and if
// the response of an HTTPS request or a WebSocket upgrade has no mark of the service: no
// x-ms-request-id header, no errorCode, trackingId or registration status in its body, and no
// challenge to a TPM (401 with an authenticationKey). A proxy that the device trusts speaks so, and
// knows nothing of the device. A CONNACK that refuses is the service's, and so is any response over
// MQTT.
func (e *Error) Answered() bool { return (e.Status != 0 || e.ReturnCode != 0) && !e.unmarked }

// Verdict is what the failure calls for; [retry.Classify] calls it.
//
//   - Wait: no response, or none of DPS itself ([Error.Answered]), 429, any 5xx, 409 (two
//     registrations of one device at once), CONNACK 3, and a response that is not the service's
//     (HTML, cut short, fields missing), whatever its status.
//   - Register: the operation polled is not known any more (404203); a lookup finds no registration
//     (404, unassigned).
//   - Stop: everything that no retry mends by itself: 401, 403, 404 of a registration, other 4xx,
//     CONNACK 1, 2, 4 and 5, a registration that is failed or disabled, and what Validate refuses.
func (e *Error) Verdict() retry.Verdict {
	_, unreadable := errors.AsType[*responseError](e.Err)
	switch {
	case e.Op == "validate":
		return retry.Stop
	case unreadable, e.unmarked:
		return retry.Wait
	case e.ReturnCode != 0:
		return connackVerdict(e.ReturnCode)
	case e.State != "":
		return stateVerdict(e.State)
	}
	return e.statusVerdict()
}

func connackVerdict(code byte) retry.Verdict {
	switch code {
	case 1, 2, 4, 5:
		return retry.Stop
	}
	return retry.Wait
}

func stateVerdict(state string) retry.Verdict {
	switch state {
	case statusUnassigned:
		return retry.Register
	case statusFailed, statusDisabled:
		return retry.Stop
	}
	return retry.Wait
}

func (e *Error) statusVerdict() retry.Verdict {
	switch {
	case e.Code == codeOperationNotFound:
		return retry.Register
	case e.Status == http.StatusNotFound && e.Op == "lookup":
		return retry.Register
	case e.Status == http.StatusNotFound && e.Op == "poll" && e.Code != codeEnrollmentNotFound:
		return retry.Register // the operation is gone, under whatever code
	case e.Status == http.StatusTooManyRequests, e.Status == http.StatusConflict:
		return retry.Wait
	case e.Status >= 400 && e.Status < 500:
		return retry.Stop
	}
	return retry.Wait
}

// responseError is a response that cannot be the service's, or is not whole: a proxy's page, an
// outage, a cut connection.
type responseError struct {
	problem string
	cause   error
}

func (e *responseError) Error() string { return e.problem }
func (e *responseError) Unwrap() error { return e.cause }

func unreadable(format string, args ...any) *responseError {
	return &responseError{problem: fmt.Sprintf(format, args...)}
}

// invalid is an error in what the program set.
func invalid(err error) *Error { return &Error{Op: "validate", Err: err} }
