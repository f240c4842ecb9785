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
	writeStep   = 4 << 10          // bytes that have to leave within one write timeout
	pingTimeout = 10 * time.Second // from PINGREQ to PINGRESP
	goodbye     = time.Second      // for DISCONNECT, close_notify and the WebSocket close frame, each
)

var (
	errEnded     = errors.New("mqtt: the connection has ended")
	errAbandoned = errors.New("mqtt: the connection was given up")
)

// tap stands between Paho and the network. It sees every packet, so it, and not Paho, decides when and why a connection
// ends: Paho is told last, once no call of ours is inside it. A call into a Paho client that knows its connection to be
// lost may block for the whole of its write timeout; one into a client that does not know drains at once, because after
// the end every write succeeds into nothing.
type tap struct {
	nc      net.Conn
	step    time.Duration
	slot    chan struct{} // held while writing: a channel and not a mutex, so that waiting for it is interruptible
	scan    scanner
	ctx     context.Context
	cancel  context.CancelCauseFunc
	acks    atomic.Uint64
	connect time.Time // when CONNECT was written
	ping    *time.Timer

	calls sync.WaitGroup // calls inside Paho
	flows sync.WaitGroup // goroutines of Conn

	mu    sync.Mutex
	err   error         // why the connection ended
	owed  int           // acknowledgements that Paho has been told to send
	clear chan struct{} // closed when none is; nil: none is
}

func newTap(nc net.Conn, step time.Duration, limit int) *tap {
	t := &tap{nc: nc, step: step, slot: make(chan struct{}, 1), scan: scanner{limit: limit}}
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	t.ping = time.AfterFunc(time.Hour, func() { t.fail(&TimeoutError{For: "PINGRESP", After: pingTimeout}) })
	t.ping.Stop()
	return t
}

// enter registers a call into Paho and a flow; it fails once the connection has ended. The caller owes calls.Done and
// flows.Done.
func (t *tap) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return false
	}
	t.calls.Add(1)
	t.flows.Add(1)
	return true
}

// end records why the connection ended and tells everyone who waits. It reports whether it is the first to do so.
func (t *tap) end(cause error) bool {
	t.mu.Lock()
	first := t.err == nil
	if first {
		t.err = cause
	}
	t.mu.Unlock()
	if first {
		t.ping.Stop()
		t.cancel(cause)
	}
	return first
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

// owe notes that an acknowledgement is on its way from Paho.
func (t *tap) owe() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.owed++; t.owed == 1 {
		t.clear = make(chan struct{})
	}
}

// paid notes that one has been written.
func (t *tap) paid() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.owed == 0 {
		return
	}
	if t.owed--; t.owed == 0 {
		close(t.clear)
		t.clear = nil
	}
}

// settle waits, for a bounded time, until no acknowledgement is on its way.
func (t *tap) settle() {
	t.mu.Lock()
	clear := t.clear
	t.mu.Unlock()
	if clear == nil {
		return
	}
	timer := time.NewTimer(goodbye)
	defer timer.Stop()
	select {
	case <-clear:
	case <-timer.C:
	case <-t.ctx.Done():
	}
}

// abort closes a network connection from below first: a TLS or WebSocket close has a farewell to write, which a stalled
// peer would hold up.
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

// shutdown ends the connection politely: acknowledgements, DISCONNECT, then the farewells of the layers below, all within a
// bounded time.
func (t *tap) shutdown() {
	t.settle()
	if !t.end(ErrClosed) {
		return
	}
	timer := time.AfterFunc(2*goodbye, func() { abort(t.nc) })
	defer timer.Stop()
	wait := time.NewTimer(goodbye)
	defer wait.Stop()
	select {
	case t.slot <- struct{}{}:
		_, _ = t.write([]byte{0xe0, 0x00}, goodbye)
		<-t.slot
		_ = t.nc.Close()
	case <-wait.C:
	}
	abort(t.nc)
}

// Read hands on the server's bytes as far as the scanner lets them. At the end of the connection it first waits until no
// call is inside Paho, then tells it.
func (t *tap) Read(p []byte) (int, error) {
	if t.cause() == nil {
		n, err := t.nc.Read(p)
		pass, bad := t.scan.feed(p[:n], t.seen)
		switch {
		case bad != nil:
			if refused, ok := errors.AsType[*RefusedError](bad); ok {
				refused.Elapsed = time.Since(t.connect)
			}
			t.fail(bad)
		case err != nil:
			t.fail(err)
		}
		if pass > 0 {
			return pass, nil
		}
		if bad == nil && err == nil {
			return 0, nil
		}
	}
	t.calls.Wait()
	return 0, errEnded
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

// Write writes one packet. It never fails: an error ends the connection, and Paho learns of that by Read.
func (t *tap) Write(p []byte) (int, error) {
	select {
	case t.slot <- struct{}{}:
	case <-t.ctx.Done():
		return len(p), nil
	}
	defer func() { <-t.slot }()
	if t.cause() != nil {
		return len(p), nil
	}
	switch p[0] >> 4 {
	case typeConnect:
		t.connect = time.Now()
	case typePingreq:
		t.expectPingresp()
	}
	if _, err := t.write(p, t.step); err != nil {
		t.fail(err)
	}
	if p[0]>>4 == typePuback {
		t.paid()
	}
	return len(p), nil
}

// expectPingresp starts the wait for a PINGRESP before the PINGREQ is written, because a full send buffer is a silent peer
// too; but not before its turn has come, because behind a long message it may wait for as long as that makes progress.
func (t *tap) expectPingresp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.ping.Reset(pingTimeout)
	}
}

// stepper is a connection that keeps a packet together although each part of it has a deadline of its own.
type stepper interface {
	writeSteps(p []byte, size int, step time.Duration) (int, error)
}

// write gives each part of p its own deadline, so that a slow link may take its time over a long message, while one that
// makes no progress is noticed.
func (t *tap) write(p []byte, step time.Duration) (int, error) {
	if s, ok := t.nc.(stepper); ok {
		return s.writeSteps(p, writeStep, step)
	}
	written := 0
	for written < len(p) {
		_ = t.nc.SetWriteDeadline(time.Now().Add(step))
		n, err := t.nc.Write(p[written:min(len(p), written+writeStep)])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
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
