// SPDX-License-Identifier: Apache-2.0

package natstest

import (
	"errors"
	"net"
	"sync"
)

// A Link is a way to NATS that can be cut, or fall silent: use it with nats.SetCustomDialer. Its
// zero value is whole.
type Link struct {
	mu     sync.Mutex
	cut    bool
	silent bool
	conns  map[*linked]bool
}

var errCut = errors.New("the link is cut")

// Dial connects if the link is whole. If it is silent, what it connects to never answers.
func (l *Link) Dial(network, address string) (net.Conn, error) {
	l.mu.Lock()
	cut := l.cut
	l.mu.Unlock()
	if cut {
		return nil, errCut
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut { // meanwhile
		_ = conn.Close()
		return nil, errCut
	}
	if l.conns == nil {
		l.conns = map[*linked]bool{}
	}
	c := &linked{Conn: conn, lost: make(chan struct{}), closed: make(chan struct{})}
	if l.silent {
		close(c.lost)
	} else {
		l.conns[c] = true
	}
	return c, nil
}

// Cut ends all connections and refuses others, until it is told to be whole.
func (l *Link) Cut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for c := range l.conns {
		if cut {
			_ = c.Close()
			delete(l.conns, c)
		}
	}
}

// Silence has all connections, and others that are made, neither deliver anything nor end, as where
// a computer or a firewall between has lost its memory. Those stay so for good, when the link is
// told to speak again.
func (l *Link) Silence(silent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = silent
	for c := range l.conns {
		if silent {
			close(c.lost)
			delete(l.conns, c)
		}
	}
}

// linked is a connection over a Link.
type linked struct {
	net.Conn
	lost    chan struct{} // closed: nothing comes through any more
	closing sync.Once
	closed  chan struct{}
}

func (c *linked) isLost() bool {
	select {
	case <-c.lost:
		return true
	default:
		return false
	}
}

// Read drops what comes once the connection is lost.
func (c *linked) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if !c.isLost() {
			return n, err
		}
		if err != nil {
			// The end would have come over the connection as well: only its own side ends it.
			if late, ok := errors.AsType[net.Error](err); !ok || !late.Timeout() {
				<-c.closed
			}
			return 0, err
		}
	}
}

// Write takes everything.
func (c *linked) Write(p []byte) (int, error) {
	if c.isLost() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// Close closes it on both sides.
func (c *linked) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
