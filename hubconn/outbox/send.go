// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"context"
	"fmt"
	"slices"

	"github.com/rehome-iot/rehome/hubconn"
)

// A put is the messages of one call of Send, which one commit keeps together; or a call of Clear.
type put struct {
	box     *Outbox
	lane    lane
	records [][]byte
	size    int64 // of all, with their keys
	clears  bool
	done    chan struct{}
	err     error
}

// Send keeps telemetry, all of the messages or none, and returns when they are on the medium: they
// are delivered in their order, over outages and restarts, whatever becomes of this process. It
// takes Interval at most, and the time of a commit; many calls at once, and many messages in one,
// share it.
//
// A MessageID is kept. A message without one is delivered with an ID of the outbox's own, the same
// each time, so that a back end can tell a duplicate. Set CreationTime where it matters when
// something was measured: the hub's own time is that of the delivery.
//
// The error is an *Error. A message that no hub would take is refused, of class hubconn.Caller;
// with DropNewest a full lane refuses as well, with ErrFull. After any other error, that of ctx
// included, the messages may or may not be kept: the disk is full or does not answer. Send is done
// with the messages when it returns.
func (o *Outbox) Send(ctx context.Context, messages ...hubconn.Message) error {
	return o.keep(ctx, telemetry, messages)
}

// SendAlarm is Send for what goes before all telemetry that is kept. Alarms are delivered in their
// own order. Telemetry that is in flight already, InFlight messages at most, may arrive before.
func (o *Outbox) SendAlarm(ctx context.Context, messages ...hubconn.Message) error {
	return o.keep(ctx, alarms, messages)
}

func (o *Outbox) keep(ctx context.Context, lane lane, messages []hubconn.Message) error {
	p, err := o.newPut(lane, messages)
	if err != nil || len(messages) == 0 {
		return err
	}
	return o.await(ctx, "send", p)
}

// await has the next commit do what p says, and waits for that.
func (o *Outbox) await(ctx context.Context, op string, p *put) error {
	if ctx.Err() != nil {
		return o.fail(op, context.Cause(ctx))
	}
	if err := o.file.enqueue(p); err != nil {
		return o.fail(op, err)
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		if o.file.withdraw(p) {
			return o.fail(op, fmt.Errorf("not done: %w", context.Cause(ctx)))
		}
		select {
		case <-p.done: // just now
		default:
			return o.fail(op, fmt.Errorf("it may or may not be done: %w", context.Cause(ctx)))
		}
	}
	if p.err != nil {
		return o.fail(op, p.err)
	}
	return nil
}

// newPut checks messages and makes their records.
func (o *Outbox) newPut(lane lane, messages []hubconn.Message) (*put, error) {
	p := &put{box: o, lane: lane, done: make(chan struct{})}
	now := o.file.now()
	for _, m := range messages {
		// As a module's, which has an Output: whose message it is shows at the delivery.
		sent := m
		if sent.MessageID == "" {
			sent.MessageID = messageID(o.file.id, 1<<63)
		}
		if err := sent.Check(hubconn.Hub{DeviceID: o.device, ModuleID: "-"}); err != nil {
			return nil, o.fail("send", err)
		}
		record := encode(&m, now)
		p.records = append(p.records, record)
		p.size += int64(keySize + len(record))
	}
	if limit := o.limit(lane); p.size > limit {
		return nil, o.fail("send", fmt.Errorf(
			"%w: %d bytes are more than the %d that a lane holds", ErrFull, p.size, limit,
		))
	}
	return p, nil
}

func (o *Outbox) fail(op string, err error) error {
	return explained(op, o.file.path, o.device, err)
}

// limit is how many bytes a lane may hold.
func (o *Outbox) limit(lane lane) int64 {
	if lane == alarms {
		return o.file.options.MaxAlarmBytes
	}
	return o.file.options.MaxBytes
}

// enqueue has the next commit keep messages.
func (f *File) enqueue(p *put) error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return ErrClosed
	}
	l := &p.box.lanes[p.lane]
	if f.options.Full == DropNewest && l.bytes+l.pending+p.size > p.box.limit(p.lane) {
		tell := p.box.drop(full, uint64(len(p.records)))
		f.mu.Unlock()
		tell("")
		return fmt.Errorf("%w: it holds %d bytes", ErrFull, p.box.limit(p.lane))
	}
	l.pending += p.size
	f.pending = append(f.pending, p)
	f.mu.Unlock()
	f.wakeUp()
	return nil
}

// withdraw takes messages back, unless a commit has them.
func (f *File) withdraw(p *put) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.Index(f.pending, p)
	if i < 0 {
		return false
	}
	f.pending = slices.Delete(f.pending, i, i+1)
	p.box.lanes[p.lane].pending -= p.size
	return true
}
