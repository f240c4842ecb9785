// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/memnet"
)

// way is how a client gets to the simulated services: straight, but for one host, to which somebody
// stands in the middle who can make the fault at its place.
type way struct {
	network     *simnet.Network
	host        string
	at          place
	certificate tls.Certificate // of the host, by the network's authority
	strange     tls.Certificate // by one that nobody trusts
	sessions    tls.ClientSessionCache
	tasks       sync.WaitGroup

	mu     sync.Mutex
	fault  fault // none: the way is good
	met    time.Time
	onMet  func()
	lines  []*line
	opened []*memnet.Conn
	lifted chan struct{} // closed when the fault is
	closed bool
}

func newWay(network *simnet.Network, host string, at place) *way {
	return &way{
		network: network, host: host, at: at, sessions: tls.NewLRUClientSessionCache(8),
		certificate: network.CA().Server(host), lifted: make(chan struct{}),
		strange: simnet.NewCA("Portal", time.Now()).Server(host, "portal.example"),
	}
}

// spoil begins a fault. met is called when a client first meets it.
func (w *way) spoil(f fault, met func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault, w.onMet, w.met = f, met, time.Time{}
}

// lift ends the fault, and what is left of it on connections that are open.
func (w *way) lift() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = none
	for _, l := range w.lines {
		l.out.slow.Store(false)
		l.raw.Stall(false)
	}
	close(w.lifted)
	w.lifted = make(chan struct{})
}

// metAt is when a client met the fault, the zero time if none has.
func (w *way) metAt() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.met
}

// strike is the fault that is met at a place by what the client has sent there.
func (w *way) strike(at layer, sent unit) fault {
	w.mu.Lock()
	if w.fault == none || w.at.layer != at || at == atRequest && !sent.is(w.at.wanted) {
		w.mu.Unlock()
		return none
	}
	return w.meet()
}

// meet notes that the fault is met; w.mu is held, and given back.
func (w *way) meet() fault {
	f, tell := w.fault, w.onMet
	w.onMet = nil
	if w.met.IsZero() {
		w.met = time.Now()
	}
	w.mu.Unlock()
	if tell != nil {
		tell()
	}
	return f
}

// strikeAll makes a fault at rest on every connection that is open.
func (w *way) strikeAll() {
	w.mu.Lock()
	lines := w.lines
	if w.fault == none || w.at.layer != atRest {
		w.mu.Unlock()
		return
	}
	f := w.meet()
	for _, l := range lines {
		if f == early {
			_, _ = l.down.Write([]byte{0x30}) // the beginning of a message
			_ = l.raw.Close()
			continue
		}
		l.spoil(f)
	}
}

// DialContext is what the clients dial by.
func (w *way) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host != w.host {
		return w.network.DialContext(ctx, network, address)
	}
	serve := func(raw *memnet.Conn) { w.serve(address, port == "8883", raw) }
	if w.at.layer == atNames {
		found, err := w.resolve(ctx, host)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Err: err}
		}
		if found == portalAddress {
			serve = w.servePortal
		}
	}
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: memnet.Addr(address), Err: err}
	}
	switch w.strike(atDial, unit{}) {
	case refused:
		return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	case reset:
		return fail(os.NewSyscallError("connect", syscall.ECONNRESET))
	case stalled: // SYN is sent again and again
		w.mu.Lock()
		lifted := w.lifted
		w.mu.Unlock()
		select {
		case <-lifted:
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
	return w.open(address, serve)
}

// open makes a connection that is served until close at the latest.
func (w *way) open(address string, serve func(*memnet.Conn)) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, net.ErrClosed
	}
	client, server := memnet.Pipe("device:50000", address)
	w.opened = append(w.opened, server)
	w.tasks.Go(func() { serve(server) })
	return client, nil
}

// close ends what is left of the connections.
func (w *way) close() {
	w.mu.Lock()
	w.closed = true
	for _, raw := range w.opened {
		raw.Reset()
	}
	w.mu.Unlock()
	w.tasks.Wait()
}
