// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// Where a request goes.
const (
	toDPS = "DPS"
	toHub = "hub"
)

// exchange is a request of a device and the answer to it. Its times never make a device look
// earlier than it is, so that the check needs no tolerance: a request is as old as the moment at
// which the service had read it, after the handshake, and what an answer asks for counts from the
// moment before it was sent.
type exchange struct {
	process int // the number of the process, among those of its device
	service string
	kind    string // register, poll, lookup, time, connect, upgrade, handshake

	at   time.Time // the service has read it
	sent time.Time // the answer was about to be sent; zero if there was none
	done time.Time // the answer has been sent

	status     int // of the HTTP response; of the CONNACK
	retryAfter time.Duration
	operation  string // that DPS has given, or that is polled
	failed     bool
	refused    bool // DPS knows the device, and does not want it
	assigned   bool

	takenIn evidence // that the device has received the answer; empty if there is none
}

// over says that the answer ends an operation.
func (e *exchange) over() bool { return e.assigned || e.refused }

// recorder stands before a simulated service and writes down what comes and goes.
type recorder struct {
	simnet.Site
	service string
	fleet   *fleet
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	local, _ := q.Context().Value(http.LocalAddrContextKey).(net.Addr)
	e := &exchange{service: r.service, at: time.Now()}
	e.kind, e.operation = kindOf(q)
	r.fleet.begin(local, e)
	held := &heldResponse{ResponseWriter: w, status: http.StatusOK}
	r.Site.ServeHTTP(held, q)
	r.fleet.answer(local, func() {
		held.describe(e)
		e.sent = time.Now()
		held.send()
		e.done = time.Now()
	})
}

func kindOf(q *http.Request) (kind, operation string) {
	switch p := q.URL.Path; {
	case strings.HasSuffix(p, "/websocket"):
		return "upgrade", ""
	case strings.HasSuffix(p, "/register"):
		return "register", ""
	case strings.Contains(p, "/operations/"):
		return "poll", path.Base(p)
	case strings.Contains(p, "/registrations/"):
		return "lookup", ""
	}
	return "time", ""
}

// heldResponse is sent as a whole, so that one moment is that at which it was.
type heldResponse struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (h *heldResponse) Unwrap() http.ResponseWriter        { return h.ResponseWriter }
func (h *heldResponse) WriteHeader(status int)             { h.status = status }
func (h *heldResponse) Write(data []byte) (n int, _ error) { return h.body.Write(data) }

func (h *heldResponse) send() {
	h.Header().Set("Content-Length", strconv.Itoa(h.body.Len()))
	h.ResponseWriter.WriteHeader(h.status)
	_, _ = h.ResponseWriter.Write(h.body.Bytes()) // the process may have been killed
	_ = http.NewResponseController(h.ResponseWriter).Flush()
}

func (h *heldResponse) describe(e *exchange) {
	var body struct{ OperationID, Status string }
	_ = json.Unmarshal(h.body.Bytes(), &body) // most responses are, and the others have neither
	seconds, _ := strconv.Atoi(h.Header().Get("Retry-After"))
	e.status, e.retryAfter = h.status, time.Duration(seconds)*time.Second
	e.failed = h.status >= 400
	if e.service == toDPS {
		e.refused, e.assigned = body.Status == "disabled", body.Status == "assigned"
		if body.OperationID != "" {
			e.operation = body.OperationID
		}
	}
}

func (r *recorder) ServeMQTT(nc net.Conn) {
	r.Site.ServeMQTT(&recordedConn{Conn: nc, recorder: r})
}

// recordedConn is a connection whose first packets are CONNECT and CONNACK.
type recordedConn struct {
	net.Conn
	recorder *recorder
	connect  *exchange // written by the one who reads, before anything is answered
	answered sync.Once
}

func (c *recordedConn) Read(data []byte) (int, error) {
	n, err := c.Conn.Read(data)
	if n > 0 && c.connect == nil {
		e := &exchange{service: c.recorder.service, kind: "connect", at: time.Now()}
		c.recorder.fleet.begin(c.LocalAddr(), e)
		c.connect = e
	}
	return n, err
}

func (c *recordedConn) Write(data []byte) (n int, err error) {
	first := false
	c.answered.Do(func() {
		first = true
		c.recorder.fleet.answer(c.LocalAddr(), func() {
			if len(data) > 3 {
				c.connect.status = int(data[3])
			}
			c.connect.failed = c.connect.status != 0
			c.connect.sent = time.Now()
			n, err = c.Conn.Write(data)
			c.connect.done = time.Now()
		})
	})
	if first {
		return n, err
	}
	return c.Conn.Write(data)
}

// serveUntrusted accepts connections with a certificate that no device trusts, until the listener
// is closed.
func (f *fleet) serveUntrusted(l net.Listener, certificate tls.Certificate) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
			e := &exchange{service: toHub, kind: "handshake", at: time.Now(), failed: true}
			f.begin(nc.LocalAddr(), e)
			var shown time.Time
			tc := tls.Server(nc, &tls.Config{
				MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
				GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
					shown = time.Now()
					return &certificate, nil
				},
			})
			failure, ok := errors.AsType[*net.OpError](tc.Handshake())
			if ok && failure.Op == "remote error" {
				// The device's alert says that it has seen the certificate.
				f.answer(nc.LocalAddr(), func() { e.sent, e.done = shown, time.Now() })
			}
		}()
	}
}
