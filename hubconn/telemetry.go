package hubconn

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// MaxMessageSize is the largest device-to-cloud message IoT Hub takes, in bytes: the body, the values of system
// properties, and the names and values of the others together (Azure docs: "IoT Hub quotas and throttling").
const MaxMessageSize = 256 << 10

// Message is telemetry from the device to the cloud. The zero value of a field but Body is left out.
type Message struct {
	// Body is the message, of any format. It may be empty.
	Body []byte
	// MessageID lets a receiver recognise a message that was sent twice.
	MessageID string
	// CorrelationID relates the message to another.
	CorrelationID string
	// ContentType is the body's media type. Routing by what is in the body needs "application/json" and a
	// ContentEncoding.
	ContentType string
	// ContentEncoding is the body's character set: "utf-8", "utf-16" or "utf-32".
	ContentEncoding string
	// CreationTime is when the message was made; it is sent in UTC, to the millisecond.
	CreationTime time.Time
	// Properties are the application's own. Names starting with "$." are IoT Hub's: those that a field stands for are
	// refused here, others ("$.sub", "$.on") are passed on.
	Properties map[string]string
}

// Send sends a message at QoS 1 and returns when the hub has acknowledged it. While MaxInFlight messages are waiting for
// that it waits for a place. A message too large or malformed is refused with an *Error of class Caller before it is sent.
//
// Any other error means that the hub may or may not have the message; so delivery is at least once if the caller sends
// it again. When the connection ends, Context is done before Send returns, and the error is an *Error of the same class
// as its cause. When ctx ends, its cause is in the error's tree and the connection stays up. Send is safe for concurrent
// use, and done with the message when it returns.
func (c *Conn) Send(ctx context.Context, m Message) error {
	topic, err := m.topic(c.hub.DeviceID)
	if err != nil {
		return &Error{Op: "send", Hub: c.hub, Class: Caller, Err: err}
	}
	return c.publish(ctx, "send", topic, m.Body)
}

// topic is the topic of a message, with its property bag (Azure docs: "Communicate with an IoT hub using the MQTT
// protocol").
func (m Message) topic(deviceID string) (string, error) {
	created := ""
	if !m.CreationTime.IsZero() {
		created = m.CreationTime.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	system := [][2]string{
		{"$.mid", m.MessageID}, {"$.cid", m.CorrelationID}, {"$.ct", m.ContentType}, {"$.ce", m.ContentEncoding}, {"$.ctime", created},
	}
	size := len(m.Body)
	var b strings.Builder
	b.WriteString("devices/" + deviceID + "/messages/events/")
	separator := ""
	add := func(name, value string) {
		b.WriteString(separator + escape(name) + "=" + escape(value))
		separator = "&"
	}
	for _, p := range system {
		if p[1] != "" {
			size += len(p[1])
			add(p[0], p[1])
		}
		if _, taken := m.Properties[p[0]]; taken {
			return "", fmt.Errorf("property %q has a field of its own in Message", p[0])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Properties)) {
		if name == "" {
			return "", fmt.Errorf("a property has an empty name")
		}
		size += len(name) + len(m.Properties[name])
		add(name, m.Properties[name])
	}
	if size > MaxMessageSize {
		return "", fmt.Errorf("message of %d bytes is larger than the %d that IoT Hub takes", size, MaxMessageSize)
	}
	if b.Len() > maxTopic {
		return "", fmt.Errorf("message has %d bytes of encoded properties, an MQTT topic has at most %d", b.Len(), maxTopic)
	}
	return b.String(), nil
}

const maxTopic = 65535 // MQTT 3.1.1 §1.5.3

// escape is percent-encoding by RFC 3986: all but unreserved characters, a space as %20.
func escape(s string) string {
	const unreserved = alphanumeric + "-._~"
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s))
	for i := range len(s) {
		if c := s[i]; strings.IndexByte(unreserved, c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
