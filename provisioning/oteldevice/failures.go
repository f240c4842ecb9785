// SPDX-License-Identifier: Apache-2.0

package oteldevice

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/measure"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// textMax is how much of an error's text, in characters, a span has; one more says that it was cut.
const textMax = 499

// text is an error in one line with an end. The library's errors hold no key and no token.
func text(err error) string { return oneline.Of(err.Error(), textMax) }

// addCause adds what has led to a span.
func addCause(span trace.Span, cause error) {
	if cause != nil {
		span.AddEvent("rehome.cause", trace.WithAttributes(exception(cause)...))
	}
}

// exception are the attributes of an error in an event.
func exception(err error) []attribute.KeyValue {
	return []attribute.KeyValue{
		keyException.String(fmt.Sprintf("%T", err)), keyMessage.String(text(err)),
	}
}

// conclude says how the exchange of a span has ended; word is that of its outcome. What was given
// up is no error.
func conclude(span trace.Span, word string, err error) {
	if word == "" {
		return
	}
	span.SetAttributes(keyError.String(word))
	if word == measure.GivenUp {
		return
	}
	span.SetAttributes(said(err)...)
	span.AddEvent("exception", trace.WithAttributes(exception(err)...))
	span.SetStatus(codes.Error, text(err))
}

// said is what a service has said of a failure, as far as it has.
func said(err error) (attrs []attribute.KeyValue) {
	var status, code int
	var returnCode byte
	var tracking string
	if e, ok := errors.AsType[*dps.Error](err); ok {
		status, code, returnCode, tracking = e.Status, e.Code, e.ReturnCode, e.TrackingID
	} else if e, ok := errors.AsType[*hubconn.Error](err); ok {
		status, code, returnCode, tracking = e.Status, e.Code, e.ReturnCode, e.TrackingID
	}
	if status != 0 {
		attrs = append(attrs, keyStatus.Int(status))
	}
	if code != 0 {
		attrs = append(attrs, keyCode.Int(code))
	}
	if returnCode != 0 {
		attrs = append(attrs, keyReturnCode.Int(int(returnCode)))
	}
	if tracking != "" {
		attrs = append(attrs, keyTracking.String(oneline.Of(tracking, textMax)))
	}
	if wait := retry.After(err); wait > 0 {
		attrs = append(attrs, keyWait.Float64(wait.Seconds()))
	}
	return attrs
}
