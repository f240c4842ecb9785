// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"log/slog"

	"github.com/rehome-iot/rehome/internal/mqtt"
)

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
