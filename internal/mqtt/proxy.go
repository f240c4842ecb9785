package mqtt

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// tunnel opens a connection to address through an HTTP proxy, by CONNECT (RFC 9110 §9.3.6). A
// proxy's refusal is an *UpgradeError.
func (d *Dialer) tunnel(ctx context.Context, proxy *url.URL, address string) (net.Conn, error) {
	port := "80"
	if proxy.Scheme == "https" {
		port = "443"
	}
	nc, err := d.dial(ctx, net.JoinHostPort(proxy.Hostname(), cmp.Or(proxy.Port(), port)))
	if err != nil {
		return nil, err
	}
	if proxy.Scheme == "https" {
		config, err := d.config(proxy.Hostname())
		if err != nil {
			_ = nc.Close()
			return nil, err
		}
		config.Certificates, config.GetClientCertificate = nil, nil // the certificate would identify the device to the proxy
		secured, err := handshake(ctx, nc, config)
		if err != nil {
			return nil, err
		}
		nc = secured
	}
	stop := context.AfterFunc(ctx, func() { abort(nc) })
	err = requestTunnel(nc, proxy, address)
	if !stop() || err != nil {
		abort(nc)
		return nil, causeOf(ctx, err)
	}
	return nc, nil
}

func requestTunnel(nc net.Conn, proxy *url.URL, address string) error {
	header := make(http.Header)
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: header}
	if err := request.Write(nc); err != nil {
		return fmt.Errorf("mqtt: request to the proxy: %w", err)
	}
	// The reader must not consume bytes beyond the response's header; the server does not speak
	// first, so there are none.
	reader := bufio.NewReader(io.LimitReader(nc, 64<<10))
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		return fmt.Errorf("mqtt: response of the proxy: %w", err)
	}
	if response.StatusCode/100 != 2 {
		body, _ := io.ReadAll(io.LimitReader(response.Body, maxBody))
		return &UpgradeError{Status: response.StatusCode, Header: response.Header, Body: body, Proxy: true}
	}
	return nil
}
