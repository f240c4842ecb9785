// SPDX-License-Identifier: Apache-2.0

package mqttserver

import (
	"context"
	"sync/atomic"
	"time"
)

// Handler is the service behind a connection. One connection's calls come one at a time, in the
// order of the packets, except that a Handler shared by connections is called by all of them at
// once.
//
// While a call runs the session reads PUBACKs but answers nothing else, not even a ping: what takes
// longer belongs into Session.Go. A call's context ends when the connection does. An error ends the
// session; ErrReset ends it by a reset.
type Handler interface {
	// Connect checks a CONNECT of protocol level 4 (any other was refused with return code 1). A
	// return code other than 0 is sent, and the connection closed; an error closes it with no
	// response.
	Connect(ctx context.Context, s *Session, c *Connect) (Connack, error)
	// Connected is called once a CONNACK with return code 0 has been written, before any further
	// packet is handled.
	Connected(ctx context.Context, s *Session) error
	// Publish takes a message at QoS 0 or 1. It is acknowledged when Publish returns nil, unless
	// Incoming.Ack was called before or Incoming.Withhold was.
	Publish(ctx context.Context, s *Session, m *Incoming) error
	// Subscribe checks filters. Nothing replied and nothing withheld, all are granted, at QoS 1 at
	// most.
	Subscribe(ctx context.Context, s *Session, r *Subscribe) error
	// Unsubscribe tells of filters that are given up. It is acknowledged when Unsubscribe returns
	// nil.
	Unsubscribe(ctx context.Context, s *Session, filters []string) error
	// Disconnected is called once, last, for every session whose Connect was called: err is nil
	// after a DISCONNECT packet.
	Disconnected(s *Session, err error)
}

// Breaker is what a Handler may be besides: it is told when an accepted client breaks the protocol,
// or sends a packet above Options.MaxPacket, in the order of the packets. The session ends when
// Broken returns, with err if nothing has ended it before: until then what came earlier can be
// acknowledged. Without it the session ends at once.
type Breaker interface {
	Broken(ctx context.Context, s *Session, err error)
}

// Connect is a client's CONNECT.
type Connect struct {
	ClientID     string
	Username     string
	HasUsername  bool
	Password     []byte
	HasPassword  bool
	CleanSession bool
	KeepAlive    time.Duration // 0: the client sends no pings
	Will         *Message      // nil: none
}

// Connack is the response to a CONNECT.
type Connack struct {
	ReturnCode     byte // 0 accepts. 1–5 are defined (section 3.2.2.3); any byte is sent as it is
	SessionPresent bool // sent with return code 0 only
}

// The return codes of section 3.2.2.3.
const (
	Accepted           byte = 0
	BadProtocolVersion byte = 1
	IdentifierRejected byte = 2
	ServerUnavailable  byte = 3
	BadCredentials     byte = 4
	NotAuthorized      byte = 5
)

// SubscribeFailure is the SUBACK code of a filter that is refused.
const SubscribeFailure byte = 0x80

// Message is an application message, in either direction.
type Message struct {
	Topic     string
	Payload   []byte
	QoS       byte // 0 or 1
	Duplicate bool // sent before, perhaps
	Retain    bool
}

// Incoming is a message from the client.
type Incoming struct {
	Message
	session  *Session
	id       uint16 // 0 at QoS 0
	withheld bool   // only the handler's goroutine touches it
	acked    atomic.Bool
}

// Ack sends the PUBACK now, ahead of whatever the handler sends next. It does nothing at QoS 0, and
// nothing the second time. Any goroutine may call it, once Withhold was.
func (m *Incoming) Ack() error {
	if m.id == 0 || !m.acked.CompareAndSwap(false, true) {
		return nil
	}
	return m.session.ack(m.id)
}

// Withhold keeps the PUBACK from being sent when the handler's Publish returns. Ack may still send
// it, later or never. Only Publish itself may call it.
func (m *Incoming) Withhold() { m.withheld = true }

// Filter is one topic filter of a SUBSCRIBE and the QoS asked for, 0 to 2.
type Filter struct {
	Topic string
	QoS   byte
}

// Subscribe is a client's SUBSCRIBE.
type Subscribe struct {
	Filters  []Filter
	session  *Session
	id       uint16
	withheld bool // only the handler's goroutine touches it
	replied  atomic.Bool
}

// Reply sends the SUBACK now: for each filter the QoS granted, or SubscribeFailure. It does nothing
// the second time. Any goroutine may call it, once Withhold was.
func (r *Subscribe) Reply(codes ...byte) error {
	if !r.replied.CompareAndSwap(false, true) {
		return nil
	}
	return r.session.suback(r.id, codes)
}

// Withhold keeps a SUBACK from being sent when the handler's Subscribe returns. Reply may still
// send it. Only that Subscribe itself may call it.
func (r *Subscribe) Withhold() { r.withheld = true }

// Grant returns the codes that grant every filter, at QoS 1 at most.
func (r *Subscribe) Grant() []byte {
	codes := make([]byte, len(r.Filters))
	for i, f := range r.Filters {
		codes[i] = min(f.QoS, 1)
	}
	return codes
}
