// SPDX-License-Identifier: Apache-2.0

package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// bufferSize is how many bytes a direction holds before its writer waits: about what a small
// device's socket has.
const bufferSize = 64 << 10

// Addr is the address of an end, as "host:port". It need not be an IP address.
type Addr string

// Network returns "tcp", the network a Conn stands in for.
func (Addr) Network() string { return "tcp" }

// String returns the address as it was given to Pipe.
func (a Addr) String() string { return string(a) }

// Conn is one end of a connection in memory. It is safe for concurrent use, as any net.Conn.
//
// Its errors are a socket's: *net.OpError around net.ErrClosed, os.ErrDeadlineExceeded,
// syscall.ECONNRESET (after Reset) or syscall.EPIPE (a write after the peer closed); a read after
// the peer closed gives io.EOF.
type Conn struct {
	link          *link
	in, out       *stream
	local, remote Addr

	// Guarded by link.mu.
	closed  bool
	writing bool // a Write is under way; another waits, so that their bytes do not mix
	read    deadline
	write   deadline
}

// link is what both ends share. One condition serves every wait: a connection has at most a few
// waiters.
type link struct {
	mu      sync.Mutex
	changed *sync.Cond
	stalled bool
	reset   bool
}

// stream is the bytes under way in one direction.
type stream struct {
	buf        []byte
	writerGone bool
	readerGone bool
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

// Pipe returns the two ends of a new connection. The addresses are only told, never looked up.
func Pipe(clientAddr, serverAddr string) (client, server *Conn) {
	l := &link{}
	l.changed = sync.NewCond(&l.mu)
	up, down := &stream{}, &stream{}
	client = &Conn{link: l, in: down, out: up, local: Addr(clientAddr), remote: Addr(serverAddr)}
	server = &Conn{link: l, in: up, out: down, local: Addr(serverAddr), remote: Addr(clientAddr)}
	return client, server
}

// Read waits for bytes. What was written before the peer closed or reset is delivered first.
func (c *Conn) Read(b []byte) (int, error) {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.fail("read", net.ErrClosed)
		case c.read.passed():
			return 0, c.fail("read", os.ErrDeadlineExceeded)
		case len(b) == 0:
			return 0, nil
		case len(c.in.buf) > 0 && !l.stalled:
			n := c.in.read(b)
			l.changed.Broadcast()
			return n, nil
		case l.reset:
			return 0, c.fail("read", os.NewSyscallError("read", syscall.ECONNRESET))
		case c.in.writerGone && !l.stalled:
			return 0, io.EOF
		}
		l.changed.Wait()
	}
}

// Write puts bytes on their way, and waits while the buffer is full.
func (c *Conn) Write(b []byte) (n int, err error) {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	for c.writing && !c.closed && !c.write.passed() {
		l.changed.Wait()
	}
	if !c.writing {
		c.writing = true
		defer func() {
			c.writing = false
			l.changed.Broadcast()
		}()
	}
	for {
		switch {
		case c.closed:
			return n, c.fail("write", net.ErrClosed)
		case c.write.passed():
			return n, c.fail("write", os.ErrDeadlineExceeded)
		case l.reset:
			return n, c.fail("write", os.NewSyscallError("write", syscall.ECONNRESET))
		case c.out.writerGone, // by CloseWrite
			c.out.readerGone && !l.stalled: // on a stalled link the fact has not arrived yet
			return n, c.fail("write", os.NewSyscallError("write", syscall.EPIPE))
		case len(b) == 0:
			return n, nil
		}
		if room := bufferSize - len(c.out.buf); room > 0 {
			part := b[:min(room, len(b))]
			c.out.buf = append(c.out.buf, part...)
			n, b = n+len(part), b[len(part):]
			l.changed.Broadcast()
			if len(b) == 0 {
				return n, nil
			}
			continue
		}
		l.changed.Wait()
	}
}

// Close ends this end. The peer reads what was written before, then io.EOF. A second Close reports
// net.ErrClosed.
func (c *Conn) Close() error {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.end()
	return nil
}

// CloseWrite ends this end's sending alone, as a TCP FIN does: the peer reads what was written
// before, then io.EOF, and may go on writing to this end.
func (c *Conn) CloseWrite() error {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.out.writerGone = true
	l.changed.Broadcast()
	return nil
}

// Reset ends both ends at once, as a TCP RST does: this end is closed, the peer's next write fails
// with syscall.ECONNRESET, and so does its read once it has drained what had arrived. A stall does
// not hold it back.
func (c *Conn) Reset() {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reset = true
	c.end()
}

// Stall stops the bytes of both directions, or lets them flow again. Nothing is closed: reads find
// nothing, writes fill the buffer and then wait, and an end closed meanwhile is not noticed by its
// peer.
func (c *Conn) Stall(on bool) {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stalled = on
	l.changed.Broadcast()
}

// LocalAddr returns this end's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines; the zero time means none.
func (c *Conn) SetDeadline(t time.Time) error { return c.arm(t, &c.read, &c.write) }

// SetReadDeadline sets the time at which a waiting or later Read fails with os.ErrDeadlineExceeded.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.arm(t, &c.read) }

// SetWriteDeadline sets the time at which a waiting or later Write fails with
// os.ErrDeadlineExceeded.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.arm(t, &c.write) }

func (c *Conn) arm(t time.Time, ds ...*deadline) error {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	for _, d := range ds {
		d.stop()
		d.at = t
		if wait := time.Until(t); !t.IsZero() && wait > 0 {
			d.timer = time.AfterFunc(wait, func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.changed.Broadcast()
			})
		}
	}
	l.changed.Broadcast()
	return nil
}

// end closes this end; link.mu is held.
func (c *Conn) end() {
	c.closed = true
	c.out.writerGone = true
	c.in.readerGone = true
	c.in.buf = nil
	c.read.stop()
	c.write.stop()
	c.link.changed.Broadcast()
}

func (c *Conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// read moves bytes out of the stream into b.
func (s *stream) read(b []byte) int {
	n := copy(b, s.buf)
	if s.buf = s.buf[n:]; len(s.buf) == 0 {
		s.buf = nil // an idle connection holds no buffer
	}
	return n
}
