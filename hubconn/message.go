// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rehome-iot/rehome/internal/oneline"
)

// MaxMessageSize is the largest device-to-cloud message IoT Hub accepts, in bytes: the body, the
// values of system properties, and the names and values of the others together (Azure docs: "IoT
// Hub quotas and throttling").
const MaxMessageSize = 256 << 10

// Message is telemetry from the device to the cloud, or a message from the cloud to the device. The
// zero value of a field but Body is left out.
type Message struct {
	// Body is the message, of any format. It may be empty. A received one belongs to the receiver.
	Body []byte
	// MessageID lets a receiver recognise a message that was sent twice, since delivery is at least
	// once.
	MessageID string
	// CorrelationID relates the message to another.
	CorrelationID string
	// ContentType is the body's media type. Routing by what is in the body needs "application/json"
	// and a ContentEncoding.
	ContentType string
	// ContentEncoding is the body's character set: "utf-8", "utf-16" or "utf-32".
	ContentEncoding string
	// CreationTime is when the message was made; it is sent in UTC, to the millisecond.
	CreationTime time.Time
	// Component is the component of the Plug and Play model that sends the telemetry; empty is the
	// model itself.
	Component string
	// Output is the output of a module that the message leaves by. A device has none.
	Output string
	// Properties are the application's own. Names starting with "$." are IoT Hub's: those that a
	// field stands for are refused when sending, others are passed on. Names and values are UTF-8.
	Properties map[string]string

	// The rest is set on received messages, and not sent.

	// UserID is the sender's, if it gave one.
	UserID string
	// To is the path the message was addressed to: "/devices/{device}/messages/deviceBound".
	To string
	// Expiry is when the hub would have deleted the message; the zero time when the hub did not
	// say.
	Expiry time.Time
	// Ack is the feedback that the sender requested: "none", "positive", "negative" or "full".
	Ack string
	// Input is the input of a module that the message arrived at.
	Input string
	// SequenceNumber is the hub's number of the message in the device's queue; 0 over MQTT, which
	// does not carry it.
	SequenceNumber uint64
	// DeliveryCount is how often the message was delivered before; 0 over MQTT, which does not
	// carry it.
	DeliveryCount int
	// EnqueuedTime is when the hub put the message into the queue; the zero time over MQTT, which
	// does not carry it.
	EnqueuedTime time.Time
	// LockToken names the delivery of a message received over HTTPS; empty over MQTT.
	LockToken string
}

// timeFormat is ISO 8601 in UTC to the millisecond.
const timeFormat = "2006-01-02T15:04:05.000Z"

// system are the properties of a message to the cloud that are the service's, by their names in
// topics.
func (m *Message) system() [7][2]string {
	created := ""
	if !m.CreationTime.IsZero() {
		created = m.CreationTime.UTC().Format(timeFormat)
	}
	return [7][2]string{
		{"$.mid", m.MessageID}, {"$.cid", m.CorrelationID}, {"$.ct", m.ContentType},
		{"$.ce", m.ContentEncoding}, {"$.ctime", created}, {"$.sub", m.Component},
		{"$.on", m.Output},
	}
}

// check refuses what the hub would not accept, and returns the message's size as the hub counts it.
func (m *Message) check(hub Hub, system *[7][2]string) (size int, err error) {
	if m.Output != "" && hub.ModuleID == "" {
		return 0, errors.New("a device has no Output, only modules have")
	}
	size = len(m.Body)
	for _, p := range system {
		if !utf8.ValidString(p[1]) || strings.IndexByte(p[1], 0) >= 0 {
			return 0, fmt.Errorf("system property %q is not valid text", p[0])
		}
		size += len(p[1])
		if _, twice := m.Properties[p[0]]; twice {
			return 0, fmt.Errorf("property %q has a field of its own in Message", p[0])
		}
	}
	for name, value := range m.Properties {
		switch {
		case name == "":
			return 0, errors.New("a property has an empty name")
		case !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0:
			return 0, errors.New("the name of a property is not valid text")
		case !utf8.ValidString(value) || strings.IndexByte(value, 0) >= 0:
			return 0, fmt.Errorf("property %q is not valid text", oneline.ASCII(name, 64))
		}
		size += len(name) + len(value)
	}
	if size > MaxMessageSize {
		return 0, fmt.Errorf(
			"message of %d bytes is larger than the %d that IoT Hub takes", size, MaxMessageSize,
		)
	}
	return size, nil
}

// setProperty sets a property of the application.
func (m *Message) setProperty(name, value string) {
	if m.Properties == nil {
		m.Properties = map[string]string{}
	}
	m.Properties[name] = value
}

// parseTime reads the forms of time that the service writes; the zero time is none of them.
func parseTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, http.TimeFormat, "1/2/2006 3:04:05 PM"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}
