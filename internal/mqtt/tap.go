// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rehome-iot/rehome/internal/dial"
)

const (
	chunkSize = 128 // bytes that are read at a time, but for a long PUBLISH
	// closeTimeout bounds what leaves after Close: what was pending, DISCONNECT, and the closing
	// messages of the layers below.
	closeTimeout = 2 * time.Second
)

var (
	errEnded     = errors.New("mqtt: the connection has ended")
	errAbandoned = errors.New("mqtt: the connection was given up")
)

// tap stands between Paho and the network. It sees every packet, so it, and not Paho, decides when
// and why a connection ends: Paho learns of it last, once no call of ours is inside it. A call into
// a Paho client that knows its connection to be lost may block for the whole of its write timeout;
// one into a client that does not know returns at once, because writes only put packets aside, and
// after the end succeed into nothing.
//
// What costs most in Paho never reaches it: messages to the server and their acknowledgements, the
// acknowledgements of messages from the server, and pings. Paho has CONNECT, subscriptions, and
// what the server publishes.
type tap struct {
	nc      net.Conn
	line    *line
	options Options
	packets bool      // each packet is written by itself: a WebSocket message
	start   time.Time // before anything happened: no time is 0
	scan    scanner
	leftOut []event                   // not acknowledged yet
	pass    func(event) bool          // arrived: a function value that is made once
	chunk   [maxHeld + chunkSize]byte // what was read last
	ready   []byte                    // of chunk: what Paho may have
	some    chan struct{}             // holds one token when there may be something to write
	drained sync.WaitGroup            // the writer
	ctx     context.Context
	cancel  context.CancelCauseFunc
	acks    atomic.Uint64

	requests sync.Pool      // of *request, for the next messages: so a message allocates nothing
	calls    sync.WaitGroup // calls inside Paho
	flows    sync.WaitGroup // goroutines of Conn

	mu      sync.Mutex
	err     error  // why the connection ended
	pending []byte // packets to be written
	spare   []byte // the memory of what was written before
	// Positions in the stream of all bytes written: where pending ends, how far the network was
	// given it, and how far it has taken it.
	queued, handed, written uint64
	window                  window
	asked                   []question // of Paho's
	connect                 time.Time  // when CONNECT was written
	life                    life
	goodbye                 *time.Timer // ends what Close left behind
}

// question is a SUBSCRIBE or UNSUBSCRIBE whose acknowledgement is awaited.
type question struct {
	answer byte // the type of the acknowledgement
	id     uint16
	end    uint64 // where it ends in the stream of all bytes
}

func newTap(nc net.Conn, o Options) *tap {
	l := lineOf(nc)
	if l == nil {
		l = newLine(nc)
		nc = l
	}
	l.adopt(o.WriteTimeout)
	t := &tap{
		nc: nc, line: l, options: o, start: time.Now().Add(-time.Second),
		scan:   scanner{limit: o.MaxPacket, leavesOut: o.LeftOut != nil},
		some:   make(chan struct{}, 1),
		window: newWindow(o.MaxInFlight),
	}
	_, t.packets = nc.(*wsConn)
	t.pass = t.arrived
	t.requests.New = func() any { return &request{done: make(chan struct{}, 1)} }
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	t.life.timer = time.AfterFunc(time.Hour, t.check)
	t.life.timer.Stop()
	t.drained.Go(t.writeLoop)
	return t
}

// enter registers a call into Paho; it fails once the connection has ended. The caller owes leave.
func (t *tap) enter() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return &LostError{Err: t.err}
	}
	t.calls.Add(1)
	return nil
}

func (t *tap) leave() { t.calls.Done() }

// flow registers a goroutine of Conn; it fails once the connection has ended. The caller owes
// flows.Done.
func (t *tap) flow() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.flows.Add(1)
	}
	return t.err == nil
}

