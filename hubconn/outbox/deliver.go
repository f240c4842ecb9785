// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// readAgain is after how long a file that could not be read is read again.
const readAgain = 10 * time.Second

// Deliver delivers what is kept, and what comes, over a connection, until that or ctx has ended,
// and returns the cause of that. It is a session of a Device as it is, or a part of one:
//
//	err := dev.Run(ctx, box.Deliver)
//
// Alarms go first; each lane is delivered in its order, with InFlight messages under way. When a
// connection ends, the next one, to whichever hub, begins with the oldest message that was not
// acknowledged, and sends all that come after it again: so a hub sees each message of a lane for
// the first time after those before it, and some of them more than once, with the same MessageID.
//
// A message that the hub's client refuses (class hubconn.Caller) is dropped, counted and told to
// the Logger; what comes behind it goes on. A file that cannot be read is read again after 10 s. Of
// several calls the first delivers, and the others wait for its end.
func (o *Outbox) Deliver(ctx context.Context, hub *hubconn.Conn) error {
	select {
	case o.turn <- struct{}{}:
		defer func() { <-o.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-hub.Context().Done():
		return context.Cause(hub.Context())
	}
	// Both, whichever context the caller has.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(hub.Context(), func() { cancel(context.Cause(hub.Context())) })()
	for {
		sequence, err := hub.Sequence(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		}
		if err := o.deliver(ctx, sequence); errors.Is(err, ErrClosed) {
			return err
		}
	}
}

// delivery is one pass over the lanes, from their oldest messages on.
type delivery struct {
	box      *Outbox
	ctx      context.Context // ends with the pass
	cancel   context.CancelCauseFunc
	sequence *hubconn.Sequence
	room     chan struct{} // holds one for each message in flight
	waiting  sync.WaitGroup
	ahead    [lanes]ahead
}

// deliver sends until the sequence has ended, and returns why.
func (o *Outbox) deliver(ctx context.Context, sequence *hubconn.Sequence) error {
	d := &delivery{
		box: o, sequence: sequence, room: make(chan struct{}, o.file.options.InFlight),
	}
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	defer d.cancel(nil)
	defer d.waiting.Wait() // after cancel: each has what it waits for
	for {
		select {
		case d.room <- struct{}{}:
		case <-d.ctx.Done():
			return context.Cause(d.ctx)
		}
		m, err := d.next()
		if err != nil {
			d.cancel(err)
			return err
		}
		if err := d.send(m); err != nil {
			d.cancel(err)
			return err
		}
	}
}

// next waits for a message to send, and marks it as in flight.
func (d *delivery) next() (message, error) {
	for {
		for l := range lane(lanes) {
			m, ok, err := d.take(l)
			switch {
			case errors.Is(err, ErrClosed):
				return m, err
			case err != nil:
				d.box.file.options.Logger.Warn("outbox not read",
					slog.String("device", d.box.device),
					slog.String("detail", d.box.fail("read", err).Error()))
				if err := d.pause(readAgain); err != nil {
					return m, err
				}
			case ok:
				return m, nil
			}
		}
		select {
		case <-d.box.arrived:
		case <-d.box.file.closing:
			return message{}, d.box.fail("read", ErrClosed)
		case <-d.ctx.Done():
			return message{}, context.Cause(d.ctx)
		}
	}
}

func (d *delivery) pause(t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-d.ctx.Done():
		return context.Cause(d.ctx)
	}
}

// send gives a message its place. The error is the end of the sequence.
func (d *delivery) send(m message) error {
	sending, err := d.sequence.Send(m.Message)
	if hubconn.ClassOf(err) == hubconn.Caller && err != nil {
		d.box.discard(m.lane, m.sequence, m.size, refused, m.MessageID)
		<-d.room
		return nil
	}
	if err != nil {
		d.box.putBack(m, false)
		return err
	}
	d.waiting.Go(func() {
		if err := sending.Wait(d.ctx); err != nil {
			d.box.putBack(m, true)
			d.cancel(err)
		} else {
			d.box.acknowledge(m.lane, m.sequence, m.size)
		}
		<-d.room
	})
	return nil
}

// putBack notes that a message is not in flight any more; sent says that the hub may have it.
func (o *Outbox) putBack(m message, sent bool) {
	o.file.mu.Lock()
	defer o.file.mu.Unlock()
	l := &o.lanes[m.lane]
	if l.isInFlight(m.sequence) { // it has not given way meanwhile
		delete(l.inFlight, m.sequence)
		if sent {
			l.unsure[m.sequence] = struct{}{}
		}
	}
}
