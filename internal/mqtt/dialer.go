package mqtt

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/rehome-iot/rehome/internal/https"
)

// Dialer opens the network connections that MQTT runs over. The zero value is ready; it is safe for
// concurrent use. Of the environment it reads what [http.ProxyFromEnvironment] reads, for WebSocket
// only: the MQTT port is dialed directly.
type Dialer struct {
	// DialContext opens the TCP connection, to the server or to the proxy. Default: net.Dialer's.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLSConfig is the base of the TLS configuration, as https.TLSConfig takes it. The server name
	// is always that of the address.
	TLSConfig *tls.Config
	// Proxy chooses the proxy of a WebSocket connection. Default: http.ProxyFromEnvironment.
	Proxy func(*http.Request) (*url.URL, error)
	// Timeout bounds everything from the name look-up to the finished TLS handshake or upgrade.
	// Default: 30 s.
	Timeout time.Duration
}

// TLS connects to host:port, commonly port 8883. When ctx ends first the error is its cause.
func (d *Dialer) TLS(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config, err := d.config(host)
	if err != nil {
		return nil, err
	}
	raw, err := d.dial(ctx, address)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	nc, err := handshake(ctx, raw, config)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	return nc, nil
}

func (d *Dialer) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := cmp.Or(d.Timeout, 30*time.Second)
	return context.WithTimeoutCause(
		ctx, timeout, &TimeoutError{For: "network connection", After: timeout},
	)
}

// causeOf is the reason for err: the context's cause, when that has ended. A connection's deadline,
// taken from the context, may pass an instant before the context's own.
func causeOf(ctx context.Context, err error) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (d *Dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if d.DialContext != nil {
		return d.DialContext(ctx, "tcp", address)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

func (d *Dialer) config(serverName string) (*tls.Config, error) {
	config, err := https.TLSConfig(d.TLSConfig)
	if err != nil {
		return nil, fmt.Errorf("mqtt: %w", err)
	}
	config.ServerName = serverName
	if len(config.Certificates) > 0 || config.GetClientCertificate != nil {
		// A server may ask for the client certificate late, by TLS 1.2 renegotiation.
		config.Renegotiation = tls.RenegotiateOnceAsClient
	}
	return config, nil
}

// handshake owns raw.
func handshake(ctx context.Context, raw net.Conn, config *tls.Config) (*tls.Conn, error) {
	nc := tls.Client(newLine(raw), config)
	if err := nc.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return nc, nil
}
