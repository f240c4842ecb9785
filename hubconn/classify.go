// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"reflect"

	"github.com/rehome-iot/rehome/internal/https"
	"github.com/rehome-iot/rehome/internal/mqtt"
	"github.com/rehome-iot/rehome/retry"
)

// classify makes an Error of what internal/mqtt returned.
func classify(op string, hub Hub, err error) *Error {
	e := &Error{Op: op, Hub: hub, Err: err}
	if known, ok := errors.AsType[*Error](err); ok {
		*e = *known // such as why the connection under this operation ended
		e.Op, e.Hub, e.Err = op, hub, err
		return e
	}
	if refused, ok := errors.AsType[*mqtt.RefusedError](err); ok {
		e.ReturnCode, e.Elapsed = refused.Code, refused.Elapsed
		e.Class = ClassOfReturnCode(refused.Code, refused.Elapsed)
		return e
	}
	if refused, ok := errors.AsType[*mqtt.UpgradeError](err); ok {
		e.readUpgrade(refused)
		return e
	}
	if _, ok := errors.AsType[*mqtt.SubscribeError](err); ok {
		e.Class = Server // all filters are ones that the hub grants
		return e
	}
	e.Class = classOfTLS(err)
	return e
}

// classOfTLS is the class of a failure of the network or of TLS, whoever made the connection.
func classOfTLS(err error) Class {
	switch {
	case unverified(err):
		return Untrusted
	case certificateRefused(err):
		return Rejected
	}
	return Unreachable
}

// readUpgrade classifies a refused WebSocket upgrade. Only a response with the hub's own header is
// the hub's; without it a proxy or a front end answered, which can be busy or broken but knows
// nothing of the device.
func (e *Error) readUpgrade(u *mqtt.UpgradeError) {
	e.Status = u.Status
	if u.Proxy {
		e.Code = u.Status * 1000
		return
	}
	fromHub := e.read(https.NewResponse(u.Status, u.Header, u.Body))
	switch {
	case u.Status == http.StatusTooManyRequests:
		e.Class = Throttled
	case u.Status/100 == 5:
		e.Class = Server
	case u.Status/100 == 4 && fromHub:
		e.Class = codeClass(e.Code)
	}
}

// read sets the fields that come from a response, and reports whether the hub itself sent it.
func (e *Error) read(response https.Response) (fromHub bool) {
	e.Status, e.Date = response.Status, response.Date
	e.Wait, _ = retry.ParseRetryAfter(response.RetryAfter, response.Date)
	r := parseRefusal(response.Status, response.Header.Get(errorCodeHeader), response.Body)
	e.Code, e.Name, e.Message, e.TrackingID = r.code, r.name, r.message, r.trackingID
	return response.Marked(errorCodeHeader)
}

// operationClass is the class of the response to a single operation. It differs from a refused
// connection in that the operation itself can be at fault: that is the caller's to know, and says
// nothing of the device.
func (e *Error) operationClass(fromHub bool) Class {
	switch e.Status {
	case http.StatusTooManyRequests:
		return Throttled
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusPreconditionFailed,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		if class := codeClass(e.Code); class == Server || class == Throttled {
			return class
		}
		return Caller
	}
	switch {
	case e.Status/100 == 5:
		return Server
	case e.Status/100 == 4 && fromHub:
		switch e.Code {
		// OperationNotAvailableInCurrentTier: the device is known, the hub does not do that
		case 403010,
			412002: // DeviceMessageLockLost
			return Caller
		}
		return codeClass(e.Code)
	}
	return Unreachable
}

// codeClass is the class of the hub's six-digit code at connection level; an unknown one counts as
// its first three digits.
func codeClass(code int) Class {
	switch code {
	// IotHubQuotaExceeded: the hub knows the device and has no more messages for it today
	case 403002,
		403006: // DeviceMaximumActiveFileUploadLimitExceeded
		return Throttled
	case 400021, 400024, // the request was cancelled, or timed out
		400027, 400029, 400030, // closed for a newer connection or a service upgrade
		404012: // the hub is failing over
		return Server
	}
	switch status := code / 1000; {
	case status == http.StatusTooManyRequests:
		return Throttled
	case status/100 == 5, status == http.StatusRequestTimeout, status == http.StatusConflict,
		status == 499:
		return Server
	case status == http.StatusProxyAuthRequired, status/100 != 4:
		return Unreachable
	}
	return Rejected
}

// unverified reports whether the server's certificate is the reason.
func unverified(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.SystemRootsError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}

// certificateRefused reports whether the server ended TLS over the device's certificate (RFC 8446
// §6.2).
func certificateRefused(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" { // crypto/tls's mark of an alert that was received
		return false
	}
	alert := reflect.ValueOf(op.Err)
	if alert.Kind() != reflect.Uint8 {
		return false
	}
	switch alert.Uint() {
	case 42, 43, 44, 45, 46, // bad, unsupported, revoked, expired, unknown certificate
		48,  // unknown CA
		49,  // access denied
		116: // certificate required
		return true
	}
	return false
}
