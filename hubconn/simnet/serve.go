// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// protocol tells the ports apart that every host shares.
type protocol int

const (
	protocolHTTPS protocol = iota
	protocolMQTT
	protocolAMQP
	protocols = iota // how many there are
)

// handshakeTimeout is how long a client may take for its TLS handshake, and for the header of a
// request.
const handshakeTimeout = 30 * time.Second

var errFault = errors.New("turned away by a fault")

// accept starts to serve a connection. It reports false, and closes the connection, when the
// network is closed.
func (n *Network) accept(raw net.Conn, p protocol, target string, counted func() bool) bool {
	c := newConn(n, raw)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = raw.Close()
		return false
	}
	c.counted = counted
	n.conns[c] = struct{}{}
	n.tasks.Add(1) // under the lock, so that Close waits for it
	if target != "" {
		n.bind(c, target)
	}
	go n.serve(c, p)
	return true
}

// bind makes a connection one to a host, with the host's faults; n.mu is held.
func (n *Network) bind(c *conn, target string) {
	if c.host == target {
		return
	}
	c.host = target
	h := n.host(target)
	c.limit(h.cutAfter)
	h.cutAfter = -1
	c.stall(h.stalled)
}

// serve takes a connection through its handshake and to the site it asks for.
func (n *Network) serve(c *conn, p protocol) {
	defer n.tasks.Done()
	tc := tls.Server(c, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return n.configFor(c, p, hello.ServerName)
		},
	})
	_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := tc.Handshake(); err != nil {
		_ = c.Close()
		return
	}
	_ = c.SetDeadline(time.Time{})
	if p == protocolHTTPS {
		n.https.put(&webConn{Conn: tc})
		return
	}
	site := n.site(tc.ConnectionState().ServerName)
	if site == nil {
		c.Reset() // removed after the client's part of the handshake: Cut may have come first
		return
	}
	defer tc.Close()
	if p == protocolMQTT {
		site.ServeMQTT(tc)
	} else if site, ok := site.(AMQPSite); ok {
		site.ServeAMQP(tc)
	}
}

// configFor is called with the server name of a ClientHello: the first moment at which a connection
// from outside shows its host.
func (n *Network) configFor(c *conn, p protocol, serverName string) (*tls.Config, error) {
	counted := c.counted()
	n.mu.Lock()
	target := n.route(serverName)
	if target == "" {
		n.mu.Unlock()
		return nil, errors.New("no such host")
	}
	if !counted {
		n.host(target).countDial(p, true)
	}
	n.bind(c, target)
	n.mu.Unlock()
	if err := n.applyFault(c, p, target); err != nil {
		return nil, err
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	certificate := n.certificate(target, canonical(serverName), p)
	cfg := &tls.Config{
		Certificates: []tls.Certificate{*certificate},
		// who may come in is the site's to say, after the handshake
		ClientAuth: tls.RequestClientCert,
		MinVersion: tls.VersionTLS12, MaxVersion: n.maxTLS,
	}
	cfg.SetSessionTicketKeys([][32]byte{n.ticketKey(certificate)})
	if p == protocolHTTPS {
		cfg.NextProtos = []string{"http/1.1"}
	}
	return cfg, nil
}

// ticketKey encrypts the session tickets of connections that were shown a certificate. With another
// certificate, such as one that a test wants to be refused, no session is resumed.
func (n *Network) ticketKey(certificate *tls.Certificate) [32]byte {
	return sha256.Sum256(append(n.ticketSecret[:], certificate.Certificate[0]...))
}

// applyFault applies the faults that a dial in this process meets earlier, to those who arrive by a
// socket.
func (n *Network) applyFault(c *conn, p protocol, target string) error {
	for {
		n.mu.Lock()
		h, changed := n.host(target), n.changed
		fault, gone := h.currentFault(p), h.site == nil
		n.mu.Unlock()
		switch {
		case fault == None && !gone:
			return nil
		case fault == Blackhole:
			_ = c.SetDeadline(time.Time{})
			select {
			case <-changed:
				_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
			case <-c.ended:
				return net.ErrClosed
			}
		default:
			c.Reset()
			return errFault
		}
	}
}

// site returns the site that answers for a server name, nil if there is none.
func (n *Network) site(serverName string) Site {
	n.mu.Lock()
	defer n.mu.Unlock()
	if target := n.route(serverName); target != "" {
		return n.host(target).site
	}
	return nil
}

// serveHTTP is the HTTPS port: the TLS server name, not the Host header, chooses the site.
func (n *Network) serveHTTP(w http.ResponseWriter, r *http.Request) {
	n.tasks.Add(1) // the connection's own count is given back when it is hijacked
	defer n.tasks.Done()
	w.Header().Set("Date", n.Now().UTC().Format(http.TimeFormat))
	site := n.site(r.TLS.ServerName)
	if site == nil {
		http.NotFound(w, r)
		return
	}
	site.ServeHTTP(w, r)
}

// webState counts the HTTP server's connections, so that Close can wait for them.
func (n *Network) webState(nc net.Conn, state http.ConnState) {
	switch state {
	case http.StateIdle:
		nc.(*webConn).next()
	case http.StateNew:
		n.tasks.Add(1)
	case http.StateClosed, http.StateHijacked:
		n.tasks.Done()
	}
}

// queue is the listener of the HTTP server: it accepts connections whose handshake is done.
type queue struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newQueue() *queue { return &queue{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (q *queue) put(nc net.Conn) {
	select {
	case q.conns <- nc:
	case <-q.closed:
		_ = nc.Close()
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case nc := <-q.conns:
		return nc, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

func (q *queue) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }
