// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/rehome-iot/rehome/internal/https"
)

// httpsExchange speaks the service's HTTPS API over one connection, kept between requests and
// closed at the end.
//
// Azure REST API: Runtime Registration.
type httpsExchange struct {
	client     *Client
	conn       *https.Conn
	token      token
	body       []byte // of register
	apiVersion string
}

func (c *Client) openHTTPS(
	ctx context.Context, body []byte, apiVersion string,
) (*httpsExchange, error) {
	config, certificate, err := c.identity(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := https.Open(c.httpsOptions(config, certificate))
	if err != nil {
		return nil, err
	}
	return &httpsExchange{
		client: c, conn: conn, body: body, apiVersion: apiVersion, token: token{client: c},
	}, nil
}

// identity is the device's certificate, nil for none, and the TLS configuration for it. The service
// takes the client of a resumed session for the one that it was made with, and a device registers
// so rarely that this is worth no thought: with a certificate, none is resumed.
func (c *Client) identity(ctx context.Context) (*tls.Config, *tls.Certificate, error) {
	certificate, err := c.Attestation.Certificate(ctx)
	if err != nil || certificate == nil || c.TLSConfig == nil {
		return c.TLSConfig, certificate, err
	}
	config := c.TLSConfig.Clone()
	config.ClientSessionCache = nil
	return config, certificate, nil
}

// httpsOptions is how every HTTPS request of the client travels, with the device's certificate, if
// there is one.
func (c *Client) httpsOptions(config *tls.Config, certificate *tls.Certificate) https.Options {
	return https.Options{
		DialContext: c.DialContext,
		TLSConfig:   config,
		Certificate: certificate,
		Proxy:       c.Proxy,
		UserAgent:   c.userAgent(),
		DialTimeout: dialTimeout,
	}
}

func (x *httpsExchange) register(ctx context.Context) (response, *Error) {
	return x.attest(ctx, "register", http.MethodPut, "/register")
}

func (x *httpsExchange) poll(ctx context.Context, operationID string) (response, *Error) {
	return x.do(ctx, "poll", http.MethodGet, "/operations/"+escape(operationID), nil)
}

func (x *httpsExchange) lookup(ctx context.Context) (response, *Error) {
	return x.attest(ctx, "lookup", http.MethodPost, "")
}

// ended never happens: a connection lost between two requests is opened again.
func (x *httpsExchange) ended() context.Context { return context.Background() }

func (x *httpsExchange) close() { x.conn.Close() }

// do sends one request, with the credential, to the device's own path.
func (x *httpsExchange) do(
	ctx context.Context, op, method, path string, body []byte,
) (response, *Error) {
	sas, err := x.token.get(ctx)
	if err != nil {
		return response{}, &Error{Op: op, Err: err}
	}
	c := x.client
	header := http.Header{"Accept": {"application/json"}}
	if body != nil {
		header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if sas != "" {
		header.Set("Authorization", sas)
	}
	r, err := x.conn.Do(ctx, https.Request{
		Method: method,
		URL: c.httpsURL() + escape(c.IDScope) + "/registrations/" + escape(
			c.Attestation.RegistrationID(),
		) + path + "?api-version=" + url.QueryEscape(x.apiVersion),
		Header: header,
		Body:   body,
		Limit:  c.requestTimeout(httpsRequestTimeout),
	})
	a := responseOf(r)
	if err != nil {
		if cut, ok := errors.AsType[*https.BodyError](err); ok {
			err = unreadableBody(cut)
		}
		return response{}, a.fail(op, err)
	}
	return a, nil
}

// unreadableBody: a body that ends too early, or never, is not the service's. One that was lost on
// the way leaves its status to count.
func unreadableBody(cut *https.BodyError) error {
	if cut.Err != nil && !errors.Is(cut.Err, io.ErrUnexpectedEOF) {
		return cut.Err
	}
	return &responseError{problem: cut.Problem, cause: cut.Err}
}

// httpsURL is the root of the service over HTTPS.
func (c *Client) httpsURL() string {
	return "https://" + strings.TrimSuffix(c.address(false), ":443") + "/"
}
