// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/mqttserver"
	"github.com/rehome-iot/rehome/internal/oneline"
)

// client is one connection. What it has under way is bounded in bytes: own by itself, room together
// with all others.
type client struct {
	*MQTT
	room, own *semaphore.Weighted
	id        string
	refused   string // why its CONNECT was refused
	paused    bool   // it was kept waiting before its end

	some chan struct{} // has a value when something waits

	mu      sync.Mutex
	waiting []*arrival // in the order in which they came
	held    int64      // what it has of room
}

// arrival is a message that waits to be kept.
type arrival struct {
	incoming *mqttserver.Incoming
	device   string
	lane     Lane
	message  hubconn.Message
	size     int64
	// err is why it is not kept: from the beginning where it is no message at all.
	err error
}

// Connect implements mqttserver.Handler.
func (c *client) Connect(
	_ context.Context, _ *mqttserver.Session, connect *mqttserver.Connect,
) (mqttserver.Connack, error) {
	c.id = oneline.Of(connect.ClientID, shownID)
	if c.Token != "" && subtle.ConstantTimeCompare(connect.Password, []byte(c.Token)) != 1 {
		c.refused = "its password is not the token"
		return mqttserver.Connack{ReturnCode: mqttserver.BadCredentials}, nil
	}
	return mqttserver.Connack{}, nil
}

// Connected implements mqttserver.Handler. Nothing of size is made before it.
func (c *client) Connected(_ context.Context, s *mqttserver.Session) error {
	c.own, c.some = semaphore.NewWeighted(underWay), make(chan struct{}, 1)
	s.Go(c.keepAll)
	return nil
}

// Publish implements mqttserver.Handler. The order of messages is that in which it is called. One
// that cannot be taken ends the connection in its turn, when those before it are acknowledged.
func (c *client) Publish(
	ctx context.Context, _ *mqttserver.Session, m *mqttserver.Incoming,
) error {
	m.Withhold()
	a := &arrival{incoming: m, size: int64(perMessage + len(m.Topic) + len(m.Payload))}
	a.device, a.lane, a.message, a.err = parseTopic(m.Topic)
	a.message.Body = m.Payload
	return c.enqueue(ctx, a)
}

// Broken implements mqttserver.Breaker: what breaks the protocol has its turn as well.
func (c *client) Broken(ctx context.Context, _ *mqttserver.Session, err error) {
	status := http.StatusBadRequest
	if errors.Is(err, mqttserver.ErrTooLarge) {
		status = http.StatusRequestEntityTooLarge
	}
	a := &arrival{err: refused(status, "%v", err)}
	if c.enqueue(ctx, a) == nil {
		<-ctx.Done() // by that refusal
	}
}

// enqueue waits for room for a message, and has it kept in its turn.
func (c *client) enqueue(ctx context.Context, a *arrival) error {
	if c.own.Acquire(ctx, a.size) != nil || c.room.Acquire(ctx, a.size) != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	c.held += a.size
	c.waiting = append(c.waiting, a)
	c.mu.Unlock()
	select {
	case c.some <- struct{}{}:
	default: // it has one
	}
	return nil
}

// take takes all that waits.
func (c *client) take() (batch []*arrival) {
	c.mu.Lock()
	defer c.mu.Unlock()
	batch, c.waiting = c.waiting, nil
	return batch
}

// release makes room for others: what is left of a message is its acknowledgement.
func (c *client) release(batch []*arrival) {
	size := int64(0)
	for _, a := range batch {
		size += a.size
		a.message = hubconn.Message{}
		if a.incoming != nil {
			a.incoming.Payload = nil
		}
	}
	c.mu.Lock()
	c.held -= size
	c.mu.Unlock()
	c.room.Release(size)
	c.own.Release(size)
}

// closeReason says why the gateway has ended the connection; empty: it has not.
func (c *client) closeReason(err error) string {
	refusal, ok := errors.AsType[*Refusal](err)
	switch {
	case ok:
		return refusal.Text
	case errors.Is(err, mqttserver.ErrRefused) && c.refused != "":
		return c.refused
	case errors.Is(err, mqttserver.ErrRefused):
		return "it does not speak mqtt 3.1.1"
	case errors.Is(err, mqttserver.ErrMalformed), errors.Is(err, mqttserver.ErrTooLarge):
		return err.Error()
	}
	return ""
}

// Subscribe implements mqttserver.Handler.
func (c *client) Subscribe(
	_ context.Context, _ *mqttserver.Session, r *mqttserver.Subscribe,
) error {
	codes := make([]byte, len(r.Filters))
	for i := range codes {
		codes[i] = mqttserver.SubscribeFailure
	}
	return r.Reply(codes...)
}

// Unsubscribe implements mqttserver.Handler.
func (c *client) Unsubscribe(context.Context, *mqttserver.Session, []string) error { return nil }

// Disconnected implements mqttserver.Handler.
func (c *client) Disconnected(*mqttserver.Session, error) {}
