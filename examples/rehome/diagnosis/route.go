// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// route is what one connection met on its way, as far as it came. The library opens it by the same
// code as a device's, and lets itself be watched: by the function that dials, the one that chooses
// the proxy, and the check of the connection's certificates.
type route struct {
	mu sync.Mutex

	proxy   *url.URL
	address string // what the library dialed: the host's, or the proxy's
	to      string // where that leads
	by      string // the setting that leads there

	addresses []string // none if it was an address already
	nameErr   error
	nameTook  time.Duration

	dialed  bool
	tcpErr  error
	tcpTook time.Duration
	open    time.Time // when TCP was

	tls     *tls.ConnectionState // nil: the handshake did not come to its end
	tlsTook time.Duration
}

// watch makes a route, and what watches it for the library.
func (d *doctor) watch(host string) (*route, watched) {
	r := &route{by: d.RedirectedBy}
	config := &tls.Config{}
	if d.Device.TLSConfig != nil {
		config = d.Device.TLSConfig.Clone()
	}
	config.Time = d.clock.now
	config.ClientSessionCache = nil // a resumed session would not show the chain
	own := config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		// Not an https proxy's. TLS names no addresses.
		if strings.EqualFold(state.ServerName, host) ||
			state.ServerName == "" && net.ParseIP(host) != nil {
			r.verified(state)
		}
		if own != nil {
			return own(state)
		}
		return nil
	}
	choose := d.Device.Proxy
	if choose == nil {
		choose = http.ProxyFromEnvironment
	}
	return r, watched{
		tls: config,
		proxy: func(q *http.Request) (*url.URL, error) {
			u, err := choose(q)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.proxy = u
			return u, err
		},
		dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return d.dial(ctx, r, network, address)
		},
	}
}

// watched is what the library is given.
type watched struct {
	tls   *tls.Config
	proxy func(*http.Request) (*url.URL, error)
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
}

func (d *doctor) dial(
	ctx context.Context, r *route, network, address string,
) (net.Conn, error) {
	to := d.Redirect(address)
	host, _, err := net.SplitHostPort(to)
	if err != nil {
		return nil, err
	}
	var addresses []string
	began := time.Now()
	if bare, _, _ := strings.Cut(host, "%"); net.ParseIP(bare) == nil {
		addresses, err = d.Resolve(ctx, host)
	}
	resolved := time.Now()
	r.mu.Lock()
	r.address, r.to = address, to
	r.addresses, r.nameErr, r.nameTook = addresses, err, resolved.Sub(began)
	r.mu.Unlock()
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	nc, err := d.Dial(ctx, network, to)
	r.mu.Lock()
	defer r.mu.Unlock()
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		r.nameErr = name // it was the dialer that resolved it
		return nc, err
	}
	r.dialed, r.tcpErr, r.open = true, err, time.Now()
	r.tcpTook = r.open.Sub(resolved)
	return nc, err
}

func (r *route) verified(state tls.ConnectionState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tls, r.tlsTook = &state, time.Since(r.open)
}

// probe opens a TCP connection and closes it, past any proxy.
func (d *doctor) probe(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	nc, err := d.Dial(ctx, "tcp", d.Redirect(address))
	if err == nil {
		_ = nc.Close()
	}
	return err
}

const probeTimeout = 10 * time.Second
