// SPDX-License-Identifier: Apache-2.0

package mqttserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Options are a server's limits. The zero value is useful.
type Options struct {
	// MaxPacket is the largest remaining length of a packet that is read, in bytes. A larger one
	// ends the session unread. 0 means 384 KiB: room for IoT Hub's largest message with the longest
	// topic.
	MaxPacket int
	// MaxConnect is the same of the first packet: of who may be anybody. 0 means MaxPacket.
	MaxConnect int
	// ConnectTimeout is how long a new connection may take to send its CONNECT. 0 means 30 s.
	ConnectTimeout time.Duration
	// MaxIdle caps how long a client may be silent, whatever keep-alive it asked for, 0 included. 0
	// means no cap.
	MaxIdle time.Duration
	// WriteTimeout is how long writing one packet may take. 0 means 30 s.
	WriteTimeout time.Duration
}

func (o Options) withDefaults() Options {
	if o.MaxPacket <= 0 {
		o.MaxPacket = 384 << 10
	}
	if o.MaxConnect <= 0 {
		o.MaxConnect = o.MaxPacket
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = 30 * time.Second
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 30 * time.Second
	}
	return o
}

// Serve speaks MQTT on nc until the client disconnects, breaks the protocol or falls silent, the
// handler returns an error, the session is closed or ctx ends. It closes nc, and returns after
// every goroutine of the session has ended. The error tells why it ended; it is nil after a
// DISCONNECT packet.
func Serve(ctx context.Context, nc net.Conn, h Handler, o Options) error {
	s := newSession(ctx, nc, o.withDefaults())
	defer s.cancel(net.ErrClosed)

	incoming, broken := make(chan packets.ControlPacket), make(chan error)
	_, inOrder := h.(Breaker)
	s.tasks.Go(func() {
		err := s.read(incoming)
		if inOrder && isBreach(err) {
			select {
			case broken <- err: // which run ends the session with
				return
			case <-s.ctx.Done():
			}
		}
		s.cancel(err)
	})
	s.tasks.Go(func() {
		<-s.ctx.Done()
		s.interrupt()
	})

	connected := false
	s.cancel(s.run(h, incoming, broken, &connected)) // the first cause wins
	cause := context.Cause(s.ctx)

	if errors.Is(cause, ErrReset) {
		Reset(nc)
	}
	_ = nc.Close() // the session is over; nobody is left to tell
	s.tasks.Wait()
	if errors.Is(cause, errDisconnected) {
		cause = nil
	}
	if connected {
		h.Disconnected(s, cause)
	}
	return cause
}

