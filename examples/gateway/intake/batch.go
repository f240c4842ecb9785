// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// keptAtOnce is how many bytes of one device are kept together at most. All of such a part are kept
// or none, so that it fits the smallest lane, and a request to another replica.
const keptAtOnce = 256 << 10

// place is what has an order of its own.
type place struct {
	device string
	lane   Lane
}

// place is that of a message: letter case makes no other device.
func (a *arrival) place() place { return place{strings.ToLower(a.device), a.lane} }

// keepAll keeps what arrives: all that has come while the last messages were written, together.
//
// A message that is not taken ends the connection, since MQTT 3.1.1 has no other way to say so, and
// IoT Hub does the same: an acknowledgement would be a lie. It does so after a pause, as the client
// would be back at once, with the same message. Meanwhile all others go on, but those that would
// get before it: one device does not hold up those beside it.
func (c *client) keepAll(ctx context.Context) error {
	var first error
	var end <-chan time.Time
	failed := map[place]bool{}
	for {
		select {
		case <-c.some:
		case <-end:
			return first
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		batch := c.take()
		c.keep(ctx, batch, failed)
		if ctx.Err() != nil {
			return context.Cause(ctx) // the client has gone: nobody hears what became of them
		}
		if err := c.acknowledge(batch); err != nil {
			return err
		}
		for _, a := range batch {
			if a.err == nil {
				continue
			}
			failed[a.place()] = true
			if first == nil {
				first, end = a.err, time.After(pause)
				c.paused = true
			}
		}
	}
}

// acknowledge acknowledges what is kept, in the order in which it came (MQTT 3.1.1 §4.6), and
// counts all.
func (c *client) acknowledge(batch []*arrival) error {
	c.release(batch)
	for _, a := range batch {
		c.Counted(a.err)
		if a.err != nil {
			continue
		}
		if err := a.incoming.Ack(); err != nil {
			return err
		}
	}
	return nil
}

// errBehind is why a message is not kept that is behind another of its device.
func errBehind() error {
	return refused(http.StatusServiceUnavailable, "one before it is not taken")
}

// keep keeps messages, those of each device in their order and those of several at the same time.
// Where one has failed before, none is kept.
func (c *client) keep(ctx context.Context, batch []*arrival, failed map[place]bool) {
	groups := map[place][]*arrival{}
	for _, a := range batch {
		switch p := a.place(); {
		case a.err != nil:
		case failed[p]:
			a.err = errBehind()
		default:
			groups[p] = append(groups[p], a)
		}
	}
	var keeping sync.WaitGroup
	for _, group := range groups {
		keeping.Go(func() { c.keepGroup(ctx, group) })
	}
	keeping.Wait()
}

// keepGroup keeps messages of one device up to the first that is not taken. What is behind it is
// not kept: it would get before it.
func (c *client) keepGroup(ctx context.Context, group []*arrival) {
	for len(group) > 0 {
		n, size := 1, group[0].size
		for ; n < len(group) && size+group[n].size <= keptAtOnce; n++ {
			size += group[n].size
		}
		kept, err := c.keepPart(ctx, group[:n])
		if err != nil {
			for i, a := range group[kept:] {
				a.err = err
				if i == 0 && isPermanent(err) { // which is its own fault
					err = errBehind()
				}
			}
			return
		}
		group = group[n:]
	}
}

// keepPart keeps messages together, and returns how many of the first are kept, and the error of
// the one behind them. Where one of them is at fault, it is found by halves: what stands before it
// is good.
func (c *client) keepPart(ctx context.Context, part []*arrival) (kept int, err error) {
	messages := make([]hubconn.Message, len(part))
	for i, a := range part {
		messages[i] = a.message
	}
	high := len(part) // the first that is at fault is one of [kept:high]
	for try := high; ; try = kept + (high-kept)/2 {
		failed := c.Keeper.Keep(ctx, part[0].device, part[0].lane, messages[kept:try]...)
		switch {
		case failed == nil:
			kept = try
		case isPermanent(failed):
			high, err = try, failed
		default:
			return kept, failed
		}
		if kept == high || err != nil && high-kept == 1 {
			return kept, err
		}
	}
}

// isPermanent says that a message is refused for its own fault.
func isPermanent(err error) bool {
	r, ok := errors.AsType[*Refusal](err)
	return ok && r.Permanent()
}
