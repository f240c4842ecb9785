// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/rehome-iot/rehome/internal/mqtt"
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

// Sequence sends messages in an order that the hub sees, with several of them in flight; made by
// [Conn.Sequence]. It lasts as long as the network connection that it began on: when a renewal
// replaces that, or it is lost, what is not acknowledged may have arrived or not, and nothing more
// is sent. The caller then begins another Sequence with the oldest message that was not
// acknowledged. So the hub receives each message after those before it, and some of them twice.
//
// It belongs to one goroutine. [Conn.Send] may be used beside it: its messages go in between.
type Sequence struct {
	conn  *Conn
	order *mqtt.Order
}

// Sequence begins a sequence. It waits while a renewal has no network connection. The error is an
// *Error: the connection has ended, or ctx has.
func (c *Conn) Sequence(ctx context.Context) (*Sequence, error) {
	for {
		if err := c.ended(ctx, "send"); err != nil {
			return nil, err
		}
		link := c.current()
		if link != nil && link.Context().Err() == nil {
			return &Sequence{conn: c, order: link.NewOrder()}, nil
		}
		if err := c.await(ctx, "send", link); err != nil {
			return nil, err
		}
	}
}

// Send gives a message its place in the sequence and returns: it does not wait for the hub, nor for
// a place among MaxInFlight, so the caller bounds how many it has under way. Body is the
// connection's until Wait has returned, which has to be called for each message. The error is an
// *Error: of class Caller as that of [Conn.Send], after which the sequence goes on; any other is
// the end of the sequence, and the message was not sent.
func (s *Sequence) Send(m Message) (*Sending, error) {
	topic, err := m.topic(s.conn.hub, s.conn.events)
	if err != nil {
		return nil, &Error{Op: "send", Hub: s.conn.hub, Class: Caller, Err: err}
	}
	publication, err := s.order.Start(topic, 1, m.Body)
	if err != nil {
		return nil, classify("send", s.conn.hub, err)
	}
	s.conn.sent.Add(1)
	s.conn.inFlight.Add(1)
	return &Sending{conn: s.conn, publication: publication}, nil
}

// Sending is a message on its way.
type Sending struct {
	conn        *Conn
	publication mqtt.Publication
}

// Wait returns when the hub has acknowledged the message. Any error means that the hub may or may
// not have it: the sequence has ended, or ctx has. Where ctx ends before the message has left, it
// does not leave any more, nor do those behind it, and the sequence has ended. Wait is called once,
// from any goroutine.
func (s *Sending) Wait(ctx context.Context) error {
	err := s.publication.Wait(ctx)
	s.conn.inFlight.Add(-1)
	if err != nil {
		return classify("send", s.conn.hub, err)
	}
	s.conn.countAcknowledged()
	return nil
}

// countAcknowledged counts a message that the hub has. The first is news: it works.
func (c *Conn) countAcknowledged() {
	if c.acknowledged.Add(1) == 1 {
		c.log(slog.LevelInfo, "message acknowledged")
	}
}

// Check returns the error of class Caller with which [Conn.Send] to the hub would refuse the
// message: too large or malformed. Who keeps messages for later asks it first.
func (m *Message) Check(hub Hub) error {
	if _, err := m.topic(hub, hub.events()); err != nil {
		return &Error{Op: "send", Hub: hub, Class: Caller, Err: err}
	}
	return nil
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
