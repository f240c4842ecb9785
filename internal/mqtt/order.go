// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"context"
	"errors"
)

// errOrderOver is why a message that has to come after another one is not sent.
var errOrderOver = errors.New("mqtt: a message before it was not sent")

// An Order is messages of which none is sent before those that were started before it: one
// goroutine has several of them in flight. When the wait for one of them is given up before it is
// sent, those behind it are not sent either, and the order is over. Other messages of the
// connection go in between.
type Order struct {
	tap  *tap
	over bool // guarded by the tap's lock
}

// NewOrder begins an order.
func (c *Conn) NewOrder() *Order { return &Order{tap: c.tap} }

// Publication is a message that has its turn among the others of its connection.
type Publication struct {
	tap     *tap
	request *request
}

// Start is the first half of Publish: it returns when the message has its turn, behind those that
// came first. The payload is the connection's until Wait has returned. The error is that of the
// arguments, a *LostError, or that the order is over: then the message was not sent.
func (o *Order) Start(topic string, qos byte, payload []byte) (Publication, error) {
	wanted, err := newMessage(topic, qos, payload)
	if err != nil {
		return Publication{}, err
	}
	wanted.order = o
	r := o.tap.newRequest(wanted)
	if err := o.tap.enqueue(r); err != nil {
		o.tap.recycle(r)
		return Publication{}, err
	}
	return Publication{o.tap, r}, nil
}

// Wait is the second half of Publish. It is called once.
func (p Publication) Wait(ctx context.Context) error {
	err := p.tap.await(ctx, p.request)
	p.tap.recycle(p.request)
	return err
}

// endOrder takes out of the queue what must not be sent any more; mu is held.
func (t *tap) endOrder(o *Order) {
	o.over = true
	for r := t.window.first; r != nil; {
		next := r.next
		if r.order == o {
			t.window.dequeue(r)
			r.withdrawn = true
			r.done <- struct{}{}
		}
		r = next
	}
}

// result is what came of a request that is done.
func (r *request) result() error {
	if r.withdrawn {
		return errOrderOver
	}
	return nil
}
