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

// calls are those on their way to HandleMethods. While no HandleMethods runs they are dropped.
type calls struct {
	mu      sync.Mutex
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
