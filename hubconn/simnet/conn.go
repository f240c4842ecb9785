// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// sendBuffer is how many bytes a stalled connection takes from the server before its writes wait,
// as a socket's buffer does.
const sendBuffer = 64 << 10

// conn is the server's end of a connection, with the troubles a link can have. It works alike over
// memory and sockets. One goroutine at a time reads it, and one writes: TLS sees to that.
type conn struct {
	net.Conn
	network *Network
	counted func() bool // whether the dial has been counted; asked once
	host    string      // guarded by network.mu

	ended chan struct{} // closed when this end is

	late    []byte // arrived during a stall; only the one reader touches it
	lateErr error  // as did this

	mu       sync.Mutex
	closed   bool
	stalled  bool
	flushing bool          // what was written during a stall is being sent
	queue    []byte        // written during a stall
	changed  chan struct{} // closed and replaced when any of the fields around it changes
	left     int           // bytes the server may still send, -1: any number
	readBy   time.Time     // deadlines
	writeBy  time.Time
}

func newConn(n *Network, raw net.Conn) *conn {
	return &conn{
		Conn: raw, network: n, ended: make(chan struct{}), changed: make(chan struct{}), left: -1,
	}
}

func (c *conn) Read(b []byte) (int, error) {
	for {
		if err := c.untilFlowing(); err != nil {
			return 0, c.fail("read", err)
		}
		if len(c.late) > 0 {
			n := copy(b, c.late)
			c.late = c.late[n:]
			return n, nil
		}
		if c.lateErr != nil {
			return 0, c.lateErr
		}
		n, err := c.Conn.Read(b)
		if !c.isStalled() || errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		// It came too late to be let through: bytes, or the fact that the client is gone.
		c.late = append(c.late, b[:n]...)
		c.lateErr = err
	}
}

// untilFlowing waits for the end of a stall.
func (c *conn) untilFlowing() error {
	for {
		c.mu.Lock()
		closed, stalled, by, changed := c.closed, c.stalled, c.readBy, c.changed
		c.mu.Unlock()
		switch {
		case closed:
			return net.ErrClosed
		case !stalled:
			return nil
		}
		if err := await(changed, by); err != nil {
			return err
		}
	}
}

// await waits for a change until a deadline.
func await(changed <-chan struct{}, by time.Time) error {
	var expired <-chan time.Time
	if !by.IsZero() {
		t := time.NewTimer(time.Until(by))
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-changed:
		return nil
	case <-expired:
		return os.ErrDeadlineExceeded
	}
}

func (c *conn) Write(b []byte) (int, error) {
	for {
		c.mu.Lock()
		flowing := !c.stalled && !c.flushing
		switch {
		case c.closed:
			c.mu.Unlock()
			return 0, c.fail("write", net.ErrClosed)
		case flowing:
			c.mu.Unlock()
			return c.transmit(b)
		case len(c.queue) < sendBuffer:
			c.queue = append(c.queue, b...)
			c.mu.Unlock()
			return len(b), nil
		}
		by, changed := c.writeBy, c.changed
		c.mu.Unlock()
		if err := await(changed, by); err != nil {
			return 0, c.fail("write", err)
		}
	}
}

// transmit sends bytes, up to where the connection is to be cut.
func (c *conn) transmit(b []byte) (int, error) {
	c.mu.Lock()
	cut := c.left >= 0 && len(b) > c.left
	if cut {
		b = b[:c.left]
	}
	if c.left >= 0 {
		c.left -= len(b)
	}
	c.mu.Unlock()
	n, err := c.Conn.Write(b)
	if cut {
		c.Reset()
		if err == nil {
			err = c.fail("write", net.ErrClosed)
		}
	}
	return n, err
}

// Stall stops the bytes of both directions, or lets them flow again.
func (c *conn) Stall(on bool) {
	if c.stall(on) {
		c.network.spawn(c.flush)
	}
}

// stall is Stall for callers who hold network.mu. It reports whether something written, or a close,
// has waited for the end of the stall; then flush must be run.
func (c *conn) stall(on bool) (flush bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stalled == on {
		return false
	}
	c.stalled = on
	if !on && !c.flushing && (len(c.queue) > 0 || c.closed) {
		c.flushing, flush = true, true
		// what has been written is out of the writer's hands
		_ = c.Conn.SetWriteDeadline(time.Time{})
	}
	c.announce()
	return flush
}

// flush sends what was written during a stall, and then closes the connection if that was put off.
func (c *conn) flush() {
	for {
		c.mu.Lock()
		if c.stalled || len(c.queue) == 0 {
			c.flushing = false
			closed := c.closed && !c.stalled
			_ = c.Conn.SetWriteDeadline(c.writeBy)
			c.announce()
			c.mu.Unlock()
			if closed {
				c.network.forget(c)
				_ = c.Conn.Close()
			}
			return
		}
		b := c.queue
		c.queue = nil
		c.announce()
		c.mu.Unlock()
		if _, err := c.transmit(b); err != nil {
			c.Reset() // nothing sensible can follow half of it
		}
	}
}

// Close ends this end. On a stalled connection the peer learns of it when bytes flow again, not
// before.
func (c *conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return c.fail("close", net.ErrClosed)
	}
	c.end()
	later := c.stalled || c.flushing
	c.mu.Unlock()
	if later {
		return nil // flush, or the network's end, closes what is left
	}
	c.network.forget(c)
	return c.Conn.Close()
}

// Reset ends the connection as a TCP RST does, at once, stalled or not.
func (c *conn) Reset() {
	c.mu.Lock()
	c.end()
	c.queue = nil
	c.mu.Unlock()
	c.network.forget(c)
	switch raw := c.Conn.(type) {
	case interface{ Reset() }:
		raw.Reset()
	case *net.TCPConn:
		_ = raw.SetLinger(0) // makes Close send RST
		_ = raw.Close()
	default:
		_ = raw.Close()
	}
}

// abandon ends the connection with the network.
func (c *conn) abandon() {
	c.mu.Lock()
	c.end()
	c.queue = nil
	c.mu.Unlock()
	_ = c.Conn.Close()
}

// end marks this end as closed; c.mu is held.
func (c *conn) end() {
	if !c.closed {
		c.closed = true
		close(c.ended)
		c.announce()
	}
}

// announce wakes those who wait; c.mu is held.
func (c *conn) announce() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *conn) isStalled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stalled
}

// limit sets after how many bytes from the server the connection is reset; -1: never.
func (c *conn) limit(bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = bytes
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBy = t
	c.announce()
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeBy = t
	c.announce()
	if c.flushing {
		return nil // takes effect when the flush is done
	}
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
