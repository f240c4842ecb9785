// SPDX-License-Identifier: Apache-2.0

package natstest

import (
	"errors"
	"net"
	"sync"
)

// A Link is a way to NATS that can be cut: use it with nats.SetCustomDialer. Its zero value is
// whole.
type Link struct {
	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

var errCut = errors.New("the link is cut")

// Dial connects if the link is whole.
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
	if l.conns == nil {
		l.conns = map[net.Conn]bool{}
	}
	l.conns[conn] = true
	return conn, nil
}

// Cut ends all connections and refuses others, until it is told to be whole.
func (l *Link) Cut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for conn := range l.conns {
		if cut {
			_ = conn.Close()
			delete(l.conns, conn)
		}
	}
}
