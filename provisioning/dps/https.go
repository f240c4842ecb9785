package dps

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/mqtt"
)

// httpsExchange speaks the service's HTTPS API over one connection, kept between requests and closed at the end.
//
// Azure REST API: Runtime Registration.
type httpsExchange struct {
	client    *Client
	transport *http.Transport
	token     token
	body      []byte // of register
}

func (c *Client) openHTTPS(ctx context.Context, body []byte) (*httpsExchange, error) {
	config, err := c.tlsConfig(ctx)
	if err != nil {
		return nil, err
	}
	return &httpsExchange{
		client:    c,
		body:      body,
		token:     token{client: c},
		transport: c.httpTransport(config),
	}, nil
}

// httpTransport is how every HTTPS request of the client travels. The caller closes its idle connection.
func (c *Client) httpTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		DialContext:            c.dialContext(),
		TLSClientConfig:        config,
		Proxy:                  mqtt.Proxy(c.Proxy),
		ProxyConnectHeader:     http.Header{"User-Agent": {c.userAgent()}},
		MaxIdleConns:           1,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
}

func (x *httpsExchange) register(ctx context.Context) (response, *Error) {
	return x.do(ctx, "register", http.MethodPut, "/register", x.body)
}

func (x *httpsExchange) poll(ctx context.Context, operationID string) (response, *Error) {
	return x.do(ctx, "poll", http.MethodGet, "/operations/"+escape(operationID), nil)
}

func (x *httpsExchange) lookup(ctx context.Context) (response, *Error) {
	return x.do(ctx, "lookup", http.MethodPost, "", x.body)
}

// ended never happens: a connection lost between two requests is opened again.
func (x *httpsExchange) ended() context.Context { return context.Background() }

func (x *httpsExchange) close() { x.transport.CloseIdleConnections() }

// do sends one request, with the credential, to the device's own path.
func (x *httpsExchange) do(ctx context.Context, op, method, path string, body []byte) (response, *Error) {
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
	target := "https://" + strings.TrimSuffix(c.address(false), ":443") + "/" + escape(c.IDScope) + "/registrations/" +
		escape(c.Attestation.RegistrationID()) + path + "?api-version=" + url.QueryEscape(c.apiVersion())
	a, _, err := c.roundTrip(ctx, x.transport, method, target, header, body)
	if err != nil {
		a.body = nil
		return response{}, a.fail(op, err)
	}
	return a, nil
}

// roundTrip uses the transport itself rather than an http.Client: no redirect is followed (it would carry the token to
// wherever an answer points) and no cookie kept.
func (c *Client) roundTrip(ctx context.Context, transport *http.Transport, method, target string, header http.Header, body []byte) (response, *http.Response, error) {
	caller := ctx
	limit := c.requestTimeout(httpsRequestTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, timeoutError(limit))
	defer cancel()

	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return response{}, nil, err
	}
	request.Header = header
	request.Header.Set("User-Agent", c.userAgent())
	reply, err := transport.RoundTrip(request)
	if err != nil {
		return response{}, nil, endOf(caller, ctx, err)
	}
	defer func() { _ = reply.Body.Close() }()
	a := response{
		status:     reply.StatusCode,
		retryAfter: reply.Header.Get("Retry-After"),
		requestID:  reply.Header.Get("X-Ms-Request-Id"),
	}
	if date, err := http.ParseTime(reply.Header.Get("Date")); err == nil {
		a.date = date
	}
	a.body, err = io.ReadAll(io.LimitReader(reply.Body, maxBody+1))
	if errors.Is(err, io.ErrUnexpectedEOF) && ctx.Err() == nil {
		return a, reply, &answerError{problem: "the answer is cut short", cause: err}
	}
	if err != nil {
		return a, reply, endOf(caller, ctx, err)
	}
	return a, reply, nil
}

// endOf says why an operation ended: because the caller's ctx did, because of our own time limit, or because of err.
func endOf(caller, limited context.Context, err error) error {
	if caller.Err() != nil {
		return context.Cause(caller)
	}
	if limited.Err() != nil {
		return context.Cause(limited)
	}
	return err
}

// timeoutError is the cause when a request is given up.
type timeoutError time.Duration

func (e timeoutError) Error() string { return fmt.Sprintf("no answer within %v", time.Duration(e)) }
func (e timeoutError) Timeout() bool { return true }

// escape makes one path segment or query value of s. It escapes more than a path needs (':' above all, which
// registration IDs may hold), so that the same text fits everywhere.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
