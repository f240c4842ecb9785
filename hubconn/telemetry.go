// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Send sends a message at QoS 1 and returns when the hub has acknowledged it. While MaxInFlight
// messages are waiting for that it waits for a place. A message too large or malformed is refused
// with an *Error of class Caller before it is sent.
//
// Any other error means that the hub may or may not have the message; so delivery is at least once
// if the caller sends it again. When the connection ends, Context is done before Send returns, and
// the error is an *Error of the same class as its cause. When ctx ends, its cause is in the error's
// tree and the connection stays up. Send is safe for concurrent use, and done with the message when
// it returns.
func (c *Conn) Send(ctx context.Context, m Message) error {
	topic, err := m.topic(c.hub, c.events)
	if err != nil {
		return &Error{Op: "send", Hub: c.hub, Class: Caller, Err: err}
	}
	c.sent.Add(1)
	c.inFlight.Add(1)
	err = c.publish(ctx, "send", topic, m.Body)
	c.inFlight.Add(-1)
	if err != nil {
		return err
	}
	c.countAcknowledged()
	return nil
}

// publish sends at QoS 1 over whichever link there is; when a renewal replaces that link meanwhile,
// it sends again over the next one.
func (c *Conn) publish(ctx context.Context, op, topic string, body []byte) error {
	for {
		link := c.current()
		if link != nil {
			err := link.Publish(ctx, topic, 1, body)
			if err == nil {
				return nil
			}
			if link.Context().Err() == nil {
				return classify(op, c.hub, err) // ctx ended
			}
		}
		// No link, or a dead one: it is either replaced or the end of the connection.
		if err := c.await(ctx, op, link); err != nil {
			return err
		}
	}
}

const maxTopic = 65535 // MQTT 3.1.1 §1.5.3

// events is the topic that telemetry is published to, without properties.
func (h Hub) events() string { return h.path() + "/messages/events/" }

// topic is the topic of a message, events with its property bag (Azure docs: "Communicate with an
// IoT hub using the MQTT protocol").
func (m *Message) topic(hub Hub, events string) (string, error) {
	system := m.system()
	if _, err := m.check(hub, &system); err != nil {
		return "", err
	}
	var array [16]string
	names := array[:0]
	for name := range m.Properties {
		names = append(names, name)
	}
	slices.Sort(names)

	size, some := len(events), 0
	for _, p := range system {
		if p[1] != "" {
			size += some + escapedLen(p[0]) + len("=") + escapedLen(p[1])
			some = len("&")
		}
	}
	for _, name := range names {
		size += some + escapedLen(name) + len("=") + escapedLen(m.Properties[name])
		some = len("&")
	}
	if size > maxTopic {
		return "", fmt.Errorf(
			"message has %d bytes of encoded properties, an MQTT topic has at most %d", size,
			maxTopic,
		)
	}
	if some == 0 {
		return events, nil
	}
	b := bag{}
	b.Grow(size)
	b.WriteString(events)
	for _, p := range system {
		if p[1] != "" {
			b.add(p[0], p[1])
		}
	}
	for _, name := range names {
		b.add(name, m.Properties[name])
	}
	return b.String(), nil
}

// bag is a topic with its property bag in the making.
type bag struct {
	strings.Builder
	some bool
}

func (b *bag) add(name, value string) {
	if b.some {
		b.WriteByte('&')
	}
	b.some = true
	escapeTo(&b.Builder, name)
	b.WriteByte('=')
	escapeTo(&b.Builder, value)
}
