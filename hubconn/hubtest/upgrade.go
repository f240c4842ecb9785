// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/rehome-iot/rehome/internal/amqp"
	"github.com/rehome-iot/rehome/internal/mqttserver"
)

// websocketPath is where MQTT over WebSocket is served.
const websocketPath = "/$iothub/websocket"

// ServeHTTP serves WebSocket upgrades and the device API.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.serveREST(w, r) {
		return
	}
	if r.URL.Path != websocketPath {
		h.serveDevice(w, r)
		return
	}
	f, struck := h.strike(Upgrade, "")
	if struck && h.applyUpgradeFault(w, r, f) {
		return
	}
	nc, err := mqttserver.WebSocket(w, r)
	if err != nil {
		transport, status, reason := "ws", http.StatusBadRequest, err.Error()
		if errors.Is(err, mqttserver.ErrAMQP) {
			transport, status, reason = "amqp-ws", http.StatusNotImplemented, amqp.Reason
		}
		h.concludeAttempt(h.logAttempt(Attempt{Transport: transport}), 0, status, reason)
		return
	}
	h.serve(nc, "ws", r.TLS)
}

// applyUpgradeFault lets a fault have an upgrade request. It reports false if the fault was no more
// than a delay.
func (h *Hub) applyUpgradeFault(w http.ResponseWriter, r *http.Request, f Fault) bool {
	if !f.silent() && f.Status == 0 {
		// The try goes on, and is logged by its CONNECT.
		if pause(r.Context(), f.Delay) == nil {
			return false
		}
		h.logAttempt(Attempt{Transport: "ws"})
		return true
	}
	attempt := h.logAttempt(Attempt{Transport: "ws"})
	switch {
	case pause(r.Context(), f.Delay) != nil:
	case f.silent():
		h.leaveUnanswered(w, r, f)
	default:
		h.concludeAttempt(attempt, 0, f.Status, "injected fault")
		h.refuse(w, f)
	}
	return true
}

// leaveUnanswered gives a request no response.
func (h *Hub) leaveUnanswered(w http.ResponseWriter, r *http.Request, f Fault) {
	if f.NoAnswer {
		<-r.Context().Done()
		return
	}
	h.drop(w, f)
}

// drop ends a request's connection instead of answering.
func (h *Hub) drop(w http.ResponseWriter, f Fault) {
	nc, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer nc.Close()
	switch {
	case f.Cut:
		mqttserver.Reset(nc)
	case f.Stall:
		stall(nc)
		_, _ = io.Copy(io.Discard, nc) // until the connection's end
	}
}

// refuse answers with an error as the hub writes it, or as a proxy on the way does.
func (h *Hub) refuse(w http.ResponseWriter, f Fault) {
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	text := f.Message
	if text == "" {
		text = http.StatusText(f.Status)
	}
	if f.ErrorCode == "" {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(f.Status)
		_, _ = fmt.Fprintf(
			w, "<html><head><title>%d %s</title></head><body><h1>%[2]s</h1></body></html>\n",
			f.Status, text,
		)
		return
	}
	tracking := trackingID()
	now := h.network.Now().UTC()
	body := struct{ Message, ExceptionMessage string }{
		Message: "ErrorCode:" + f.ErrorCode + ";" + text,
		ExceptionMessage: "Tracking ID:" + tracking + "-G:4-TimeStamp:" +
			now.Format("01/02/2006 15:04:05"),
	}
	if f.Code != 0 {
		inner, _ := json.Marshal(struct { // strings and a number: cannot fail
			ErrorCode    int    `json:"errorCode"`
			TrackingID   string `json:"trackingId"`
			Message      string `json:"message"`
			TimestampUTC string `json:"timestampUtc"`
		}{
			f.Code, tracking + "-G:3-TimeStamp:" + now.Format("01/02/2006 15:04:05"), text,
			now.Format("2006-01-02T15:04:05.0000000Z"),
		})
		body.Message, body.ExceptionMessage = string(inner), ""
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("iothub-errorcode", f.ErrorCode)
	w.Header().Set("x-ms-request-id", tracking)
	w.WriteHeader(f.Status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

func trackingID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}
