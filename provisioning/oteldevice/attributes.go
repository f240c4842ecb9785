// SPDX-License-Identifier: Apache-2.0

package oteldevice

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// The attributes. Where OpenTelemetry's semantic conventions have one that means the same, it is
// that; the others are in a namespace of the project's own, as the conventions want it.
// https://opentelemetry.io/docs/specs/semconv/general/naming/
const (
	// https://opentelemetry.io/docs/specs/semconv/registry/attributes/server/
	keyServer = semconv.ServerAddressKey
	// A word of a short list, absent where nothing failed.
	// https://opentelemetry.io/docs/specs/semconv/general/recording-errors/
	keyError = semconv.ErrorTypeKey
	// https://opentelemetry.io/docs/specs/semconv/registry/attributes/http/
	keyStatus = semconv.HTTPResponseStatusCodeKey
	// https://opentelemetry.io/docs/specs/semconv/registry/attributes/messaging/
	keySystem        = semconv.MessagingSystemKey
	keyMessagingName = semconv.MessagingOperationNameKey
	keyClient        = semconv.MessagingClientIDKey
	// https://opentelemetry.io/docs/specs/semconv/registry/attributes/network/
	keyDirection = semconv.NetworkIODirectionKey
	// https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-spans/
	keyMessage   = semconv.ExceptionMessageKey
	keyException = semconv.ExceptionTypeKey

	keyDevice     = attribute.Key("rehome.device.registration_id")
	keyModule     = attribute.Key("rehome.device.module_id")
	keyState      = attribute.Key("rehome.device.state")
	keySource     = attribute.Key("rehome.device.assignment_source")
	keyKind       = attribute.Key("rehome.dps.request.kind")
	keyReason     = attribute.Key("rehome.dps.request.reason")
	keyOperation  = attribute.Key("rehome.hub.operation")
	keyCredential = attribute.Key("rehome.hub.credential")
	keyReturnCode = attribute.Key("rehome.hub.return_code")
	keyService    = attribute.Key("rehome.service")
	keyCode       = attribute.Key("rehome.service.code")
	keyTracking   = attribute.Key("rehome.service.tracking_id")
	keyWait       = attribute.Key("rehome.service.retry_after")
	keyMoved      = attribute.Key("rehome.device.moved")
)

// outcome are the attributes of what went wrong; none if nothing did.
func outcome(word string) []attribute.KeyValue {
	if word == "" {
		return nil
	}
	return []attribute.KeyValue{keyError.String(word)}
}

// with are the attributes of a measurement of one device.
func (t *Telemetry) with(id string, attrs ...attribute.KeyValue) metric.MeasurementOption {
	if t.PerDevice {
		attrs = append(attrs, keyDevice.String(id))
	}
	return metric.WithAttributes(attrs...)
}
