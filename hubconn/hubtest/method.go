// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/mqttserver"
)

// InvokeOptions are how long a back end waits for a device.
type InvokeOptions struct {
	// ConnectTimeout is how long to wait for a device that is not connected, or does not listen for
	// methods: 0 to 300 s. The default is not at all.
	ConnectTimeout time.Duration
	// ResponseTimeout is how long to wait for its response: 5 to 300 s. 0 means 30 s.
	ResponseTimeout time.Duration
}

// maxMethodPayload is the largest payload of a method, each way.
const maxMethodPayload = 128 << 10

// call is a method that waits for its response.
type call struct {
	id     string
	result chan methodResult // room for one
}

type methodResult struct {
	status  int
	payload []byte
}

// Invoke calls a method of a device and returns what it answered. The payload is marshalled to
// JSON, a json.RawMessage sent as it is; nil sends none. A refusal is an *Error: 404103 when the
// device is not connected and listening, 504101 when it did not answer in time (a response that
// comes later is dropped), 404001 for an unknown device, 400004 for a payload above 128 KB or
// options out of bounds, 502000 for a response that is no JSON or above 128 KB.
func (h *Hub) Invoke(
	ctx context.Context, id, method string, payload any, o InvokeOptions,
) (status int, response json.RawMessage, err error) {
	defer func() { h.recordMethod(id, method, status, err) }()
	refuse := func(code int, message string) (int, json.RawMessage, error) {
		return 0, nil, &Error{Op: "invoke " + method + " of", ID: id, Code: code, Message: message}
	}
	body, err := methodPayload(payload)
	if o.ResponseTimeout == 0 {
		o.ResponseTimeout = 30 * time.Second
	}
	switch {
	case err != nil:
		return refuse(codeArgumentInvalid, "payload: "+err.Error())
	case method == "" || len(method) > 128 || strings.ContainsAny(method, "/+#\x00"):
		return refuse(codeArgumentInvalid, "no method name")
	case len(body) > maxMethodPayload:
		return refuse(codeArgumentInvalid, "payload above 128 KB")
	case o.ConnectTimeout < 0 || o.ConnectTimeout > 300*time.Second:
		return refuse(codeArgumentInvalid, "connect timeout is not 0 to 300 s")
	case o.ResponseTimeout < 5*time.Second || o.ResponseTimeout > 300*time.Second:
		return refuse(codeArgumentInvalid, "response timeout is not 5 to 300 s")
	}
	if code := h.spend(1 + len(body)/meter); code != 0 {
		return refuse(code, "daily quota exceeded")
	}
	if err := h.await(ctx, id, o.ConnectTimeout); err != nil {
		return 0, nil, err
	}
	c := &call{id: id, result: make(chan methodResult, 1)}
	rid, ok := h.call(c, method, body)
	if !ok {
		return refuse(codeNotOnline, "device is not connected, or does not listen for methods")
	}
	defer h.forgetCall(rid)
	timeout := time.NewTimer(o.ResponseTimeout)
	defer timeout.Stop()
	select {
	case a := <-c.result:
		if len(a.payload) > maxMethodPayload || len(a.payload) > 0 && !json.Valid(a.payload) {
			return refuse(codeBadGateway, "the answer is no JSON, or above 128 KB")
		}
		return a.status, a.payload, nil
	case <-timeout.C:
		return refuse(codeGatewayTimeout, "timed out waiting for the response from device")
	case <-ctx.Done():
		return 0, nil, context.Cause(ctx)
	case <-h.network.Done():
		return refuse(codeUnavailable, "the network is closed")
	}
}

func methodPayload(payload any) ([]byte, error) {
	switch p := payload.(type) {
	case nil:
		return nil, nil
	case json.RawMessage:
		if len(p) == 0 {
			return nil, nil
		}
	}
	return json.Marshal(payload)
}

// await waits until a device listens for methods.
func (h *Hub) await(ctx context.Context, id string, timeout time.Duration) error {
	expired := time.NewTimer(timeout)
	defer expired.Stop()
	for {
		h.mu.Lock()
		_, exists := h.devices[id]
		l, changed := h.links[id], h.changed
		h.mu.Unlock()
		if !exists {
			return unknownIdentity("invoke a method of", id)
		}
		if l != nil && l.subscribed(methodFilter) {
			return nil
		}
		select {
		case <-changed:
		case <-expired.C:
			return &Error{
				Op: "invoke a method of", ID: id, Code: codeNotOnline,
				Message: "timed out waiting for device to connect",
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-h.network.Done():
			return &Error{
				Op: "invoke a method of", ID: id, Code: codeUnavailable,
				Message: "the network is closed",
			}
		}
	}
}

// call sends a method's request to the device.
func (h *Hub) call(c *call, method string, body []byte) (rid string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.links[c.id]
	if l == nil || !l.subscribed(methodFilter) {
		return "", false
	}
	h.lastCall++
	rid = strconv.FormatInt(h.lastCall, 10)
	h.calls[rid] = c
	topic := "$iothub/methods/POST/" + method + "/?$rid=" + rid
	l.post(outgoing{stage: Method, message: mqttserver.Message{Topic: topic, Payload: body}})
	return rid, true
}

func (h *Hub) forgetCall(rid string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.calls, rid)
}

// completeCall takes a device's response to a method. Only the device that was asked can give it;
// one that nobody waits for is dropped. A device that lost its connection meanwhile may answer on
// its next.
func (l *link) completeCall(to address, body []byte) {
	rid, ok := requestID(to.bag)
	if !ok {
		return
	}
	status, err := strconv.Atoi(to.status)
	if err != nil {
		return
	}
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	if c := l.hub.calls[rid]; c != nil && c.id == l.id {
		delete(l.hub.calls, rid)
		c.result <- methodResult{status, bytes.Clone(body)}
	}
}
