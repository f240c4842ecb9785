// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
)

// Publish sends a message and returns at its PUBACK (QoS 1) or once it is written (QoS 0). It waits
// while MaxInFlight messages are in flight, or 256 KiB of them are not yet written: then those that
// came first go first. A *LostError or ctx's cause means that the server may or may not have the
// message.
func (c *Conn) Publish(ctx context.Context, topic string, qos byte, payload []byte) error {
	wanted, err := newMessage(topic, qos, payload)
	if err != nil {
		return err
	}
	return c.tap.do(ctx, wanted)
}

func newMessage(topic string, qos byte, payload []byte) (request, error) {
	switch {
	case qos > 1:
		return request{}, fmt.Errorf("mqtt: QoS %d is not supported", qos)
	case topic == "" || len(topic) > maxString || strings.ContainsAny(topic, "+#\x00"):
		return request{}, fmt.Errorf(
			"mqtt: topic name of %d bytes is empty, too long or has a wildcard", len(topic),
		)
	case len(payload) > maxPublish:
		return request{}, fmt.Errorf("mqtt: payload of %d bytes is too long", len(payload))
	}
	return request{
		places: 1, size: publishLen(topic, qos, payload), topic: topic, qos: qos, payload: payload,
	}, nil
}

// Drain waits until no message is in flight, and returns nil then; or the connection's or ctx's
// end. Messages published meanwhile wait behind it.
func (c *Conn) Drain(ctx context.Context) error {
	return c.tap.do(ctx, request{places: c.tap.window.limit})
}

// do serves a request when its turn has come, and waits for its end.
func (t *tap) do(ctx context.Context, wanted request) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r := t.newRequest(wanted)
	err := t.enqueue(r)
	if err == nil {
		err = t.await(ctx, r)
	}
	t.recycle(r)
	return err
}

func (t *tap) newRequest(wanted request) *request {
	r := t.requests.Get().(*request)
	wanted.done = r.done
	*r = wanted
	return r
}

func (t *tap) recycle(r *request) {
	*r = request{done: r.done} // it keeps nothing of the caller's
	t.requests.Put(r)
}

// enqueue gives a request its turn; it fails once the connection has ended.
func (t *tap) enqueue(r *request) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return &LostError{Err: t.err}
	}
	if r.order != nil && r.order.over {
		return errOrderOver
	}
	t.window.enqueue(r)
	t.grant()
	return nil
}

// await waits for a request's end.
func (t *tap) await(ctx context.Context, r *request) error {
	select {
	case <-r.done:
		return r.result()
	case <-ctx.Done():
	case <-t.ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case r.queued:
		t.window.dequeue(r)
		if r.order != nil {
			t.endOrder(r.order)
		}
		t.grant() // those behind it
	case r.slot != nil && r.slot.request == r:
		r.slot.request = nil // the message keeps its place until its end
	default: // finished just now
		<-r.done
		return r.result()
	}
	if t.err != nil {
		return &LostError{Err: t.err}
	}
	return context.Cause(ctx)
}

// grant serves those whose turn has come; mu is held. Their packets are made here, and not by those
// who wait: so they leave in order.
func (t *tap) grant() {
	w := &t.window
	for w.first != nil && t.err == nil && w.fits(w.first, t.load()) {
		r := w.first
		w.dequeue(r)
		if r.size == 0 {
			r.done <- struct{}{}
			continue
		}
		r.slot = w.open(r, t.outstanding)
		before := len(t.pending)
		t.pending = appendPublish(t.pending, r.topic, r.qos, r.slot.id, r.payload)
		t.queued += uint64(len(t.pending) - before)
		r.slot.end = t.queued
		w.sent(r.slot)
		t.wake()
	}
}

// outstanding reports whether a subscription of Paho's uses a packet identifier; mu is held.
func (t *tap) outstanding(id uint16) bool {
	for _, q := range t.asked {
		if q.id == id {
			return true
		}
	}
	return false
}

// publishLen is the length of a PUBLISH (MQTT 3.1.1 §3.3).
func publishLen(topic string, qos byte, payload []byte) int {
	n := remaining(topic, qos, payload)
	digits := 1
	for rest := n >> 7; rest > 0; rest >>= 7 {
		digits++
	}
	return 1 + digits + n
}

func remaining(topic string, qos byte, payload []byte) int {
	return 2 + len(topic) + 2*int(qos) + len(payload)
}

func appendPublish(b []byte, topic string, qos byte, id uint16, payload []byte) []byte {
	b = append(b, typePublish<<4|qos<<1)
	n := remaining(topic, qos, payload)
	for ; n > 0x7f; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	b = append(b, byte(n))
	b = binary.BigEndian.AppendUint16(b, uint16(len(topic)))
	b = append(b, topic...)
	if qos > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	return append(b, payload...)
}
