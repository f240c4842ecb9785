// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/amqp"
	"github.com/rehome-iot/rehome/internal/mqttserver"
)

// webSocketPath is where MQTT over WebSocket is served.
const webSocketPath = "/$iothub/websocket"

// ServeHTTP answers one HTTPS request. The network calls it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == webSocketPath {
		s.serveWebSocket(w, r)
		return
	}
	c := routeService(r)
	if c == nil {
		c = route(r.Method, r.URL)
	}
	c.transport, c.client = HTTPS, clientOf(r.Header)
	c.authorization = r.Header.Get("Authorization")
	c.chain = peerChain(r)
	if c.op != Clock {
		// A body that ends early or never is the client's matter: what arrived is checked.
		c.body, _ = io.ReadAll(io.LimitReader(r.Body, c.maxBody()+1))
	}
	s.send(w, r, s.serve(r.Context(), c))
}

func peerChain(r *http.Request) []*x509.Certificate {
	if r.TLS == nil {
		return nil
	}
	return r.TLS.PeerCertificates
}

// route finds out what a request asks for. Whatever is not the device API is a Clock.
//
//	PUT  /{idScope}/registrations/{registrationId}/register
//	GET  /{idScope}/registrations/{registrationId}/operations/{operationId}
//	POST /{idScope}/registrations/{registrationId}
func route(method string, u *url.URL) *call {
	c := &call{op: Clock}
	// The path is split before it is unescaped: an ID may hold an escaped slash, and is then not a
	// valid one.
	path := strings.TrimPrefix(u.EscapedPath(), "/")
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/") // some clients end it with a slash
	for i, part := range parts {
		text, err := url.PathUnescape(part)
		if err != nil {
			return c
		}
		parts[i] = text
	}
	if len(parts) < 3 || !strings.EqualFold(parts[1], "registrations") {
		return c
	}
	var op Op
	var want string
	switch {
	case len(parts) == 3:
		op, want = Lookup, http.MethodPost
	case len(parts) == 4 && strings.EqualFold(parts[3], "register"):
		op, want = Register, http.MethodPut
	case len(parts) == 5 && strings.EqualFold(parts[3], "operations"):
		op, want = Poll, http.MethodGet
		c.operationID = parts[4]
	default:
		return c
	}
	c.scope, c.registrationID = parts[0], parts[2]
	c.version = u.Query().Get("api-version")
	if method != want {
		c.wrongMethod = true
		return c
	}
	c.op = op
	return c
}

// send writes a reply.
func (s *Server) send(w http.ResponseWriter, r *http.Request, a reply) {
	if a.silent {
		<-r.Context().Done() // the client gives up, or the network is closed
	}
	if a.silent || a.cut {
		panic(http.ErrAbortHandler) // the documented way to close a connection without a response
	}
	h := w.Header()
	// of the response: a fault may have held it back
	h.Set("Date", s.network.Now().UTC().Format(http.TimeFormat))
	if a.contentType != "" {
		h.Set("Content-Type", a.contentType)
	}
	for name, values := range a.header {
		h[name] = values
	}
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	h.Set("x-ms-request-id", a.requestID)
	if a.retryAfter != "" {
		h.Set("Retry-After", a.retryAfter)
	}
	if a.registered && a.status == http.StatusAccepted {
		// The service names the address the device has just used, not the operation's.
		h.Set("Location", "https://"+r.Host+r.URL.EscapedPath())
	}
	w.WriteHeader(a.status)
	if a.fault != nil && a.fault.CutAfter > 0 && a.fault.CutAfter < len(a.body) {
		_, _ = w.Write(a.body[:a.fault.CutAfter])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(a.body) // a client that is gone does not want it
}

// serveWebSocket turns the request into an MQTT connection, unless a fault refuses it.
func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if f := s.faults.next(occasion{op: Connect, transport: WebSocket, upgrade: true}); f != nil {
		a := reply{response: s.applyFault(f, response{}), silent: f.NoAnswer, cut: f.Cut, fault: f}
		entry := s.log.add(Request{Op: Connect, Transport: WebSocket})
		if !pause(r.Context(), f.Delay) {
			a.silent = true
		}
		if !a.silent && !a.cut {
			s.conclude(entry, func(e *Request) {
				e.Status, e.Code, e.Answered, e.RetryAfter = a.status, a.code, time.Now(),
					a.retryAfter
			})
		}
		s.send(w, r, a)
		return
	}
	nc, err := mqttserver.WebSocket(w, r)
	if err != nil {
		r := Request{Op: Connect, Transport: WebSocket, Status: http.StatusBadRequest}
		if errors.Is(err, mqttserver.ErrAMQP) {
			r.Transport, r.Status, r.Note = AMQPWebSocket, http.StatusNotImplemented, amqp.Reason
		}
		s.conclude(s.log.add(r), func(e *Request) { e.Answered = time.Now() })
		return // answered already
	}
	// A hijacked request's context ends only when its handler returns, which is after this.
	_ = mqttserver.Serve(
		context.WithoutCancel(r.Context()), nc,
		&device{server: s, transport: WebSocket, chain: peerChain(r)}, mqttOptions,
	)
}
