// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"

	"github.com/rehome-iot/rehome/internal/oneline"
)

// methodResponse is the response to a call.
type methodResponse struct {
	status  int
	payload []byte
}

func (r methodResponse) topic(id string) string {
	return "$iothub/methods/res/" + strconv.Itoa(r.status) + "/?$rid=" + id
}

// errorResponse is a response that says what went wrong.
func errorResponse(status int, message string) methodResponse {
	payload, _ := json.Marshal(map[string]string{"message": message}) // cannot fail
	return methodResponse{status: status, payload: payload}
}

// handle runs the handler of a call. Whatever that does, there is a response.
func (c *Conn) handle(ctx context.Context, call call, m Methods) (r methodResponse) {
	handler, ok := m.Handlers[call.name]
	if !ok || handler == nil {
		handler = m.Default
	}
	switch {
	case handler == nil:
		return errorResponse(501, "method not implemented")
	case len(call.payload) > 0 && !json.Valid(call.payload):
		return errorResponse(400, "payload is not JSON")
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		// A panic, or runtime.Goexit. The value of a panic is shown if the runtime made it: any
		// other may quote the payload.
		reason := "runtime.Goexit"
		switch p := recover().(type) {
		case nil:
		case runtime.Error:
			reason = p.Error()
		default:
			reason = fmt.Sprintf("panic of type %T", p)
		}
		c.log(
			slog.LevelError, "method handler panicked",
			slog.String("method", oneline.ASCII(call.name, 128)), slog.String("cause", reason),
			slog.String("stack", string(debug.Stack())),
		)
		r = errorResponse(500, "the handler failed")
	}()
	status, payload, err := handler(ctx, MethodRequest{Name: call.name, Payload: call.payload})
	// What the handler returned may panic too: its Error, as that of a nil pointer in an interface
	// does, and its MarshalJSON.
	if err != nil {
		r = errorResponse(500, oneline.ASCII(err.Error(), 1024))
		returned = true
		return r
	}
	body, err := encodePayload(payload)
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	returned = true
	switch {
	case err != nil:
		c.log(
			slog.LevelError, "method response is invalid",
			slog.String("method", oneline.ASCII(call.name, 128)), slog.String("cause", reason),
		)
		return errorResponse(500, "the response cannot be sent")
	case status == 0:
		status = 200
	case status < 0:
		status = 500
	}
	return methodResponse{status: status, payload: body}
}

func encodePayload(payload any) ([]byte, error) {
	if payload == nil {
		return nil, nil
	}
	raw, ok := payload.(json.RawMessage)
	if !ok {
		body, err := json.Marshal(payload)
		if err != nil {
			return nil, err
		}
		raw = body
	} else if len(raw) > 0 && !json.Valid(raw) {
		return nil, errors.New("the payload is not JSON")
	}
	if len(raw) > MaxMethodPayload {
		return nil, fmt.Errorf(
			"the payload of %d bytes is larger than the %d that IoT Hub takes", len(raw),
			MaxMethodPayload,
		)
	}
	return raw, nil
}
