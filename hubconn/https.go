package hubconn

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/rehome-iot/rehome/internal/mqtt"
)

// maxReply is the largest body of an answer that is read; the largest there is, a message, has 64 KB.
const maxReply = 128 << 10

// request is one HTTPS request to the hub's device API.
type request struct {
	op     string
	method string
	path   string // below the identity's own, with its leading slash
	query  string // besides the API version
	header http.Header
	body   []byte
	// lock is true when the path names the lock of a message: a 404 may then be about that.
	lock bool
}

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// call sends one request, over a connection of its own, with the identity's credential. It never retries and follows no
// redirect, which would carry the credential to wherever an answer points. An answer outside 2xx is an error.
//
// Azure REST API: IoT Hub, Device.
func (d *Dialer) call(ctx context.Context, hub Hub, credential Credential, r request) (reply, *Error) {
	caller := ctx
	limit := cmp.Or(d.DialTimeout, 30*time.Second) + cmp.Or(d.ConnectTimeout, 75*time.Second)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &mqtt.TimeoutError{For: "HTTPS answer", After: limit})
	defer cancel()

	certificate, token, err := d.identify(ctx, hub, credential)
	if err != nil {
		return reply{}, &Error{Op: r.op, Hub: hub, Err: endOf(caller, ctx, err)}
	}
	transport, err := d.transport(certificate)
	if err != nil {
		return reply{}, &Error{Op: r.op, Hub: hub, Class: Caller, Err: err}
	}
	transport.DisableKeepAlives = true
	defer transport.CloseIdleConnections()

	target := "https://" + hub.Host + hub.url() + r.path + "?api-version=" + escape(d.apiVersion())
	if r.query != "" {
		target += "&" + r.query
	}
	header := r.header
	if header == nil {
		header = http.Header{}
	}
	if token != "" {
		header.Set("Authorization", token)
	}
	answer, err := d.roundTrip(ctx, transport, r.method, target, header, r.body)
	if err != nil {
		return reply{}, classify(r.op, hub, endOf(caller, ctx, err))
	}
	if answer.status/100 == 2 {
		return answer, nil
	}
	e := &Error{Op: r.op, Hub: hub}
	e.Class = e.operationClass(e.read(answer.status, answer.header, answer.body))
	if r.lock && e.Code == http.StatusNotFound*1000 {
		e.Class = Caller // no such lock; the codes that deny the device are others
	}
	return answer, e
}

// transport makes the connections for HTTPS. The hub's front end may ask for the client certificate by TLS 1.2
// renegotiation, which HTTP/2 forbids.
func (d *Dialer) transport(certificate *tls.Certificate) (*http.Transport, error) {
	config := d.tlsConfig(certificate)
	if config.InsecureSkipVerify {
		return nil, errors.New("InsecureSkipVerify is refused: put the hub's authority into TLSConfig.RootCAs")
	}
	config.ServerName, config.NextProtos = "", nil
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	config.Renegotiation = tls.RenegotiateOnceAsClient
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	dial := d.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &http.Transport{
		DialContext: dial, TLSClientConfig: config, Proxy: mqtt.Proxy(d.Proxy), Protocols: http1,
		TLSHandshakeTimeout:    cmp.Or(d.DialTimeout, 30*time.Second),
		ProxyConnectHeader:     http.Header{"User-Agent": {d.userAgent()}},
		MaxIdleConns:           1,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}, nil
}

func (d *Dialer) roundTrip(ctx context.Context, transport *http.Transport, method, target string, header http.Header, body []byte) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return reply{}, withoutURL(err)
	}
	request.Header = header
	header.Set("User-Agent", d.userAgent())
	response, err := transport.RoundTrip(request)
	if err != nil {
		return reply{}, withoutURL(err)
	}
	defer func() { _ = response.Body.Close() }()
	r := reply{status: response.StatusCode, header: response.Header}
	r.body, err = io.ReadAll(io.LimitReader(response.Body, maxReply+1))
	if err != nil {
		return r, fmt.Errorf("the answer is cut short: %w", err)
	}
	if len(r.body) > maxReply {
		return r, fmt.Errorf("the answer is longer than %d bytes", maxReply)
	}
	return r, nil
}

// withoutURL takes the URL out of an error: that of a blob is itself a credential.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
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
