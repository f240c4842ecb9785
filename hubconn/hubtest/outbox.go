// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"context"
	"errors"
	"time"

	"github.com/rehome-iot/rehome/internal/mqttserver"
)

// maxOutbox is how many messages may wait for a device that does not read.
const maxOutbox = 10_000

var errSlow = errors.New("device does not read its messages")

// outgoing is a message on its way to the device.
type outgoing struct {
	stage   Stage // the faults it may meet; 0: none
	message mqttserver.Message
	c2d     *queuedC2D // nil: not from the queue
	acked   func()     // called at the PUBACK; nil: nobody wants to know
}

// post puts a message behind those that wait. It never blocks: the hub's lock may be held.
func (l *link) post(o outgoing) {
	l.mu.Lock()
	full := len(l.outbox) >= maxOutbox
	if !full {
		l.outbox = append(l.outbox, o)
	}
	l.mu.Unlock()
	if full {
		l.session.Close(errSlow)
		return
	}
	l.wake()
}

// wake lets deliver look for work. A nil link is no connection.
func (l *link) wake() {
	if l == nil {
		return
	}
	select {
	case l.work <- struct{}{}:
	default: // it will look anyway
	}
}

// deliver sends what waits for the device, in order, until the connection ends.
func (l *link) deliver(ctx context.Context) error {
	for {
		unlock := time.Time{}
		for {
			o, next, ok := l.next()
			if !ok {
				unlock = next
				break
			}
			if err := l.send(ctx, o); err != nil {
				return err
			}
		}
		if err := l.sleep(ctx, unlock); err != nil {
			return nil
		}
	}
}

// sleep waits for work, for a lock in the device's queue to end, or for the connection's end.
func (l *link) sleep(ctx context.Context, unlock time.Time) error {
	var ended <-chan time.Time
	if !unlock.IsZero() {
		t := time.NewTimer(unlock.Sub(l.hub.network.Now()))
		defer t.Stop()
		ended = t.C
	}
	select {
	case <-l.work:
	case <-ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// next returns what to send next: what is posted goes before the queue of messages. Without any, it
// tells when a lock will end.
func (l *link) next() (o outgoing, unlock time.Time, ok bool) {
	l.mu.Lock()
	if len(l.outbox) > 0 && !l.paused {
		o, l.outbox = l.outbox[0], l.outbox[1:]
		l.mu.Unlock()
		return o, unlock, true
	}
	l.mu.Unlock()

	h, now := l.hub, l.hub.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.devices[l.id]
	if r == nil || h.links[l.id] != l || l.session.Context().Err() != nil {
		return o, unlock, false
	}
	var qos byte
	fits := func(c *queuedC2D) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		var fit bool
		qos, fit = c2dFilter(l.id, &c.C2D, l.subscriptions)
		return fit && !l.paused
	}
	c := h.lockNext(r, fits, l, time.Time{}, now)
	if c == nil {
		return o, r.nextUnlock(), false
	}
	o = outgoing{stage: DeliverC2D, c2d: c, message: mqttserver.Message{
		Topic: c2dTopic(l.id, &c.C2D), Payload: c.Body, QoS: qos, Duplicate: c.again && qos > 0,
	}}
	c.again = true
	if qos == 0 {
		h.finish(r, c, OutcomeSuccess, now) // no acknowledgement will tell
	}
	return o, unlock, true
}

// send writes one message, unless a fault has it.
func (l *link) send(ctx context.Context, o outgoing) error {
	if o.stage != 0 {
		if f, ok := l.hub.strike(o.stage, l.id); ok {
			if err := l.applyFault(ctx, f); err != nil || f.NoAnswer {
				return err
			}
		}
	}
	_, err := l.session.PublishFunc(ctx, o.message, func() {
		l.complete(o.c2d)
		if o.acked != nil {
			o.acked()
		}
	})
	return err
}

// complete takes a message off its queue: its PUBACK has arrived.
func (l *link) complete(c *queuedC2D) {
	h, now := l.hub, l.hub.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.devices[l.id]; r != nil && c != nil && c.holder == l {
		h.finish(r, c, OutcomeSuccess, now)
	}
}
