// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"context"

	"github.com/rehome-iot/rehome/hubconn"
)

// HandOver gives what is kept to somebody else who delivers it: to the process that the device has
// moved to. It calls take with some messages of one lane at a time, alarms first and each lane in
// its order, and removes them when take has returned nil, which says that they are kept there. Each
// has the MessageID that it would be delivered with.
//
// It returns nil when nothing is left, the error of take, after which all that it was called with
// stay, the cause of ctx, or an *Error. Stats.Resent counts those that stay when they are delivered
// after all, whether take has given them to anybody or not. What take has kept and not told of, as
// in a kill, is given to it again, or delivered; so is what it has told of up to a minute before a
// kill, since removals wait that long for a commit that keeps something. HandOver waits for the end
// of a Deliver that is under way, and a Deliver for its end.
func (o *Outbox) HandOver(
	ctx context.Context,
	take func(ctx context.Context, alarm bool, messages []hubconn.Message) error,
) error {
	select {
	case o.turn <- struct{}{}:
		defer func() { <-o.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	d := &delivery{box: o}
	for ctx.Err() == nil {
		kept, err := d.takeSome()
		if err == nil && len(kept) == 0 {
			return nil
		}
		if err == nil {
			messages := make([]hubconn.Message, len(kept))
			for i := range kept {
				messages[i] = kept[i].Message
			}
			err = take(ctx, kept[0].lane == alarms, messages)
		}
		if err != nil {
			for _, m := range kept {
				o.putBack(m, true)
			}
			return err
		}
		for _, m := range kept {
			o.handedOver(m)
		}
	}
	return context.Cause(ctx)
}

// takeSome takes what fits into one call, of the first lane that has something.
func (d *delivery) takeSome() (kept []message, err error) {
	size := int64(0)
	for l := range lane(lanes) {
		for len(kept) < aheadMessages && size < aheadBytes {
			m, ok, err := d.take(l)
			if err != nil {
				return kept, d.box.fail("read", err)
			}
			if !ok {
				break
			}
			kept, size = append(kept, m), size+m.size
		}
		if len(kept) > 0 {
			break
		}
	}
	return kept, nil
}

// handedOver notes that somebody else has a message.
func (o *Outbox) handedOver(m message) {
	o.file.mu.Lock()
	defer o.file.mu.Unlock()
	o.stats.HandedOver++
	o.remove(m.lane, m.sequence, m.size)
}