// read hands packets to run, and PUBACKs to their deliveries, so that a handler may wait for one.
func (s *Session) read(incoming chan<- packets.ControlPacket) error {
	if err := s.allow(s.options.ConnectTimeout); err != nil {
		return err
	}
	r := bufio.NewReader(s.nc)
	for first := true; ; first = false {
		limit := s.options.MaxConnect
		if !first {
			limit = s.options.MaxPacket
			if err := s.limitRead(); err != nil {
				return err
			}
		}
		cp, err := readPacket(r, limit)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && first:
			return &Error{
				Op: "connect", Err: fmt.Errorf("no CONNECT within %s", s.options.ConnectTimeout),
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			return &Error{Op: "keep-alive", Err: ErrKeepAlive}
		case err != nil:
			return err
		}
		if first {
			// The silence while a CONNECT waits for its response is the server's, not the client's.
			if err := s.allow(0); err != nil {
				return err
			}
		}
		if p, ok := cp.(*packets.PubackPacket); ok && !first {
			s.acknowledged(p.MessageID)
			continue
		}
		select {
		case incoming <- cp:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

// run handles the packets one by one until the session ends.
func (s *Session) run(
	h Handler, incoming <-chan packets.ControlPacket, broken <-chan error, connected *bool,
) error {
	for first := true; ; first = false {
		var err error
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case err = <-broken:
		case cp := <-incoming:
			if first {
				err = s.connect(h, cp, connected)
			} else {
				err = s.handle(h, cp)
			}
		}
		if b, ok := h.(Breaker); ok && !first && isBreach(err) {
			b.Broken(s.ctx, s, err)
		}
		if err != nil {
			return err
		}
	}
}

// isBreach says that it was the client who broke the protocol, or the limit of a packet.
func isBreach(err error) bool {
	return errors.Is(err, ErrMalformed) || errors.Is(err, ErrTooLarge)
}

func (s *Session) connect(h Handler, cp packets.ControlPacket, connected *bool) error {
	p, ok := cp.(*packets.ConnectPacket)
	if !ok {
		return malformed("connect", "first packet is %s", packetName(cp))
	}
	if p.ProtocolName != "MQTT" && p.ProtocolName != "MQIsdp" {
		return malformed("connect", "protocol %q", p.ProtocolName)
	}
	if p.ProtocolName != "MQTT" || p.ProtocolVersion != 4 {
		return s.refuse(BadProtocolVersion)
	}
	if p.PasswordFlag && !p.UsernameFlag {
		return malformed("connect", "password without user name")
	}
	c := Connect{
		ClientID: p.ClientIdentifier, CleanSession: p.CleanSession,
		KeepAlive: time.Duration(p.Keepalive) * time.Second, Username: p.Username,
		HasUsername: p.UsernameFlag, Password: p.Password, HasPassword: p.PasswordFlag,
	}
	if p.WillFlag {
		c.Will = &Message{
			Topic: p.WillTopic, Payload: p.WillMessage, QoS: p.WillQos, Retain: p.WillRetain,
		}
	}
	s.mu.Lock()
	s.client = c
	s.client.Password = nil
	s.mu.Unlock()

	*connected = true
	response, err := h.Connect(s.ctx, s, &c)
	if err != nil {
		return err
	}
	if response.ReturnCode != Accepted {
		return s.refuse(response.ReturnCode)
	}
	ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	ack.SessionPresent = response.SessionPresent
	if err := s.write(s.ctx, ack); err != nil {
		return err
	}
	if err := s.allow(s.idleLimit(c.KeepAlive)); err != nil {
		return err
	}
	return h.Connected(s.ctx, s)
}

// refuse sends a CONNACK; a client refused must be disconnected (section 3.2.2.3).
func (s *Session) refuse(code byte) error {
	ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	ack.ReturnCode = code
	if err := s.write(s.ctx, ack); err != nil {
		return err
	}
	return &Error{Op: "connect", Err: fmt.Errorf("%w: return code %d", ErrRefused, code)}
}

// idleLimit is one and a half times the keep-alive (section 3.1.2.10), within the server's own cap.
func (s *Session) idleLimit(keepAlive time.Duration) time.Duration {
	limit := keepAlive + keepAlive/2
	if limit == 0 || s.options.MaxIdle > 0 && limit > s.options.MaxIdle {
		return s.options.MaxIdle
	}
	return limit
}

func (s *Session) handle(h Handler, cp packets.ControlPacket) error {
	switch p := cp.(type) {
	case *packets.PublishPacket:
		return s.publish(h, p)
	case *packets.SubscribePacket:
		return s.subscribe(h, p)
	case *packets.UnsubscribePacket:
		if err := h.Unsubscribe(s.ctx, s, p.Topics); err != nil {
			return err
		}
		ack := packets.NewControlPacket(packets.Unsuback).(*packets.UnsubackPacket)
		ack.MessageID = p.MessageID
		return s.write(s.ctx, ack)
	case *packets.PingreqPacket:
		return s.write(s.ctx, packets.NewControlPacket(packets.Pingresp))
	case *packets.DisconnectPacket:
		return errDisconnected
	default:
		return malformed("read", "unexpected %s", packetName(cp))
	}
}

func (s *Session) publish(h Handler, p *packets.PublishPacket) error {
	if p.Qos > 1 {
		return malformed("publish", "QoS %d is not supported", p.Qos)
	}
	m := &Incoming{
		Message: Message{
			Topic: p.TopicName, Payload: p.Payload, QoS: p.Qos, Duplicate: p.Dup, Retain: p.Retain,
		},
		session: s, id: p.MessageID,
	}
	if err := h.Publish(s.ctx, s, m); err != nil {
		return err
	}
	if m.withheld {
		return nil
	}
	return m.Ack()
}

func (s *Session) subscribe(h Handler, p *packets.SubscribePacket) error {
	r := &Subscribe{session: s, id: p.MessageID}
	for i, t := range p.Topics {
		r.Filters = append(r.Filters, Filter{Topic: t, QoS: p.Qoss[i]})
	}
	if err := h.Subscribe(s.ctx, s, r); err != nil {
		return err
	}
	if r.withheld {
		return nil
	}
	return r.Reply(r.Grant()...)
}

// Reset ends a connection the rude way, if something under it has a Reset method, as the simulated
// network's connections have. It reports whether it could.
func Reset(nc net.Conn) bool {
	r, ok := Under[interface{ Reset() }](nc)
	if ok {
		r.Reset()
	}
	return ok
}

// Under finds the connection with the methods of T beneath a connection's wrappers: TLS and
// WebSocket.
func Under[T any](nc net.Conn) (T, bool) {
	for {
		if t, ok := nc.(T); ok {
			return t, true
		}
		w, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			var none T
			return none, false
		}
		nc = w.NetConn()
	}
}

// packetName returns a packet's name as the standard spells it.
func packetName(cp packets.ControlPacket) string {
	name := fmt.Sprintf("%T", cp)
	return strings.ToUpper(strings.TrimSuffix(name[strings.LastIndexByte(name, '.')+1:], "Packet"))
}
