// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Site is one host of a Network: what answers behind its name.
type Site interface {
	// ServeHTTP answers HTTPS requests, WebSocket upgrades among them. The response's Date is set
	// to the network's clock before it is called.
	http.Handler
	// ServeMQTT serves one connection to port 8883 until its end, and closes it. The connection is
	// a *tls.Conn whose handshake is complete, so the site knows the client's certificate. When the
	// network closes, so do its connections: ServeMQTT must then return.
	ServeMQTT(nc net.Conn)
}

// AMQPSite is a Site that answers at the port of AMQP. Without it the network closes what connects
// there.
type AMQPSite interface {
	// ServeAMQP serves one connection to port 5671, as ServeMQTT does to port 8883.
	ServeAMQP(nc net.Conn)
}

// Network is a small internet with names, TLS and a clock, on which simulated services live: hubs
// of this package, and the provisioning service of package dpstest. It is in memory (New), for
// tests in one process and testing/synctest bubbles, or on loopback sockets (Listen), for any
// program in any language.
//
// Every host shares the ports of HTTPS (443), MQTT (8883) and AMQP (5671), and is told apart by
// the TLS server name. A TLS session is resumed with the client certificate that it began with, as
// long as the host shows the same certificate of its own.
//
// All methods are safe for concurrent use. A Network must be closed.
type Network struct {
	ca     *CA
	done   chan struct{} // closed by Close
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	https  *queue // connections whose handshake is done, for web
	web    *http.Server
	real   *sockets // nil in memory

	ticketSecret [32]byte

	events atomic.Pointer[EventLog] // nil: nothing is recorded

	mu           sync.Mutex
	closed       bool
	hosts        map[string]*host
	fallback     string // the default site's name
	conns        map[*conn]struct{}
	marked       map[string]bool // client addresses whose dial has been counted
	certs        map[certKey]*tls.Certificate
	unknownCA    *CA // signs certificates of kind UnknownCA
	offset       time.Duration
	changed      chan struct{} // closed and replaced when a fault or the clock changes
	maxTLS       uint16
	lastClient   int
	unknownNames int
}

// host is what the network knows about a name; a name may have faults before, and after, it has a
// site.
type host struct {
	site     Site
	removed  bool // had a site once
	fault    Fault
	down     time.Time // refuses connections until then
	kind     CertificateKind
	ports    [protocols]portState
	stalled  bool
	cutAfter int // bytes, -1: none
	dials    int
}

// New returns an empty network in memory, with a CA of its own. Made inside a synctest bubble, it
// belongs to it.
func New() *Network {
	return start(NewCA("Simulated Root", time.Now()), nil)
}

// ForTest is New for a test: the network is closed when the test, or its bubble, ends. A server
// that does not end then keeps the test from ending.
func ForTest(t interface{ Cleanup(func()) }) *Network {
	n := New()
	t.Cleanup(func() { _ = n.Close() }) // the Close of a network in memory cannot fail
	return n
}

func start(ca *CA, real *sockets) *Network {
	n := &Network{
		ca: ca, real: real, done: make(chan struct{}), https: newQueue(),
		changed: make(chan struct{}), maxTLS: tls.VersionTLS12,
		hosts: make(map[string]*host), conns: make(map[*conn]struct{}),
		marked: make(map[string]bool), certs: make(map[certKey]*tls.Certificate),
	}
	_, _ = rand.Read(n.ticketSecret[:]) // it does not fail
	n.ctx, n.cancel = context.WithCancel(context.Background())
	http1 := new(http.Protocols)
	http1.SetHTTP1(true) // WebSocket upgrades need it
	n.web = &http.Server{
		Handler: http.HandlerFunc(n.serveHTTP), Protocols: http1, ConnState: n.webState,
		ReadHeaderTimeout: handshakeTimeout, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		// clients that misbehave are the point of a simulator
		ErrorLog:    log.New(io.Discard, "", 0),
		BaseContext: func(net.Listener) context.Context { return n.ctx }, ConnContext: withConn,
	}
	n.tasks.Go(func() { _ = n.web.Serve(n.https) }) // ends when the queue is closed
	return n
}

// Close ends the network: listeners and connections close, and every goroutine it started has ended
// when it returns, handlers of sites included. A second Close does nothing.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		n.tasks.Wait()
		return nil
	}
	n.closed = true
	conns := make([]*conn, 0, len(n.conns))
	for c := range n.conns {
		conns = append(conns, c)
	}
	close(n.done)
	n.mu.Unlock()

	var err error
	if n.real != nil {
		err = n.real.close()
	}
	for _, c := range conns {
		c.abandon()
	}
	n.cancel() // after the connections, so that no handler answers because of it
	_ = n.https.Close()
	_ = n.web.Close()
	n.tasks.Wait()
	return err
}

