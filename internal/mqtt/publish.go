package mqtt

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// keepPayload is the largest payload whose memory a slot keeps for the next.
const keepPayload = 16 << 10

// slot is a place in the window of messages in flight, with what a message needs while it is there.
// It lives as long as the connection, so that a message costs no more memory than Paho's own.
type slot struct {
	payload []byte
	// when its PUBACK began to be waited for, in nanoseconds from Conn.start; 0: it is not
	since atomic.Int64
}

// copy keeps a copy of the payload: the message outlives the call when ctx ends that.
func (s *slot) copy(payload []byte) []byte {
	if cap(s.payload) > keepPayload {
		s.payload = nil
	}
	s.payload = append(s.payload[:0], payload...)
	return s.payload
}

// Publish sends a message and returns at its PUBACK (QoS 1) or once it is written (QoS 0). It waits
// while MaxInFlight messages are in flight, or 256 KiB of them are not yet written. A *LostError or
// ctx's cause means that the server may or may not have the message.
func (c *Conn) Publish(ctx context.Context, topic string, qos byte, payload []byte) error {
	switch {
	case qos > 1:
		return fmt.Errorf("mqtt: QoS %d is not supported", qos)
	case topic == "" || len(topic) > maxString || strings.ContainsAny(topic, "+#\x00"):
		return fmt.Errorf(
			"mqtt: topic name of %d bytes is empty, too long or has a wildcard", len(topic),
		)
	case len(payload) > maxPublish:
		return fmt.Errorf("mqtt: payload of %d bytes is too long", len(payload))
	}
	s, err := c.acquire(ctx)
	if err != nil {
		return err
	}
	size := len(topic) + len(payload) + 1
	if err := c.tap.enter(ctx, size); err != nil {
		c.slots <- s
		return err
	}
	token := c.client.Publish(topic, qos, false, s.copy(payload))
	c.tap.leave(size)
	if qos > 0 && c.options.AckTimeout > 0 {
		s.since.Store(int64(time.Since(c.start)))
		c.watch()
	}
	return c.finish(ctx, s, token, qos)
}

// finish waits for a message's end and frees its slot then, even if ctx ends first.
func (c *Conn) finish(ctx context.Context, s *slot, token paho.Token, qos byte) error {
	select {
	case <-token.Done():
	case <-c.tap.ctx.Done():
	case <-ctx.Done():
		if c.tap.flow() {
			go func() {
				defer c.tap.flows.Done()
				_ = c.finish(context.Background(), s, token, qos)
			}()
			return context.Cause(ctx)
		}
	}
	s.since.Store(0)
	err := c.outcome(token)
	c.slots <- s
	if err == nil && qos == 0 {
		return c.tap.flushed(ctx)
	}
	return err
}

// watch sets the timer for the oldest message in flight, unless it is set: one timer serves all,
// since all have the same time. It runs on when there is none left, once.
func (c *Conn) watch() {
	if c.watching.CompareAndSwap(false, true) {
		c.overdue.Reset(c.options.AckTimeout)
	}
}

// check is what the timer does: end the connection, or look again when the oldest message's time
// would be up.
func (c *Conn) check() {
	c.watching.Store(false)
	if c.tap.ctx.Err() != nil {
		return
	}
	oldest := int64(0)
	for _, s := range c.window {
		if since := s.since.Load(); since != 0 && (oldest == 0 || since < oldest) {
			oldest = since
		}
	}
	if oldest == 0 {
		return
	}
	left := c.options.AckTimeout - (time.Since(c.start) - time.Duration(oldest))
	if left <= 0 {
		c.tap.fail(&TimeoutError{For: "acknowledgement", After: c.options.AckTimeout})
		return
	}
	if c.watching.CompareAndSwap(false, true) {
		c.overdue.Reset(left)
	}
}

// Drain waits until no message is in flight, and returns nil then; or the connection's or ctx's
// end. Messages published meanwhile are waited for too.
func (c *Conn) Drain(ctx context.Context) error {
	for range cap(c.slots) {
		s, err := c.acquire(ctx)
		if err != nil {
			return err
		}
		defer func() { c.slots <- s }()
	}
	return nil
}

func (c *Conn) acquire(ctx context.Context) (*slot, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case s := <-c.slots:
		return s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.tap.ctx.Done():
		return nil, &LostError{Err: c.tap.cause()}
	}
}
