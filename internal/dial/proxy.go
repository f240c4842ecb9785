// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/rehome-iot/rehome/internal/oneline"
)

const (
	maxProxyHeader = 64 << 10 // of a proxy's response
	maxRefusal     = 1 << 10  // what is kept of its body
	maxQuoted      = 200      // characters of an error that quotes it
)

// through opens a connection to address through a proxy, which learns the name and looks it up.
func (d *Dialer) through(
	ctx context.Context, proxy *url.URL, address string,
) (nc net.Conn, err error) {
	if proxy.Scheme == "https" {
		nc, err = d.toProxy(ctx, proxy)
	} else {
		nc, err = d.TCP(ctx, addressOf(proxy))
	}
	if err != nil {
		return nil, err
	}
	request := d.requestTunnel
	if proxy.Scheme == "socks5" || proxy.Scheme == "socks5h" {
		request = requestSOCKS
	}
	// Reads and writes know deadlines only, so the connection is closed when the context ends.
	stop := context.AfterFunc(ctx, func() { Abort(nc) })
	err = request(nc, proxy, address)
	if !stop() || err != nil {
		Abort(nc)
		return nil, Cause(ctx, err)
	}
	return nc, nil
}

// toProxy connects to a proxy that is itself spoken to over TLS. It learns nothing that identifies
// the device: a certificate would, and so might a session.
func (d *Dialer) toProxy(ctx context.Context, proxy *url.URL) (net.Conn, error) {
	config, err := Config(d.TLSConfig, nil, nil)
	if err != nil {
		return nil, err
	}
	config.Certificates, config.GetClientCertificate = nil, nil
	config.ClientSessionCache = nil
	nc, err := d.secure(ctx, proxy, config, func() (net.Conn, error) {
		return d.TCP(ctx, addressOf(proxy))
	})
	if err != nil {
		return nil, err // and not a nil *tls.Conn in it
	}
	return nc, nil
}

// requestTunnel asks an HTTP proxy for a tunnel, by CONNECT (RFC 9110 §9.3.6).
func (d *Dialer) requestTunnel(nc net.Conn, proxy *url.URL, address string) error {
	header := make(http.Header)
	if d.UserAgent != "" {
		header.Set("User-Agent", d.UserAgent)
	}
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString(
			[]byte(user.Username()+":"+password),
		))
	}
	request := &http.Request{
		Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: header,
	}
	if err := request.Write(nc); err != nil {
		return fmt.Errorf("request to the proxy: %w", err)
	}
	// The reader must not consume bytes beyond the response's header; the server does not speak
	// first, so there are none.
	reader := bufio.NewReader(io.LimitReader(nc, maxProxyHeader))
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		return fmt.Errorf("response of the proxy: %w", oneline.Cut(err, maxQuoted))
	}
	if response.StatusCode/100 != 2 {
		body, _ := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
		return &RefusedError{Status: response.StatusCode, Header: response.Header, Body: body}
	}
	return nil
}

// Abort closes a network connection from below first: a TLS close writes a last message, which a
// stalled peer would block.
func Abort(nc net.Conn) {
	under := nc
	for {
		u, ok := under.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		under = u.NetConn()
	}
	_ = under.Close()
	_ = nc.Close()
}
