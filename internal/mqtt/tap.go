package mqtt

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	pingTimeout  = 10 * time.Second // from PINGREQ to PINGRESP
	maxUnsent    = 65535            // as many packet identifiers as there are
	closeTimeout = time.Second      // for DISCONNECT, close_notify and the WebSocket close frame, each
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
type tap struct {
	nc      net.Conn
	step    time.Duration
	slot    chan struct{} // held while writing: a channel and not a mutex, so that waiting for it is interruptible
	scan    scanner
	chunk   [4 << 10]byte // what was read last
	ready   []byte        // of chunk: what Paho may have
	some    chan struct{} // holds one token when there may be something to write
	drained chan struct{} // closed when the writer has ended
	ctx     context.Context
	cancel  context.CancelCauseFunc
	acks    atomic.Uint64
	connect time.Time // when CONNECT was written
	ping    *time.Timer

	calls sync.WaitGroup // calls inside Paho
	flows sync.WaitGroup // goroutines of Conn

	mu      sync.Mutex
	err     error         // why the connection ended
	pending outbox        // packets to be written
	load    int           // bytes on their way: in Paho, pending, or being written
	queued  uint64        // bytes that were ever put into pending
	written uint64        // bytes of them that are written
	moved   chan struct{} // closed when load or written changes; nil: nobody waits
	unsent  int           // acknowledgements that Paho was made to send and that are not yet written
	sent    chan struct{} // closed when none is; nil: none is
}

func newTap(nc net.Conn, step time.Duration, limit int) *tap {
	t := &tap{
		nc: nc, step: step, slot: make(chan struct{}, 1), scan: scanner{limit: limit},
		some: make(chan struct{}, 1), drained: make(chan struct{}),
	}
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	t.ping = time.AfterFunc(time.Hour, func() { t.fail(&TimeoutError{For: "PINGRESP", After: pingTimeout}) })
	t.ping.Stop()
	go t.writeLoop()
	return t
}

// enter registers a call into Paho that brings size bytes to be written. It waits while there is too much on its way
// already, and fails once the connection has ended. The caller owes a leave with the same size.
func (t *tap) enter(ctx context.Context, size int) error {
	for {
		t.mu.Lock()
		if t.err != nil {
			defer t.mu.Unlock()
			return &LostError{Err: t.err}
		}
		if t.load == 0 || size == 0 || t.load+size <= maxLoad {
			t.load += size
			t.calls.Add(1)
			t.mu.Unlock()
			return nil
		}
		moved := t.moves()
		t.mu.Unlock()
		select {
		case <-moved:
		case <-t.ctx.Done():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (t *tap) leave(size int) {
	t.mu.Lock()
	t.load -= size // what Paho has put into pending by now is counted there
	t.move()
	t.mu.Unlock()
	t.calls.Done()
}

// moves returns a channel that is closed at the next move; mu is held, as by move.
func (t *tap) moves() <-chan struct{} {
	if t.moved == nil {
		t.moved = make(chan struct{})
	}
	return t.moved
}

func (t *tap) move() {
	if t.moved != nil {
		close(t.moved)
		t.moved = nil
	}
}

// flow registers a goroutine of Conn; it fails once the connection has ended. The caller owes flows.Done.
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
func (t *tap) end(cause error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return false
	}
	t.err = cause
	t.ping.Stop()
	t.cancel(cause)
	return true
}

// fail ends the connection at once.
func (t *tap) fail(cause error) {
	if t.end(cause) {
		abort(t.nc)
	}
}

func (t *tap) cause() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// countAck notes that Paho has an acknowledgement to write. A server that goes on sending and reads
// none ends the connection.
func (t *tap) countAck() {
	t.mu.Lock()
	t.unsent++
	if t.unsent == 1 {
		t.sent = make(chan struct{})
	}
	tooMany := t.unsent > maxUnsent
	t.mu.Unlock()
	if tooMany {
		t.fail(ErrOverflow)
	}
}

// awaitAcks waits until all acknowledgements are written, or until late is closed.
func (t *tap) awaitAcks(late <-chan struct{}) {
	t.mu.Lock()
	sent := t.sent
	t.mu.Unlock()
	if sent == nil {
		return
	}
	select {
	case <-sent:
	case <-late:
	case <-t.ctx.Done():
	}
}

// abort closes a network connection from below first: a TLS or WebSocket close writes a last
// message, which a stalled peer would block.
func abort(nc net.Conn) {
	under := nc
	for {
		u, ok := under.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		under = u.NetConn()
	}
	_ = under.Close()
	_ = nc.Close()
}

// shutdown ends the connection in order: acknowledgements, DISCONNECT, then the closing messages of
// the layers below, all within a bounded time.
func (t *tap) shutdown() {
	late := make(chan struct{})
	wait := time.AfterFunc(closeTimeout, func() { close(late) })
	defer wait.Stop()
	timer := time.AfterFunc(2*closeTimeout, func() { abort(t.nc) })
	defer timer.Stop()
	t.awaitAcks(late)
	if !t.end(ErrClosed) {
		return
	}
	select {
	case t.slot <- struct{}{}:
		_, _ = t.write([]byte{0xe0, 0x00}, closeTimeout)
		<-t.slot
		_ = t.nc.Close()
	case <-late:
	}
	abort(t.nc)
}

// Read hands on the server's bytes as far as the scanner lets them. At the end of the connection it first waits until no
// call is inside Paho, then returns an error to it.
func (t *tap) Read(p []byte) (int, error) {
	if len(t.ready) == 0 && t.cause() == nil {
		t.fill()
	}
	if len(t.ready) > 0 {
		n := copy(p, t.ready)
		t.ready = t.ready[n:]
		return n, nil
	}
	if t.cause() == nil {
		return 0, nil
	}
	t.calls.Wait()
	return 0, errEnded
}

// fill reads once, as much as there is: Paho reads a few bytes at a time.
func (t *tap) fill() {
	n, err := t.nc.Read(t.chunk[:])
	pass, bad := t.scan.feed(t.chunk[:n], t.seen)
	t.ready = t.chunk[:pass]
	switch {
	case bad != nil:
		if refused, ok := errors.AsType[*RefusedError](bad); ok {
			refused.Elapsed = time.Since(t.connect)
		}
		t.fail(bad)
	case err != nil:
		t.fail(err)
	}
}

func (t *tap) seen(e event) {
	switch e.kind {
	case typePingresp:
		t.ping.Stop()
		t.acks.Add(1)
	case typePuback, typeSuback:
		t.acks.Add(1)
	}
}

// Close is Paho's way of saying that it has done with the connection.
func (t *tap) Close() error {
	t.fail(errAbandoned)
	return nil
}

func (t *tap) LocalAddr() net.Addr  { return t.nc.LocalAddr() }
func (t *tap) RemoteAddr() net.Addr { return t.nc.RemoteAddr() }

// The deadlines are the tap's own: Paho sets and clears them from several goroutines at once.

func (t *tap) SetDeadline(time.Time) error      { return nil }
func (t *tap) SetReadDeadline(time.Time) error  { return nil }
func (t *tap) SetWriteDeadline(time.Time) error { return nil }
