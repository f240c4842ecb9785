// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/rehome-iot/rehome/internal/dial"
)

// Dialer opens the network connections that MQTT runs over. The zero value is ready; it is safe for
// concurrent use.
type Dialer struct {
	// DialContext opens the TCP connection, to the server or to the proxy. Default: net.Dialer's.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLSConfig is the base of the TLS configuration, as dial.Config takes it. The server name is
	// always that of the address.
	TLSConfig *tls.Config
	// Certificate is the device's own, nil for none.
	Certificate *tls.Certificate
	// Sessions are TLS sessions to be resumed, where TLSConfig has no cache for them. nil: none.
	Sessions tls.ClientSessionCache
	// Proxy chooses the proxy. It is asked with the scheme mqtts for the MQTT port, and with https
	// for WebSocket. Default: http.ProxyFromEnvironment, which has none for mqtts.
	Proxy func(*http.Request) (*url.URL, error)
	// Timeout bounds everything from the name look-up to the finished TLS handshake or upgrade.
	// Default: 30 s.
	Timeout time.Duration
}

// TLS connects to host:port, commonly port 8883. When ctx ends first the error is its cause; a
// proxy's refusal is an *UpgradeError.
func (d *Dialer) TLS(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	return d.open(ctx, d.TLSConfig, &url.URL{Scheme: "mqtts", Host: address})
}

func (d *Dialer) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := cmp.Or(d.Timeout, 30*time.Second)
	return context.WithTimeoutCause(
		ctx, timeout, &TimeoutError{For: "network connection", After: timeout},
	)
}

// open makes the TLS connection to a target.
func (d *Dialer) open(
	ctx context.Context, config *tls.Config, target *url.URL,
) (net.Conn, error) {
	nc, err := (&dial.Dialer{
		DialContext: d.DialContext, TLSConfig: config, Certificate: d.Certificate, Proxy: d.Proxy,
		Sessions: d.Sessions,
		Wrap:     func(nc net.Conn) net.Conn { return newLine(nc) },
	}).TLS(ctx, target)
	if refused, ok := errors.AsType[*dial.RefusedError](err); ok {
		return nil, &UpgradeError{
			Status: refused.Status, Header: refused.Header, Body: refused.Body, Proxy: true,
		}
	}
	if err != nil {
		return nil, err
	}
	return nc, nil
}
