// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/rehome-iot/rehome/internal/https"
)

// apiRequest is one HTTPS request to the hub's device API.
type apiRequest struct {
	op     string
	method string
	path   string // below the identity's own, with its leading slash
	query  string // besides the API version
	header http.Header
	body   []byte
	// lock is true when the path names the lock of a message: a 404 may then be about that.
	lock bool
	// answered is true when success has a body: it may be 200 then, and the caller looks whether
	// that is the hub's. Otherwise it is 204 alone.
	answered bool
}

// call sends one request, over a connection of its own, with the identity's credential. It never
// retries. Success is the status that the hub itself gives it; any other is an error, also of 2xx:
// a proxy or a captive portal that answers with a page of its own would lose a message that is then
// believed to be delivered.
//
// Azure REST API: IoT Hub, Device.
func (d *Dialer) call(
	ctx context.Context, hub Hub, credential Credential, r apiRequest,
) (https.Response, *Error) {
	caller := ctx
	limit := d.dialTimeout() + cmp.Or(d.ConnectTimeout, defaultConnectTimeout)
	if limit < 0 { // two that stand for none are more than there is
		limit = math.MaxInt64
	}
	ctx, cancel := https.WithLimit(ctx, limit) // the credential's own work counts too
	defer cancel()

	certificate, token, err := d.identify(ctx, hub, credential)
	if err != nil {
		return https.Response{}, &Error{Op: r.op, Hub: hub, Err: https.Cause(caller, ctx, err)}
	}
	o := d.httpsOptions(certificate)
	o.Single = true
	conn, err := https.Open(o)
	if err != nil {
		return https.Response{}, &Error{Op: r.op, Hub: hub, Class: Caller, Err: err}
	}
	defer conn.Close()

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
	response, err := conn.Do(ctx, https.Request{
		Method: r.method, URL: target, Header: header, Body: r.body,
	})
	if err != nil {
		d.forgetSession(hub, certificate)
		return https.Response{}, classify(r.op, hub, https.Cause(caller, ctx, err))
	}
	switch {
	case response.Status == http.StatusNoContent,
		response.Status == http.StatusOK && r.answered:
		return response, nil
	case response.Status/100 == 2:
		return response, foreignError(r.op, hub, response.Status, "the hub")
	}
	e := &Error{Op: r.op, Hub: hub}
	fromHub := e.read(response)
	e.Class = e.operationClass(fromHub)
	if r.lock && e.Code == http.StatusNotFound*1000 {
		e.Class = Caller // no such lock; the codes that deny the device are others
	}
	if e.Class == Rejected {
		d.forgetSession(hub, certificate)
	}
	return response, e
}

// foreignError is the error of a success that is none of the service's. Nothing else of the
// response is read: somebody else neither sets the clock nor asks for a wait.
func foreignError(op string, hub Hub, status int, place string) *Error {
	return &Error{
		Op: op, Hub: hub, Class: Unreachable, Status: status, Code: status * 1000,
		Err: errors.New("somebody else answered in place of " + place +
			": a proxy, or a captive portal"),
	}
}

// httpsOptions is how HTTPS requests travel, with a client certificate if there is one. The hub's
// front end may ask for it by TLS 1.2 renegotiation, and a client that has none must be able to say
// so.
func (d *Dialer) httpsOptions(certificate *tls.Certificate) https.Options {
	config := &tls.Config{}
	if d.TLSConfig != nil {
		config = d.TLSConfig.Clone()
	}
	config.Renegotiation = tls.RenegotiateOnceAsClient
	if config.ClientSessionCache == nil {
		config.ClientSessionCache = d.sessions
	}
	return https.Options{
		DialContext: d.DialContext,
		TLSConfig:   config,
		Certificate: certificate,
		Proxy:       d.Proxy,
		UserAgent:   d.userAgent(),
		DialTimeout: d.dialTimeout(),
	}
}

func (d *Dialer) dialTimeout() time.Duration { return cmp.Or(d.DialTimeout, defaultDialTimeout) }