// CA returns the authority that signs the certificates of the network's hosts.
func (n *Network) CA() *CA { return n.ca }

// TLSConfig returns a new client configuration that trusts the network's CA, and nothing else.
func (n *Network) TLSConfig() *tls.Config {
	return &tls.Config{RootCAs: n.ca.Pool(), MinVersion: tls.VersionTLS12}
}

// HTTPSAddr returns the address of the HTTPS front protocol, "127.0.0.1:443" for a network in
// memory.
func (n *Network) HTTPSAddr() string {
	if n.real != nil {
		return n.real.https.Addr().String()
	}
	return "127.0.0.1:443"
}

// MQTTAddr returns the address of the MQTT front protocol, "127.0.0.1:8883" for a network in
// memory.
func (n *Network) MQTTAddr() string {
	if n.real != nil {
		return n.real.mqtt.Addr().String()
	}
	return "127.0.0.1:8883"
}

// AMQPAddr returns the address where clients of AMQP learn that nobody speaks it, "127.0.0.1:5671"
// for a network in memory, and "" for one on sockets without an AMQPPort.
func (n *Network) AMQPAddr() string {
	switch {
	case n.real == nil:
		return "127.0.0.1:5671"
	case n.real.amqp == nil:
		return ""
	}
	return n.real.amqp.Addr().String()
}

// Handle gives a name a site, or another site. Names are compared without case.
func (n *Network) Handle(name string, site Site) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.host(name)
	h.site, h.removed = site, false
}

// Remove takes a name off the network: it does not resolve any more, and its live connections are
// reset. Its faults stay.
func (n *Network) Remove(name string) {
	n.mu.Lock()
	h := n.host(name)
	h.site, h.removed = nil, true
	n.mu.Unlock()
	n.Cut(name)
}

// SetDefault names the host that gets the connections without a known TLS server name: localhost,
// IP addresses and unknown names. Without a default their handshakes fail, and in DialContext they
// do not resolve.
func (n *Network) SetDefault(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fallback = canonical(name)
}

// Now returns the time of the services' clock: time.Now and the offset set by SetClockOffset.
func (n *Network) Now() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Now().Add(n.offset)
}

// SetClockOffset sets the services' clock against the clients': their Date headers, the expiry of
// tokens and the validity of their certificates follow it. Certificates are made anew; live
// connections keep theirs.
func (n *Network) SetClockOffset(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.offset = d
	clear(n.certs)
	n.unknownNames = 0
	n.announce()
}

// SetMaxTLSVersion sets the highest TLS version the hosts speak. The default is tls.VersionTLS12,
// as the service's.
func (n *Network) SetMaxTLSVersion(v uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.maxTLS = v
}

// spawn runs f in a goroutine that Close waits for. After Close it does nothing.
func (n *Network) spawn(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.tasks.Go(f)
	}
}

// announce wakes whoever waits for a fault or the clock to change; n.mu is held.
func (n *Network) announce() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change of a fault or the clock. Take it
// before looking at what may change.
func (n *Network) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

// host returns what is known of a name, making it if need be; n.mu is held.
func (n *Network) host(name string) *host {
	name = canonical(name)
	h := n.hosts[name]
	if h == nil {
		h = &host{cutAfter: -1}
		n.hosts[name] = h
	}
	return h
}

// route returns the name that answers for a server name: itself, if it is one of the network's, or
// was one, or the default ("" if there is none); n.mu is held.
func (n *Network) route(serverName string) string {
	name := canonical(serverName)
	if h := n.hosts[name]; h != nil && (h.site != nil || h.removed || h.fault != None) {
		return name
	}
	return n.fallback
}

// Done returns a channel that is closed when the network is.
func (n *Network) Done() <-chan struct{} { return n.done }

// canonical is a name as the maps are keyed by it.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Serves reports whether a name has a site on the network.
func (n *Network) Serves(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[canonical(name)]
	return h != nil && h.site != nil
}

// Go runs f in a goroutine that belongs to the network, as a site's work that outlives the request
// that asked for it does: the context ends when the network is closed, and Close waits until f has
// returned. It reports false, and does not run f, on a closed network.
func (n *Network) Go(f func(context.Context)) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.tasks.Go(func() { f(n.ctx) }) // under the lock, so that Close waits for it
	return true
}
