// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// twinTimeout is how long the response to a twin operation may take: the hub sends it at QoS 0, so
// it can get lost.
const twinTimeout = 30 * time.Second

// twinRetry spaces the repetitions of a twin operation that the hub has no room for.
var twinRetry = retry.Policy{MaxDelay: 5 * time.Minute}

// twinResponse is the hub's response to a twin operation.
type twinResponse struct {
	id      string
	status  int
	version int64 // of the properties that were changed; 0 when the hub gave none
	wait    time.Duration
	body    []byte
	patches uint64 // of desired properties that had arrived before it
}

// parseTwinResponse reads a response by its topic:
// $iothub/twin/res/{status}/?$rid={id}&$version={version}.
func parseTwinResponse(topic string, body []byte) (twinResponse, bool) {
	status, query, _ := strings.Cut(strings.TrimPrefix(topic, twinResponses), "/")
	r := twinResponse{body: body}
	var err error
	if r.status, err = strconv.Atoi(status); err != nil || r.status < 100 || r.status > 999 {
		return r, false
	}
	parameters(query, func(name, value string) {
		switch name {
		case "$rid":
			r.id = unescape(value)
		case "$version":
			r.version = parseVersion(value)
		case "retry-after":
			r.wait, _ = retry.ParseRetryAfter(unescape(value), time.Time{})
		}
	})
	return r, r.id != ""
}

// parseVersion reads a version of properties; 0 stands for what is none.
func parseVersion(s string) int64 {
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < 0 {
		return 0
	}
	return v
}

// twinRequests are those under way, by their request IDs. A response to no request, or to one that
// was given up, is dropped.
type twinRequests struct {
	mu      sync.Mutex
	last    uint64
	pending map[string]chan twinResponse
}

// expect gives a new request its ID, and makes room for the response.
func (rs *twinRequests) expect() (id string, arrived <-chan twinResponse) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.pending == nil {
		rs.pending = map[string]chan twinResponse{}
	}
	rs.last++
	id = strconv.FormatUint(rs.last, 16)
	c := make(chan twinResponse, 1)
	rs.pending[id] = c
	return id, c
}

func (rs *twinRequests) forget(id string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	delete(rs.pending, id)
}

func (rs *twinRequests) deliver(r twinResponse) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if c, ok := rs.pending[r.id]; ok {
		delete(rs.pending, r.id)
		c <- r // never blocks: each channel has room for the one response
	}
}

// request does a twin operation: it publishes a request and returns the hub's response. After a 429
// it waits and repeats the request, within ctx; any other refusal is an *Error, and the connection
// stays. When a renewal replaces the link meanwhile, the request is repeated over the new one.
func (c *Conn) request(ctx context.Context, op, topic string, body []byte) (twinResponse, error) {
	if err := c.subscribe(ctx, op, toTwinResponses); err != nil {
		return twinResponse{}, err // without the subscription no response would come
	}
	for n := 1; ; n++ {
		r, err := c.requestOnce(ctx, op, topic, body)
		e, failed := errors.AsType[*Error](err)
		if !failed || e.Class != Throttled || c.ctx.Err() != nil {
			return r, err
		}
		delay := twinRetry.Delay(n, e.RetryAfter(), rand.Float64())
		if ended := c.pause(ctx, op, delay); ended != nil {
			if c.ctx.Err() != nil {
				return twinResponse{}, ended
			}
			throttled := *e // says more than that ctx has ended
			throttled.Err = context.Cause(ctx)
			return twinResponse{}, &throttled
		}
	}
}

func (c *Conn) requestOnce(
	ctx context.Context, op, topic string, body []byte,
) (twinResponse, error) {
	for {
		link := c.current()
		if link != nil {
			id, arrived := c.twinRequests.expect()
			r, err := c.exchange(ctx, link, topic+"?$rid="+id, body, arrived)
			c.twinRequests.forget(id)
			switch {
			case err == nil:
				return r, c.checkTwinResponse(op, r)
			case link.Context().Err() == nil:
				return r, classify(op, c.hub, err)
			}
		}
		if err := c.await(ctx, op, link); err != nil {
			return twinResponse{}, err
		}
	}
}

// publisher is a link, as far as an exchange needs it.
type publisher interface {
	Publish(ctx context.Context, topic string, qos byte, payload []byte) error
	Context() context.Context
}

// exchange publishes a request at QoS 0, since the response acknowledges it, and waits for the
// response.
func (c *Conn) exchange(
	ctx context.Context, link publisher, topic string, body []byte, arrived <-chan twinResponse,
) (twinResponse, error) {
	if err := link.Publish(ctx, topic, 0, body); err != nil {
		return twinResponse{}, err
	}
	select {
	case r := <-arrived:
		return r, nil
	case <-time.After(twinTimeout):
		err := fmt.Errorf("no answer within %v: %w", twinTimeout, os.ErrDeadlineExceeded)
		return twinResponse{}, err
	case <-ctx.Done():
		return twinResponse{}, context.Cause(ctx)
	case <-link.Context().Done():
	}
	select {
	case r := <-arrived: // just before the end
		return r, nil
	default:
		return twinResponse{}, context.Cause(link.Context())
	}
}

// checkTwinResponse makes an error of a response outside 2xx. The hub has accepted the connection,
// so whatever it refuses about a twin operation, it knows the device: all but throttling and a
// failure of the hub's own is the caller's fault.
func (c *Conn) checkTwinResponse(op string, response twinResponse) error {
	if response.status/100 == 2 {
		return nil
	}
	r := parseRefusal(response.status, "", response.body)
	e := &Error{
		Op: op, Hub: c.hub, Class: Caller, Status: response.status, Wait: response.wait,
		Code: r.code, Name: r.name, Message: r.message, TrackingID: r.trackingID,
	}
	switch class := codeClass(r.code); {
	case response.status == 429:
		e.Class = Throttled
	case response.status/100 == 5:
		e.Class = Server
	case class == Server || class == Throttled:
		e.Class = class
	}
	return e
}
