package hubtest

import (
	"net"
	"os"
	"sync"
	"time"
)

// conn is the server's end of a connection, with the troubles a link can have. It works alike over memory and sockets.
type conn struct {
	net.Conn
	network *Network
	counted func() bool // whether the dial has been counted; asked once
	host    string      // guarded by network.mu

	ended chan struct{} // closed when this end is

	held []byte // arrived during a stall; only the one reader touches it

	mu     sync.Mutex
	closed bool
	resume chan struct{} // not nil: stalled, until it is closed
	left   int           // bytes the server may still send, -1: any number
	read   moment
	write  moment
}

// moment is a deadline that a waiting goroutine can watch.
type moment struct {
	at      time.Time
	changed chan struct{}
}

func newConn(n *Network, raw net.Conn) *conn {
	return &conn{
		Conn: raw, network: n, ended: make(chan struct{}), left: -1,
		read: moment{changed: make(chan struct{})}, write: moment{changed: make(chan struct{})},
	}
}

func (c *conn) Read(b []byte) (int, error) {
	for {
		if err := c.gate("read", &c.read); err != nil {
			return 0, err
		}
		if len(c.held) > 0 {
			n := copy(b, c.held)
			c.held = c.held[n:]
			return n, nil
		}
		n, err := c.Conn.Read(b)
		if n == 0 || !c.isStalled() {
			return n, err
		}
		c.held = append(c.held, b[:n]...) // it came too late to be let through
	}
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.gate("write", &c.write); err != nil {
		return 0, err
	}
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
			err = net.ErrClosed
		}
	}
	return n, err
}

// gate lets a read or write through unless the connection is stalled.
func (c *conn) gate(op string, m *moment) error {
	for {
		c.mu.Lock()
		resume, closed, at, changed := c.resume, c.closed, m.at, m.changed
		c.mu.Unlock()
		if closed {
			return c.fail(op, net.ErrClosed)
		}
		if resume == nil {
			return nil
		}
		if err := c.await(resume, at, changed); err != nil {
			return c.fail(op, err)
		}
	}
}

func (c *conn) await(resume chan struct{}, at time.Time, changed chan struct{}) error {
	var expired <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-resume:
	case <-changed:
	case <-c.ended:
		return net.ErrClosed
	case <-expired:
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// Close ends this end. On a stalled connection the peer learns of it when bytes flow again, not before.
func (c *conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return c.fail("close", net.ErrClosed)
	}
	c.closed = true
	close(c.ended)
	stalled := c.resume != nil
	c.mu.Unlock()
	if stalled {
		return nil // stall(false) or the network's end closes what is left
	}
	c.network.forget(c)
	return c.Conn.Close()
}

// Reset ends the connection as a TCP RST does, at once, stalled or not.
func (c *conn) Reset() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.ended)
	}
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
	if !c.closed {
		c.closed = true
		close(c.ended)
	}
	c.mu.Unlock()
	_ = c.Conn.Close()
}

// Stall stops the bytes of both directions, or lets them flow again.
func (c *conn) Stall(on bool) {
	if over := c.stall(on); over {
		c.network.forget(c)
	}
}

// stall is Stall for callers who hold network.mu. It reports whether a close was put off until now.
func (c *conn) stall(on bool) (over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case on && c.resume == nil:
		c.resume = make(chan struct{})
	case !on && c.resume != nil:
		close(c.resume)
		c.resume = nil
		if c.closed {
			_ = c.Conn.Close()
			return true
		}
	}
	return false
}

func (c *conn) isStalled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resume != nil
}

// limit sets after how many bytes from the server the connection is reset; -1: never.
func (c *conn) limit(bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = bytes
}

func (c *conn) SetDeadline(t time.Time) error {
	c.set(t, &c.read, &c.write)
	return c.Conn.SetDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.set(t, &c.read)
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.set(t, &c.write)
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) set(t time.Time, ms ...*moment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range ms {
		m.at = t
		close(m.changed)
		m.changed = make(chan struct{})
	}
}
