// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// Dialer opens connections to servers. The zero value is ready; it is safe for concurrent use.
type Dialer struct {
	// DialContext opens the TCP connection, to the server or to the proxy. Default: net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// TLSConfig is the base of the TLS configuration: see Config. The server name is always that of
	// the target.
	TLSConfig *tls.Config
	// Certificate is the device's own, shown to every server that asks for one, and to no proxy.
	// nil: those of TLSConfig, if it has any.
	Certificate *tls.Certificate
	// Sessions are kept where TLSConfig has no cache for them. nil: none are.
	Sessions tls.ClientSessionCache
	// Proxy chooses the proxy for a target, by its scheme and host: http, https, socks5 or socks5h.
	// Default: http.ProxyFromEnvironment, which has none for the scheme mqtts.
	Proxy func(*http.Request) (*url.URL, error)
	// UserAgent is sent to a proxy with CONNECT.
	UserAgent string
	// Wrap is put around the connection to the server, below its TLS. nil: nothing is.
	Wrap func(net.Conn) net.Conn
	// Roots are trusted where TLSConfig names none. Default: Public.
	Roots *Roots
}

// ports are those of the schemes, of servers and of proxies.
var ports = map[string]string{
	"https": "443", "mqtts": "8883", "http": "80", "socks5": "1080", "socks5h": "1080",
}

// addressOf is host:port of a URL.
func addressOf(u *url.URL) string {
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), ports[u.Scheme]))
}

// TLS connects to a target, of which scheme, host and port count: "https" (port 443 unless it names
// another) or "mqtts" (8883). It goes through the proxy, if there is one, and returns when the TLS
// handshake is done. A proxy's refusal is a *RefusedError. An error because ctx ended is its cause.
func (d *Dialer) TLS(ctx context.Context, target *url.URL) (*tls.Conn, error) {
	config, err := Config(d.TLSConfig, d.Certificate, d.Sessions)
	if err != nil {
		return nil, err
	}
	proxy, err := d.proxyFor(ctx, target)
	if err != nil {
		return nil, err
	}
	nc, err := d.secure(ctx, target, config, func() (raw net.Conn, err error) {
		if proxy == nil {
			raw, err = d.TCP(ctx, addressOf(target))
		} else {
			raw, err = d.through(ctx, proxy, addressOf(target))
		}
		if err == nil && d.Wrap != nil {
			raw = d.Wrap(raw)
		}
		return raw, err
	})
	if err != nil {
		return nil, Cause(ctx, err)
	}
	return nc, nil
}

// TCP opens a connection to host:port, without TLS and past any proxy.
func (d *Dialer) TCP(ctx context.Context, address string) (net.Conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if d.DialContext != nil {
		return d.DialContext(ctx, "tcp", address)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

// secure makes a TLS connection to a target of what open opens.
func (d *Dialer) secure(
	ctx context.Context, target *url.URL, config *tls.Config, open func() (net.Conn, error),
) (*tls.Conn, error) {
	config.ServerName = target.Hostname()
	handshake := func(config *tls.Config) (*tls.Conn, error) {
		raw, err := open()
		if err != nil {
			return nil, err
		}
		nc := tls.Client(raw, config)
		if err := nc.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		return nc, nil
	}
	if config.RootCAs != nil {
		return handshake(config)
	}
	return cmp.Or(d.Roots, Public).verify(config, handshake)
}

// proxyFor is the proxy for a target, nil for none. It is asked with a request that shows scheme
// and host, and no more of what is about to be sent. Its errors do not quote the setting: it may
// hold a password.
func (d *Dialer) proxyFor(ctx context.Context, target *url.URL) (*url.URL, error) {
	choose := d.Proxy
	if choose == nil {
		choose = http.ProxyFromEnvironment
	}
	shown := (&http.Request{
		Method: http.MethodGet, Header: http.Header{}, Host: target.Host,
		URL: &url.URL{Scheme: target.Scheme, Host: target.Host, Path: "/"},
	}).WithContext(ctx)
	proxy, err := choose(shown)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s is not a valid url", proxySetting)
	case proxy == nil:
		return nil, nil
	case ports[proxy.Scheme] == "" || proxy.Scheme == "mqtts":
		return nil, fmt.Errorf("%s has a scheme other than http, https, socks5 and socks5h",
			proxySetting)
	case proxy.Hostname() == "":
		return nil, fmt.Errorf("%s names no host", proxySetting)
	}
	return proxy, nil
}

const proxySetting = "the proxy setting (HTTPS_PROXY, or the field Proxy)"
