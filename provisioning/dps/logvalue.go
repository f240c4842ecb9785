// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/retry"
)

// LogValue is the error for package log/slog, in keys: cause, which is the same for all failures of
// one kind, whichever the device and the time; class ([retry.Class]: what a hub's failure of this
// kind would be); and, where the service gave them, return_code, status, code, tracking_id and
// message. detail is what cause leaves out of the error underneath, such as an address.
func (e *Error) LogValue() slog.Value {
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs,
		slog.String("cause", e.cause()), slog.String("class", e.class().String()))
	for _, n := range [...]slog.Attr{
		slog.Int("return_code", int(e.ReturnCode)), slog.Int("status", e.Status),
		slog.Int("code", e.Code),
	} {
		if n.Value.Int64() != 0 {
			attrs = append(attrs, n)
		}
	}
	for _, text := range [...]slog.Attr{
		slog.String("tracking_id", oneline.Of(e.TrackingID, 64)),
		slog.String("message", oneline.Of(e.Message, 300)),
		slog.String("detail", e.hidden()),
	} {
		if text.Value.String() != "" {
			attrs = append(attrs, text)
		}
	}
	return slog.GroupValue(attrs...)
}

// cause is what failed and why, without what differs from one time to the next.
func (e *Error) cause() string {
	what := "dps " + e.Op + ": "
	switch {
	case e.Mismatched():
		what += e.answer() + ": " + mismatch
	case e.ReturnCode != 0 || e.Status != 0:
		what += e.answer()
		if e.Err != nil {
			what += ": " + oneline.Cause(e.Err)
		}
	case e.Err != nil:
		what += oneline.Cause(e.Err)
	default:
		what += e.class().String()
	}
	return what
}

// answer is what the service said, in short.
func (e *Error) answer() string {
	switch {
	case e.ReturnCode != 0:
		return "refused with return code " + strconv.Itoa(int(e.ReturnCode))
	case e.State != "":
		return "the registration is " + oneline.Of(e.State, 32)
	}
	return strings.TrimSpace(
		"status " + strconv.Itoa(e.Status) + " " + strings.ToLower(http.StatusText(e.Status)),
	)
}

// hidden is what the error underneath says beyond the cause, in one line.
func (e *Error) hidden() string {
	if e.Err == nil {
		return ""
	}
	text := oneline.Of(strings.ReplaceAll(e.Err.Error(), "\n", "; "), 400)
	if text == oneline.Cause(e.Err) {
		return ""
	}
	return text
}

// class is that of package retry.
func (e *Error) class() retry.Class {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](e.Err)
	switch {
	case e.Op == "validate":
		return retry.Caller
	case untrusted:
		return retry.Untrusted
	case !e.Answered():
		return retry.Unreachable
	case e.Status == http.StatusTooManyRequests:
		return retry.Throttled
	case e.Verdict() == retry.Wait:
		return retry.Server
	}
	return retry.Rejected
}

// mismatch is what a refusal means that names no single field: the service does not tell which of
// the three is the wrong one.
const mismatch = "id scope, registration id and credential do not fit each other"

// Mismatched reports whether the service does not know the device by what it has shown, so that ID
// scope, registration ID and credential do not fit each other: 401 or 404 to a
// request about its registration, and CONNACK 4 and 5. Which of them is wrong DPS does not tell.
func (e *Error) Mismatched() bool {
	switch {
	case e.unmarked || e.State != "" || e.Verdict() != retry.Stop:
		return false
	case e.ReturnCode == 4 || e.ReturnCode == 5:
		return true
	}
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusNotFound
}
