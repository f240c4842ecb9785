// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/internal/oneline"
)

// MaxMethodPayload is the largest payload of a direct method, in bytes, either way (Azure docs:
// "IoT Hub quotas and throttling").
const MaxMethodPayload = 128 << 10

const (
	defaultConcurrent    = 8
	defaultMethodTimeout = 30 * time.Second
	// finalTimeout is for what is sent at the end: it is on its way long before, and nobody waits
	// any longer to hear that it arrived.
	finalTimeout = 40 * time.Millisecond
)

// Methods says how to serve direct methods (Azure docs: "Understand and invoke direct methods from
// IoT Hub"). The zero value is ready; every call then gets status 501.
type Methods struct {
	// Handlers are called by the name of the method; case matters.
	Handlers map[string]MethodHandler
	// Default is called for every other name. Default: the response is status 501.
	Default MethodHandler
	// MaxConcurrent is how many handlers may run at the same time. Default: 8. As many calls again
	// as 64 wait for their turn; the response to any more is status 429.
	MaxConcurrent int
	// Timeout is how long a call may take, from its arrival to the handler's return. Default: 30 s,
	// as the service's own: the device does not learn how long the caller waits, and the hub drops
	// a response that nobody waits for any more.
	Timeout time.Duration
}

// MethodRequest is a call of a direct method.
type MethodRequest struct {
	// Name is the name of the method.
	Name string
	// Payload is JSON, of 128 KB at most; nil if the caller gave none. It belongs to the handler.
	Payload json.RawMessage
}

// MethodHandler handles a call and returns the response: a status, 0 being 200, and a payload that
// is encoded as JSON (a json.RawMessage is sent as it is, nil is an empty payload). The response to
// an error is status 500 and its text; to a panic, and to a payload that does not encode or has
// more than 128 KB, 500 without detail. ctx ends with the call's time, with HandleMethods' context,
// and with the connection. What a handler returns after the call's time is dropped.
type MethodHandler func(ctx context.Context, r MethodRequest) (status int, payload any, err error)

// HandleMethods serves direct methods until ctx or the connection ends, and returns when every
// handler has: an *Error with the cause in its tree. A handler that panics harms nothing else;
// Dialer.Logger gets the stack. There is one HandleMethods at a time; a second one returns an
// *Error of class Caller. While there is none, callers get the hub's status 404, device not online;
// but for a device that connects again, whose session has the subscription still: what the hub
// calls then waits for HandleMethods, for 5 s.
func (c *Conn) HandleMethods(ctx context.Context, m Methods) error {
	caller := func(reason string) error {
		return &Error{Op: "methods", Hub: c.hub, Class: Caller, Err: errors.New(reason)}
	}
	if m.MaxConcurrent < 0 || m.Timeout < 0 {
		return caller("MaxConcurrent or Timeout is negative: use zero for the default")
	}
	if m.MaxConcurrent == 0 {
		m.MaxConcurrent = defaultConcurrent
	}
	if m.Timeout == 0 {
		m.Timeout = defaultMethodTimeout
	}
	waiting, refused, ok := c.calls.claim()
	if !ok {
		return caller("methods are being handled already")
	}
	defer c.calls.release()
	defer c.unsubscribe(toMethodCalls) // the hub makes it also if nobody waits for that
	if err := c.subscribe(ctx, "methods", toMethodCalls); err != nil {
		return err
	}
	serving, cancel := c.within(ctx)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() {
		for serving.Err() == nil {
			select {
			case call := <-refused:
				c.respond(serving, call, m.Timeout, methodResponse{status: 429})
			case <-serving.Done():
			}
		}
	})
	free := make(chan struct{}, m.MaxConcurrent)
	for serving.Err() == nil {
		select {
		case free <- struct{}{}:
		case <-serving.Done():
			continue
		}
		select {
		case call := <-waiting:
			running.Go(func() {
				defer func() { <-free }()
				c.serve(serving, call, m)
			})
		case <-serving.Done():
		}
	}
	c.unsubscribe(toMethodCalls) // while the last responses are on their way
	running.Wait()
	return classify("methods", c.hub, context.Cause(serving))
}

// serve handles one call. Its time is counted from its arrival, the wait for its turn included.
func (c *Conn) serve(serving context.Context, call call, m Methods) {
	handling, cancel := context.WithDeadline(serving, call.arrived.Add(m.Timeout))
	defer cancel()
	if handling.Err() != nil {
		return
	}
	r := errorResponse(500, "the handler failed") // if it does not even return, by runtime.Goexit
	defer func() { c.respond(serving, call, m.Timeout, r) }()
	r = c.handle(handling, call, m)
}

// respond publishes a response if it is in time, also when HandleMethods is about to end: the
// handler's work is done. But then it does not wait long for the hub, which may have gone silent.
func (c *Conn) respond(serving context.Context, call call, limit time.Duration, r methodResponse) {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(serving), call.arrived.Add(limit))
	defer cancel()
	defer context.AfterFunc(serving, func() { time.AfterFunc(finalTimeout, cancel) })()
	err := c.publish(ctx, "methods", r.topic(call.id), r.payload)
	if err != nil && serving.Err() == nil {
		c.log(
			slog.LevelWarn, "method response not sent",
			slog.String("method", oneline.ASCII(call.name, 128)), failure(err),
		)
	}
}
