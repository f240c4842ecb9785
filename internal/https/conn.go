// SPDX-License-Identifier: Apache-2.0

package https

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/internal/dial"
)

// MaxBody is the longest body of a response that is accepted, in bytes. The largest that a service
// sends has 96 KB.
const MaxBody = 128 << 10

// Options says how requests to one server travel. The zero value is ready.
type Options struct {
	// DialContext opens the TCP connection, to the server or to the proxy. Default: net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// TLSConfig is the base of the TLS configuration: see dial.Config. The server name is always
	// that of the URL.
	TLSConfig *tls.Config
	// Certificate is the device's own, nil for none.
	Certificate *tls.Certificate
	// Proxy chooses the proxy. Default: http.ProxyFromEnvironment.
	Proxy func(*http.Request) (*url.URL, error)
	// UserAgent is sent to the server, and to a proxy with CONNECT.
	UserAgent string
	// DialTimeout bounds everything from the name look-up to the finished TLS handshake. Default:
	// nothing but the request's own limit does.
	DialTimeout time.Duration
	// Single closes the connection after each request. Default: it is kept for the next one.
	Single bool
}

// Conn sends requests to one server. It holds at most one idle network connection, and opens
// another when that was lost. It is safe for concurrent use.
type Conn struct {
	dialer  dial.Dialer
	timeout time.Duration
	single  bool

	mu     sync.Mutex
	idle   *link // nil: none
	closed bool
}

// Open prepares a Conn; it does not use the network. The caller closes it.
func Open(o Options) (*Conn, error) {
	if _, err := dial.Config(o.TLSConfig, o.Certificate, nil); err != nil {
		return nil, err
	}
	return &Conn{timeout: o.DialTimeout, single: o.Single, dialer: dial.Dialer{
		DialContext: o.DialContext, TLSConfig: o.TLSConfig, Certificate: o.Certificate,
		Proxy: o.Proxy, UserAgent: o.UserAgent,
	}}, nil
}

// Close closes the idle connection. A request under way goes on, and its connection is closed by
// its end.
func (c *Conn) Close() {
	c.mu.Lock()
	idle := c.idle
	c.idle, c.closed = nil, true
	c.mu.Unlock()
	if idle != nil {
		idle.close()
	}
}

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

// Do sends a request and reads the response to its end, whatever its status. No redirect is
// followed, since that would carry the credential to wherever a response points, and no cookie is
// kept. The server sees the request once at most: one that a kept connection loses is not sent
// again, since the server may have seen it, and when to ask it again is for the caller to say.
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
	if request.URL.Scheme != "https" || request.URL.Hostname() == "" {
		return Response{}, errors.New("the address of the request is not an https url")
	}
	if r.Header != nil {
		request.Header = r.Header
	}
	request.Header.Set("User-Agent", c.dialer.UserAgent)
	request.Close = c.single
	l, err := c.take(ctx, request.URL)
	if err != nil {
		return Response{}, Cause(caller, ctx, err)
	}
	response, keep, err := l.exchange(ctx, request)
	if keep && !c.single {
		c.put(l)
	} else {
		l.close()
	}
	if err != nil {
		err = Cause(caller, ctx, err)
	}
	return response, err
}

// take returns a network connection to the server: the idle one, if the server has not closed it
// and said nothing on it, or a new one.
func (c *Conn) take(ctx context.Context, target *url.URL) (*link, error) {
	c.mu.Lock()
	l := c.idle
	c.idle = nil
	c.mu.Unlock()
	if l != nil {
		if l.server == target.Host && l.silent() {
			return l, nil
		}
		l.close()
	}
	opening := ctx
	if c.timeout > 0 {
		limited, cancel := WithLimit(ctx, c.timeout)
		defer cancel()
		opening = limited
	}
	nc, err := c.dialer.TLS(opening, target)
	if err != nil {
		return nil, err
	}
	return newLink(nc, target.Host), nil
}

// put keeps a connection for the next request.
func (c *Conn) put(l *link) {
	c.mu.Lock()
	if c.idle == nil && !c.closed {
		c.idle, l = l, nil
	}
	c.mu.Unlock()
	if l != nil {
		l.close()
	}
}

// withoutURL takes the URL out of an error: that of a blob is itself a credential.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
