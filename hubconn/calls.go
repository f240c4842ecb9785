// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"strings"
	"sync"
	"time"
)

// callQueue is how many calls of methods wait for a handler to be free; as many again wait for
// being refused. Any more get no response, and their callers time out.
const callQueue = 64

// call is one call of a direct method.
type call struct {
	name    string
	id      string // as it came: it goes back so
	payload []byte
	arrived time.Time
}

// parseCall reads a call by its topic: $iothub/methods/POST/{name}/?$rid={id}.
func parseCall(topic string, payload []byte, now time.Time) (call, bool) {
	name, query, ok := strings.Cut(strings.TrimPrefix(topic, methodCalls), "/")
	c := call{name: unescape(name), arrived: now}
	if len(payload) > 0 {
		c.payload = payload // else nil: an empty json.RawMessage does not encode
	}
	parameters(query, func(name, value string) {
		if name == "$rid" {
			c.id = value
		}
	})
	return c, ok && c.name != "" && c.id != ""
}

// The hub keeps the subscriptions of a device's session: it may call a device that has connected
// again before the program has come to HandleMethods. A few such calls wait for that, no longer
// than every caller waits for a response (Azure docs: "Understand and invoke direct methods from
// IoT Hub": 5 s at least): a late one would be carried out though its caller was told that it was
// not.
const (
	earlyCalls = 8
	earlyFor   = 5 * time.Second
)

// calls are those on their way to HandleMethods.
type calls struct {
	mu      sync.Mutex
	early   chan call // the last few while no HandleMethods runs; nil: there were none
	waiting chan call
	refused chan call
}

func (c *calls) claim() (waiting, refused <-chan call, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting != nil {
		return nil, nil, false
	}
	c.waiting, c.refused = make(chan call, callQueue), make(chan call, callQueue)
	for len(c.early) > 0 {
		if one := <-c.early; time.Since(one.arrived) < earlyFor {
			c.waiting <- one
		}
	}
	c.early = nil
	return c.waiting, c.refused, true
}

func (c *calls) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting, c.refused = nil, nil
}

func (c *calls) push(one call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		if c.early == nil {
			c.early = make(chan call, earlyCalls)
		}
		if len(c.early) == earlyCalls {
			<-c.early
		}
		c.early <- one
		return
	}
	select {
	case c.waiting <- one:
		return
	default:
	}
	one.payload = nil
	select {
	case c.refused <- one:
	default:
	}
}
