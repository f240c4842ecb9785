// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"errors"
	"log/slog"
	"strconv"
	"strings"

	"github.com/rehome-iot/rehome/internal/oneline"
)

// LogValue is the error for package log/slog, in keys: cause, which is the same for all failures of
// one kind, whichever the device, the hub and the time; class; and, where the hub gave them,
// return_code, status, code, tracking_id and message. detail is what cause leaves out of the error
// underneath, such as an address.
func (e *Error) LogValue() slog.Value {
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs,
		slog.String("cause", strings.TrimPrefix(e.cause(), ": ")), // without an Op, a program's own
		slog.String("class", e.Class.String()))
	if e.ReturnCode != 0 {
		attrs = append(attrs, slog.Int("return_code", int(e.ReturnCode)))
	}
	if e.Status != 0 {
		attrs = append(attrs, slog.Int("status", e.Status))
	}
	if e.Code%1000 != 0 {
		attrs = append(attrs, slog.Int("code", e.Code))
	}
	for _, text := range [...]slog.Attr{
		slog.String("tracking_id", e.TrackingID), slog.String("message", e.Message),
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
	switch {
	case e.ReturnCode != 0 && e.Class == Incompatible:
		return e.Op + ": this hub does not speak MQTT 3.1.1"
	case e.ReturnCode != 0:
		return e.Op + ": refused with return code " + strconv.Itoa(int(e.ReturnCode))
	case e.Status != 0:
		return strings.TrimSpace(e.Op + ": status " + strconv.Itoa(e.Status) + " " + e.Name)
	case e.Err != nil:
		if inner, ok := errors.AsType[*Error](e.Err); ok {
			return inner.cause() // such as why the connection under this operation has ended
		}
		return e.Op + ": " + strings.TrimPrefix(oneline.Cause(e.Err), e.Op+": ")
	}
	return e.Op + ": " + e.Class.String()
}

// hidden is what the error underneath says beyond the cause, in one line.
func (e *Error) hidden() string {
	if e.Err == nil || e.ReturnCode != 0 || e.Status != 0 {
		return ""
	}
	text := oneline.Of(strings.ReplaceAll(e.Err.Error(), "\n", "; "), 400)
	if _, ok := errors.AsType[*Error](e.Err); !ok && text == oneline.Cause(e.Err) {
		return ""
	}
	return text
}

// failure puts an error's keys beside those of a line.
func failure(err error) slog.Attr {
	if e, ok := errors.AsType[*Error](err); ok {
		return slog.Attr{Value: e.LogValue()}
	}
	return slog.String("cause", oneline.Cause(err))
}
