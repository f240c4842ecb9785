package https

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// MaxBody is the longest body of a response that is accepted, in bytes. The largest that a
	// service sends has 96 KB.
	MaxBody = 128 << 10

	// maxHeader is the longest header of a response. The services' own have a few hundred bytes.
	maxHeader = 64 << 10
)

// Options says how requests to one server travel. The zero value is ready.
type Options struct {
	// DialContext opens the TCP connection, to the server or to the proxy. Default: net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// TLSConfig is the base of the TLS configuration: see the function TLSConfig. The server name
	// is always that of the URL.
	TLSConfig *tls.Config
	// Proxy chooses the proxy. Default: http.ProxyFromEnvironment.
	Proxy func(*http.Request) (*url.URL, error)
	// UserAgent is sent to the server, and to a proxy with CONNECT.
	UserAgent string
	// HandshakeTimeout bounds the TLS handshake. Default: nothing but the request's own limit does.
	HandshakeTimeout time.Duration
	// Single closes the connection after each request. Default: it is kept for the next one.
	Single bool
}

// Conn sends requests to one server. It holds at most one idle network connection, and opens
// another when that was lost. It is safe for concurrent use.
type Conn struct {
	transport *http.Transport
	userAgent string
}

// Open prepares a Conn; it does not use the network. The caller closes it.
func Open(o Options) (*Conn, error) {
	config, err := TLSConfig(o.TLSConfig)
	if err != nil {
		return nil, err
	}
	config.ServerName = "" // that of the URL
	// A front end may ask for the client certificate only once it has seen the path, by TLS 1.2
	// renegotiation, which HTTP/2 forbids.
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	dial := o.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &Conn{userAgent: o.UserAgent, transport: &http.Transport{
		DialContext: dial, TLSClientConfig: config, Proxy: Proxy(o.Proxy), Protocols: http1,
		TLSHandshakeTimeout:    o.HandshakeTimeout,
		ProxyConnectHeader:     http.Header{"User-Agent": {o.UserAgent}},
		DisableKeepAlives:      o.Single,
		MaxIdleConns:           1,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // or a small response could unpack to any size
	}}, nil
}

// Close closes the idle connection. A request under way goes on, and its connection is closed by
// its end.
func (c *Conn) Close() { c.transport.CloseIdleConnections() }

// Request is one request.
type Request struct {
	// Method is the HTTP method.
	Method string
	// URL is the whole URL, with the scheme https.
	URL string
	// Header is sent as it is, with the User-Agent of Options added. Do changes it; nil is an empty
	// one.
	Header http.Header
	// Body is sent as it is; nil is an empty one.
	Body []byte
	// Limit bounds the request from its first byte to the end of the response, dialling included.
	// 0: ctx alone does.
	Limit time.Duration
}

// Do sends a request and reads the response to its end, whatever its status. It uses the transport
// itself and not an http.Client: no redirect is followed, since that would carry the credential to
// wherever a response points, and no cookie is kept. The server sees the request once at most.
//
// Without a response the Response is zero and the error is that of ctx (its cause), a TimeoutError,
// or of the network and TLS; a proxy that refuses the tunnel is such an error too, and never a
// response. With the header of a response but not its whole body, the Response has the header, and
// the error is a *BodyError, ctx's cause or a TimeoutError. No error quotes the URL, which may
// itself be a credential.
func (c *Conn) Do(ctx context.Context, r Request) (Response, error) {
	caller := ctx
	if r.Limit > 0 {
		limited, cancel := WithLimit(ctx, r.Limit)
		defer cancel()
		ctx = limited
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return Response{}, withoutURL(err)
	}
	once(request)
	if r.Header != nil {
		request.Header = r.Header
	}
	request.Header.Set("User-Agent", c.userAgent)
	reply, err := c.transport.RoundTrip(request)
	if err != nil {
		return Response{}, Cause(caller, ctx, withoutURL(err))
	}
	defer func() { _ = reply.Body.Close() }()
	response := NewResponse(reply.StatusCode, reply.Header, nil)
	if reply.TLS != nil {
		response.Chains = reply.TLS.VerifiedChains
	}
	body, err := io.ReadAll(io.LimitReader(reply.Body, MaxBody+1))
	switch {
	case err != nil:
		cut := &BodyError{Problem: "the answer is cut short", Err: err}
		return response, Cause(caller, ctx, cut)
	case len(body) > MaxBody:
		problem := fmt.Sprintf("the answer is longer than %d bytes", MaxBody)
		return response, &BodyError{Problem: problem}
	}
	response.Body = body
	return response, nil
}

// once keeps net/http from sending a request a second time by itself, at once, when a connection
// that was kept turns out to be lost: the server may have seen the request, and when to ask it
// again is for the caller to say. What net/http repeats is a request of a safe method whose body it
// can send again, so the body is one that it cannot.
func once(request *http.Request) {
	request.GetBody = nil
	switch request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete:
		if request.Body == http.NoBody {
			// net/http finds out that it is empty, and then says nothing of a body.
			request.Body = io.NopCloser(strings.NewReader(""))
		}
	}
}

// withoutURL takes the URL out of an error: that of a blob is itself a credential.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// Proxy returns choose, or [http.ProxyFromEnvironment] when that is nil, with errors that do not
// quote the setting: it may hold a password.
func Proxy(choose func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	if choose == nil {
		choose = http.ProxyFromEnvironment
	}
	return func(r *http.Request) (*url.URL, error) {
		proxy, err := choose(r)
		if err != nil {
			return nil, errors.New("the proxy setting (HTTPS_PROXY, or the field Proxy) " +
				"is not a valid url")
		}
		return proxy, nil
	}
}