// end records why the connection ended and ends the context, and reports whether it was the first
// to do so. Both happen under the lock, so that whoever reads the reason finds the context done.
// After ErrClosed the writer says goodbye, within a bounded time.
func (t *tap) end(cause error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return false
	}
	t.err = cause
	t.life.timer.Stop()
	if cause == ErrClosed { //nolint:errorlint // it is ours
		t.goodbye = time.AfterFunc(closeTimeout, func() { dial.Abort(t.nc) })
	}
	t.cancel(cause)
	t.wake()
	return true
}

// fail ends the connection at once.
func (t *tap) fail(cause error) {
	if t.end(cause) {
		dial.Abort(t.nc)
	}
}

func (t *tap) cause() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Read hands on the server's bytes as far as the scanner lets them. At the end of the connection it
// first waits until no call is inside Paho, then returns an error to it.
func (t *tap) Read(p []byte) (int, error) {
	for len(t.ready) == 0 {
		if t.cause() != nil {
			t.calls.Wait()
			return 0, errEnded
		}
		if rest := t.scan.rest(); rest > 0 {
			n, err := t.nc.Read(p[:min(len(p), rest)])
			t.scan.skip(n)
			if err != nil {
				t.fail(err)
			}
			if n > 0 {
				return n, nil
			}
			continue
		}
		t.fill()
	}
	n := copy(p, t.ready)
	t.ready = t.ready[n:]
	return n, nil
}

// fill reads once, as much as there is: Paho reads a few bytes at a time.
func (t *tap) fill() {
	n, err := t.nc.Read(t.chunk[maxHeld:])
	t.mu.Lock()
	var bad error
	t.ready, bad = t.scan.feed(t.chunk[maxHeld:maxHeld+n], t.chunk[:0], t.pass)
	t.grant()
	leftOut := t.leftOut
	t.leftOut = nil
	if refused, ok := errors.AsType[*RefusedError](bad); ok && !t.connect.IsZero() {
		refused.Elapsed = time.Since(t.connect)
	}
	t.mu.Unlock()
	for _, e := range leftOut {
		if e.id != 0 {
			t.acknowledge(e.id)
		}
		t.options.LeftOut(e.size)
	}
	switch {
	case bad != nil:
		t.fail(bad)
	case err != nil:
		t.fail(err)
	}
}

// arrived is given each packet of the server's but PUBLISH, and each PUBLISH that was left out,
// with mu held, and reports whether it is for Paho. An acknowledgement of what was not sent, or not
// by a packet of that type, ends nothing.
func (t *tap) arrived(e event) bool {
	switch e.kind {
	case typePingresp:
		if t.life.pinged != 0 {
			t.life.pinged = 0
			t.acks.Add(1)
		}
	case typePuback:
		if s := t.window.find(e.id); s != nil && s.end <= t.handed && s.qos > 0 && !s.acked {
			t.acks.Add(1)
			s.acked = true
			t.window.conclude(s)
		}
	case typeSuback, typeUnsuback:
		return t.answered(e)
	case typeConnack:
		return true
	case typePublish:
		t.leftOut = append(t.leftOut, e)
	}
	return false
}

// answered reports whether an acknowledgement is of a question of Paho's, which it then ends.
func (t *tap) answered(e event) bool {
	for i, q := range t.asked {
		if q.answer == e.kind && q.id == e.id && q.end <= t.handed {
			t.asked = append(t.asked[:i], t.asked[i+1:]...)
			if e.kind == typeSuback {
				t.acks.Add(1)
			}
			return true
		}
	}
	return false
}

// load is how many bytes are on their way to the network; mu is held.
func (t *tap) load() int { return int(t.queued - t.written) }

// Close is Paho's way of saying that it has done with the connection.
func (t *tap) Close() error {
	t.fail(errAbandoned)
	return nil
}

func (t *tap) LocalAddr() net.Addr  { return t.nc.LocalAddr() }
func (t *tap) RemoteAddr() net.Addr { return t.nc.RemoteAddr() }

// Paho sets deadlines while it connects, and clears them from several goroutines at once; the line
// has its own.

func (t *tap) SetDeadline(time.Time) error      { return nil }
func (t *tap) SetReadDeadline(time.Time) error  { return nil }
func (t *tap) SetWriteDeadline(time.Time) error { return nil }
