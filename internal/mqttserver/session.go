// SPDX-License-Identifier: Apache-2.0

package mqttserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Session is one connection of one client. Its methods are safe for concurrent use.
type Session struct {
	nc      net.Conn
	options Options
	ctx     context.Context
	cancel  context.CancelCauseFunc
	tasks   sync.WaitGroup
	// holds one token: the right to write. A channel, because a waiter on a mutex is not durably
	// blocked
	writing chan struct{}

	mu       sync.Mutex
	client   Connect
	idle     time.Duration // how long the client may be silent; 0: no limit
	nextID   uint16
	inFlight map[uint16]*Delivery
	ending   bool
}

// Delivery is a message on its way to the client.
type Delivery struct {
	id    uint16
	acked chan struct{}
	onAck func() // nil: none
}

// Acked is closed when the client's PUBACK arrives; at QoS 0, once the message is written. It stays
// open when the session ends first.
func (d *Delivery) Acked() <-chan struct{} { return d.acked }

func newSession(ctx context.Context, nc net.Conn, o Options) *Session {
	s := &Session{
		nc: nc, options: o, writing: make(chan struct{}, 1), inFlight: make(map[uint16]*Delivery),
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	return s
}

// Context ends when the session does; context.Cause tells why.
func (s *Session) Context() context.Context { return s.ctx }

// Client returns what the client sent in its CONNECT. Its password is not kept.
func (s *Session) Client() Connect {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

// Conn returns the connection Serve was given, for what it knows about the peer. Reading, writing
// and closing it are the session's.
func (s *Session) Conn() net.Conn { return s.nc }

// Close ends the session with err as its cause: no packet is sent, the connection is closed (reset,
// when err is ErrReset). It does not wait: Serve returns soon after.
func (s *Session) Close(err error) {
	if err == nil {
		err = net.ErrClosed
	}
	s.cancel(err)
}

// Go runs f in a goroutine of the session: Serve returns after f has. An error ends the session. Go
// must be called from a Handler's method or from inside another f; after the session's end f runs
// with a context that is done.
func (s *Session) Go(f func(context.Context) error) {
	s.tasks.Go(func() {
		if err := f(s.ctx); err != nil {
			s.cancel(err)
		}
	})
}

// Publish sends a message to the client and returns once it is written; the Delivery tells when it
// is acknowledged.
func (s *Session) Publish(ctx context.Context, m Message) (*Delivery, error) {
	return s.PublishFunc(ctx, m, nil)
}

// PublishFunc is Publish, and calls acked when the client's PUBACK arrives, before any packet that
// came after it is handled: when the session is over, so are the calls. It must not block. At QoS 0
// it is not called.
func (s *Session) PublishFunc(ctx context.Context, m Message, acked func()) (*Delivery, error) {
	if m.QoS > 1 {
		return nil, &Error{Op: "publish", Err: fmt.Errorf("QoS %d to the client", m.QoS)}
	}
	d := &Delivery{acked: make(chan struct{}), onAck: acked}
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Qos, p.Dup, p.Retain = m.Topic, m.Payload, m.QoS,
		m.Duplicate, m.Retain
	if m.QoS == 0 {
		close(d.acked)
	} else if err := s.register(d); err != nil {
		return nil, err
	}
	p.MessageID = d.id
	if err := s.write(ctx, p); err != nil {
		s.forget(d)
		return nil, err
	}
	return d, nil
}

// register gives a delivery the next free packet identifier.
func (s *Session) register(d *Delivery) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.inFlight) >= 65535 {
		return &Error{Op: "publish", Err: errors.New("65535 messages in flight")}
	}
	for {
		s.nextID++
		if _, taken := s.inFlight[s.nextID]; s.nextID != 0 && !taken {
			d.id = s.nextID
			s.inFlight[d.id] = d
			return nil
		}
	}
}

func (s *Session) forget(d *Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inFlight, d.id)
}

// acknowledged completes a delivery; an identifier nobody waits for is ignored.
func (s *Session) acknowledged(id uint16) {
	s.mu.Lock()
	d, ok := s.inFlight[id]
	delete(s.inFlight, id)
	s.mu.Unlock()
	if !ok {
		return
	}
	if d.onAck != nil {
		d.onAck()
	}
	close(d.acked)
}

func (s *Session) ack(id uint16) error {
	p := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
	p.MessageID = id
	return s.write(s.ctx, p)
}

func (s *Session) suback(id uint16, codes []byte) error {
	p := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	p.MessageID, p.ReturnCodes = id, codes
	return s.write(s.ctx, p)
}

// write sends one packet. A client that takes none for Options.WriteTimeout ends the session.
func (s *Session) write(ctx context.Context, p packets.ControlPacket) error {
	select {
	case s.writing <- struct{}{}:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s.writing }()
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	if err := s.limitWrite(); err != nil {
		return err
	}
	if err := p.Write(s.nc); err != nil {
		// Part of the packet may be gone: nothing sensible can follow it.
		s.cancel(err)
		return err
	}
	return nil
}

// limitWrite sets the write deadline, unless the end of the session has set one to break a write
// already.
func (s *Session) limitWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return context.Cause(s.ctx)
	}
	return s.nc.SetWriteDeadline(time.Now().Add(s.options.WriteTimeout))
}

// limitRead sets the read deadline for the next packet, with the same exception.
func (s *Session) limitRead() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return context.Cause(s.ctx)
	}
	var at time.Time
	if s.idle > 0 {
		at = time.Now().Add(s.idle)
	}
	return s.nc.SetReadDeadline(at)
}

// allow sets how long the client may be silent from now on; 0 means for ever.
func (s *Session) allow(idle time.Duration) error {
	s.mu.Lock()
	s.idle = idle
	s.mu.Unlock()
	return s.limitRead()
}

// interrupt breaks a read and a write that are under way.
func (s *Session) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	_ = s.nc.SetDeadline(time.Unix(1, 0)) // fails only if the connection is closed already
}
