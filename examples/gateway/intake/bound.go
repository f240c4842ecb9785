// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"net"
	"sync"
	"time"
)

// Bound returns a listener that accepts no more connections while most of them are open: who comes
// then waits in the system's queue. It is what golang.org/x/net/netutil has, and says so: full is
// called when somebody has to wait, once a minute at most.
func Bound(l net.Listener, most int, full func()) net.Listener {
	return &bounded{
		Listener: l, places: make(chan struct{}, most), full: full, closed: make(chan struct{}),
	}
}

type bounded struct {
	net.Listener
	places chan struct{} // has a value for each open connection
	full   func()
	told   time.Time // Accept alone has it
	closed chan struct{}
	once   sync.Once
}

// Accept waits for a connection, and for room for it. One goroutine may call it.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.places <- struct{}{}:
	default:
		if time.Since(b.told) > time.Minute {
			b.told = time.Now()
			b.full()
		}
		select {
		case b.places <- struct{}{}:
		case <-b.closed:
			return nil, net.ErrClosed
		}
	}
	nc, err := b.Listener.Accept()
	if err != nil {
		<-b.places
		return nil, err
	}
	return &boundedConn{Conn: nc, end: sync.OnceFunc(func() { <-b.places })}, nil
}

// Close ends an Accept that waits, too.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

type boundedConn struct {
	net.Conn
	end func()
}

// Close makes room for another connection.
func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.end()
	return err
}
