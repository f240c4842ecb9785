// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"cmp"
	"crypto/x509"
	"io"
	"net/http"
)

// maxBody is the largest body of a request that is read. What a message may have is less.
const maxBody = 1 << 20

// webReply is how a hub answers an HTTPS request.
type webReply struct {
	reply
	header http.Header
	// of a refusal: the body has the code's name, in the older of the two shapes, and not its
	// number
	named  bool
	reason string // of a refusal: for the log, and not for the device
}

func webRefusal(code int, message string) webReply {
	return webReply{reply: declined(code, message)}
}

// serveDevice serves the device API: all that a device does in one HTTPS request. Azure REST API:
// IoT Hub, Device.
func (h *Hub) serveDevice(w http.ResponseWriter, r *http.Request) {
	e, code := parseEndpoint(r.Method, r.URL.EscapedPath(), r.URL.Query())
	if code != 0 {
		h.reply(w, webRefusal(code, http.StatusText(code/1000)))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		h.reply(w, webRefusal(codeTooLarge, "body is cut short, or too large"))
		return
	}
	stage := e.action.stage()
	logResponse := func(status, code int, reason string) {
		h.logOperation(Operation{
			On: stage, DeviceID: e.id, Transport: "https", Status: status, Code: code,
			Reason: reason,
		})
	}
	if f, struck := h.strike(stage, e.id); struck {
		if f.performs() {
			_ = h.act(r, e, body)
		}
		switch {
		case pause(r.Context(), f.Delay) != nil:
			return
		case f.silent():
			logResponse(0, 0, "")
			h.leaveUnanswered(w, r, f)
			return
		case f.Status != 0:
			logResponse(f.Status, f.Code, "")
			h.refuse(w, f)
			return
		}
	}
	response, err := h.respond(r, e, body)
	if err != nil {
		return // nobody is left to hear it
	}
	logResponse(response.status, response.code, response.reason)
	h.reply(w, response)
}

// respond checks a request and does what it asks for. An error says that the client is gone.
func (h *Hub) respond(r *http.Request, e endpoint, body []byte) (webReply, error) {
	if refused, ok := h.authenticateRequest(r, e.id); !ok {
		return refused, nil
	}
	stage := e.action.stage()
	if (stage == Send || stage == Receive) && h.spend(0) != 0 {
		return webRefusal(codeQuota, "Total number of messages on IotHub exceeded the allocated "+
			"quota. Send and Receive operations are blocked for this hub until the next UTC "+
			"day."), nil
	}
	switch code, err := h.shape(r.Context(), stage); {
	case err != nil:
		return webReply{}, err
	case code != 0:
		refused := webRefusal(
			code, "The request has been throttled. Wait 10 seconds and try again.",
		)
		refused.header = h.retryAfter()
		return refused, nil
	}
	return h.act(r, e, body), nil
}

// act does what an authenticated request asks for.
func (h *Hub) act(r *http.Request, e endpoint, body []byte) webReply {
	switch e.action {
	case sendEvent:
		return h.storeEvents(r, e.id, body)
	case receiveCommand:
		return h.deliverCommand(r, e.id)
	case completeCommand, rejectCommand, abandonCommand:
		return h.settleCommand(e)
	case startUpload:
		return h.beginUpload(e.id, body)
	default:
		return h.endUpload(e, body)
	}
}

// authenticateRequest checks who sends a request: by a token in its Authorization header, or by its
// client certificate.
func (h *Hub) authenticateRequest(r *http.Request, id string) (refused webReply, ok bool) {
	version, token := r.URL.Query().Get("api-version"), r.Header.Get("Authorization")
	var cert *x509.Certificate
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		cert = r.TLS.PeerCertificates[0]
	}
	now := h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !apiVersion.MatchString(version) {
		return webRefusal(codeProtocolVersion, "api-version is not a date"), false
	}
	if token == "" && cert == nil {
		refused = webRefusal(codeUnauthorizedEntry, "Unauthorized")
		refused.named, refused.reason = true, "neither token nor client certificate"
		return refused, false
	}
	device, unknown := h.known(id)
	if unknown != "" { // the service does not tell the disabled from the unknown
		refused = webRefusal(codeDeviceNotFound, id)
		refused.named, refused.reason = true, unknown
		return refused, false
	}
	reason := ""
	if token != "" {
		_, reason = h.checkToken(device, token, now)
	} else {
		reason = h.checkCertificate(device, cert, now)
	}
	if reason != "" {
		refused = webRefusal(codeUnauthorized,
			"Authentication failed for this device, renew token or certificate and reconnect")
		refused.reason = reason
		return refused, false
	}
	return webReply{}, true
}

// retryAfter is the header that goes with a throttled response.
func (h *Hub) retryAfter() http.Header {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.limits.RetryAfter == "" {
		return nil
	}
	return http.Header{"Retry-After": {h.limits.RetryAfter}}
}

// reply writes a response.
func (h *Hub) reply(w http.ResponseWriter, a webReply) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if a.status >= 300 {
		f := Fault{Status: a.status, ErrorCode: codeName(a.code), Code: a.code, Message: a.message}
		if a.named {
			f.Code = 0
		}
		h.refuse(w, f)
		return
	}
	w.WriteHeader(cmp.Or(a.status, http.StatusNoContent))
	_, _ = w.Write(a.body) // the client may be gone
}
