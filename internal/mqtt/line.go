// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// line is a network connection below TLS and WebSocket. There it sees what they hide: that part of
// a record has left or arrived. So its write deadline is about progress, and a slow link may take
// its time over a long record, while one that takes no byte is noticed; and every byte that comes
// is a sign of life.
type line struct {
	_ [0]func() // never compared, which saves code in a device's program

	net.Conn
	start time.Time
	// how long it may take no byte, in nanoseconds; 0: deadlines are those that its user sets
	step  atomic.Int64
	until atomic.Int64 // the write deadline that is set, in nanoseconds from start
	heard atomic.Int64 // when a byte came last, in nanoseconds from start

	read, wrote atomic.Int64 // bytes
}

// newLine wraps what a dialer has opened, before anything is put on top of it.
func newLine(nc net.Conn) *line { return &line{Conn: nc, start: time.Now()} }

// lineOf returns the lowest line below a connection, nil if there is none.
func lineOf(nc net.Conn) (lowest *line) {
	for {
		if l, ok := nc.(*line); ok {
			lowest = l
		}
		u, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return lowest
		}
		nc = u.NetConn()
	}
}

// adopt makes the line keep its own write deadline from now on, and none for reading.
func (l *line) adopt(step time.Duration) {
	_ = l.Conn.SetDeadline(time.Time{})
	l.step.Store(int64(step))
	l.heard.Store(int64(time.Since(l.start)))
}

// lastHeard is when the last byte came.
func (l *line) lastHeard() time.Time { return l.start.Add(time.Duration(l.heard.Load())) }

func (l *line) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.heard.Store(int64(time.Since(l.start)))
		l.read.Add(int64(n))
	}
	return n, err
}

// Write fails only when no byte was taken for the time that adopt was given.
func (l *line) Write(p []byte) (int, error) {
	step := l.step.Load()
	if step == 0 {
		n, err := l.Conn.Write(p)
		l.wrote.Add(int64(n))
		return n, err
	}
	written := 0
	for {
		// A deadline is a timer: it is moved now and then, and not for each of many short writes.
		if now := int64(time.Since(l.start)); l.until.Load()-now < step-step/8 {
			l.until.Store(now + step)
			_ = l.Conn.SetWriteDeadline(l.start.Add(time.Duration(now + step)))
		}
		n, err := l.Conn.Write(p[written:])
		written += n
		l.wrote.Add(int64(n))
		if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
	}
}

// The deadlines of an adopted line are its own: TLS and WebSocket set some when they say goodbye,
// and whoever closes the connection bounds that by himself.

func (l *line) SetDeadline(t time.Time) error {
	if l.step.Load() != 0 {
		return nil
	}
	return l.Conn.SetDeadline(t)
}

func (l *line) SetReadDeadline(t time.Time) error {
	if l.step.Load() != 0 {
		return nil
	}
	return l.Conn.SetReadDeadline(t)
}

func (l *line) SetWriteDeadline(t time.Time) error {
	if l.step.Load() != 0 {
		return nil
	}
	return l.Conn.SetWriteDeadline(t)
}

// NetConn returns the connection below.
func (l *line) NetConn() net.Conn { return l.Conn }
