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

// twinTimeout is how long the answer to a twin operation may take: the hub sends it at QoS 0, so it can get lost.
const twinTimeout = 30 * time.Second

// twinPatience spaces the repetitions of a twin operation that the hub has no room for.
var twinPatience = retry.Policy{MaxDelay: 5 * time.Minute}

// answer is the hub's answer to a twin operation.
type answer struct {
	id      string
	status  int
	version int64 // of the properties that were changed; 0: not said
	wait    time.Duration
	body    []byte
}

// parseAnswer reads an answer by its topic: $iothub/twin/res/{status}/?$rid={id}&$version={version}.
func parseAnswer(topic string, body []byte) (answer, bool) {
	status, query, _ := strings.Cut(strings.TrimPrefix(topic, twinAnswers), "/")
	a := answer{body: body}
	var err error
	if a.status, err = strconv.Atoi(status); err != nil || a.status < 100 || a.status > 999 {
		return a, false
	}
	parameters(query, func(name, value string) {
		switch name {
		case "$rid":
			a.id = unescape(value)
		case "$version":
			a.version = parseVersion(value)
		case "retry-after":
			a.wait, _ = retry.ParseRetryAfter(unescape(value), time.Time{})
		}
	})
	return a, a.id != ""
}

// parseVersion reads a version of properties; 0 is none.
func parseVersion(s string) int64 {
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < 0 {
		return 0
	}
	return v
}

// answers knows who waits for which answer. An answer that nobody waits for, or no more, is dropped.
type answers struct {
	mu      sync.Mutex
	last    uint64
	pending map[string]chan answer
}

// expect names a new request, and makes room for its answer.
func (a *answers) expect() (id string, arrived <-chan answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pending == nil {
		a.pending = map[string]chan answer{}
	}
	a.last++
	id = strconv.FormatUint(a.last, 16)
	c := make(chan answer, 1)
	a.pending[id] = c
	return id, c
}

func (a *answers) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pending, id)
}

func (a *answers) deliver(an answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, ok := a.pending[an.id]; ok {
		delete(a.pending, an.id)
		c <- an // has room for one
	}
}

// ask does a twin operation: it publishes a request and returns the hub's answer to it. 429 is waited out within ctx; any other
// refusal is an *Error, and the connection stays. When a renewal takes the link away, it asks again over the next one.
func (c *Conn) ask(ctx context.Context, op, topic string, body []byte) (answer, error) {
	if err := c.subscribe(ctx, op, toTwinAnswers); err != nil {
		return answer{}, err // an answer would not come
	}
	for n := 1; ; n++ {
		a, err := c.askOnce(ctx, op, topic, body)
		e, failed := errors.AsType[*Error](err)
		if !failed || e.Class != Throttled || c.ctx.Err() != nil {
			return a, err
		}
		if over := c.pause(ctx, op, twinPatience.Delay(n, e.RetryAfter(), rand.Float64())); over != nil {
			if c.ctx.Err() != nil {
				return answer{}, over
			}
			throttled := *e // tells more than that the time is up
			throttled.Err = context.Cause(ctx)
			return answer{}, &throttled
		}
	}
}

func (c *Conn) askOnce(ctx context.Context, op, topic string, body []byte) (answer, error) {
	for {
		link, changed := c.current()
		if link != nil {
			id, arrived := c.answers.expect()
			a, err := c.exchange(ctx, link, topic+"?$rid="+id, body, arrived)
			c.answers.forget(id)
			switch {
			case err == nil:
				return a, c.judge(op, a)
			case link.Context().Err() == nil:
				return a, classify(op, c.hub, err)
			}
		}
		if err := c.await(ctx, op, changed); err != nil {
			return answer{}, err
		}
	}
}

// publisher is a link, as far as an exchange needs it.
type publisher interface {
	Publish(ctx context.Context, topic string, qos byte, payload []byte) error
	Context() context.Context
}

// exchange publishes at QoS 0, since the answer acknowledges it, and waits for the answer.
func (c *Conn) exchange(ctx context.Context, link publisher, topic string, body []byte, arrived <-chan answer) (answer, error) {
	if err := link.Publish(ctx, topic, 0, body); err != nil {
		return answer{}, err
	}
	timer := time.NewTimer(twinTimeout)
	defer timer.Stop()
	select {
	case a := <-arrived:
		return a, nil
	case <-timer.C:
		return answer{}, fmt.Errorf("no answer within %v: %w", twinTimeout, os.ErrDeadlineExceeded)
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	case <-link.Context().Done():
	}
	select {
	case a := <-arrived: // just before the end
		return a, nil
	default:
		return answer{}, context.Cause(link.Context())
	}
}

// judge makes an error of an answer outside 2xx. Whatever the hub dislikes about a twin operation, it knows the device: it has
// let it in. So nothing but throttling and trouble of its own is more than the caller's fault.
func (c *Conn) judge(op string, a answer) error {
	if a.status/100 == 2 {
		return nil
	}
	r := parseRefusal(a.status, "", a.body)
	e := &Error{
		Op: op, Hub: c.hub, Class: Caller, Status: a.status, Wait: a.wait,
		Code: r.code, Name: r.name, Message: r.message, TrackingID: r.trackingID,
	}
	switch class := codeClass(r.code); {
	case a.status == 429:
		e.Class = Throttled
	case a.status/100 == 5:
		e.Class = Server
	case class == Server || class == Throttled:
		e.Class = class
	}
	return e
}
