// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/rehome-iot/rehome/internal/mqtt"
	"github.com/rehome-iot/rehome/retry"
)

const (
	// drainTimeout is how long a renewal waits for messages in flight before it leaves the old
	// link; what is still in flight then is sent again on the new one.
	drainTimeout = 5 * time.Second

	// maxReserve is the most that a renewal leaves of the old token's life while it waits for a
	// loop body. It has room for a slow dial and a CONNACK that the hub delays under load.
	maxReserve = 2 * time.Minute

	// soonestRenewal keeps tokens that are nearly over when the credential returns them from
	// renewing the connection without a pause.
	soonestRenewal = 5 * time.Second
)

// renewRetry spaces the tries of a renewal.
var renewRetry = retry.Policy{MaxDelay: time.Minute}

func (d *Dialer) tokenTTL() time.Duration { return cmp.Or(d.TokenTTL, defaultTokenTTL) }

// renewAt draws when to renew a token: at 70 to 90 % of what is left of it, so that a fleet that
// booted together does not come back together one token life later.
func renewAt(left time.Duration, u float64) time.Duration {
	return max(soonestRenewal, time.Duration((0.7+0.2*u)*float64(left)))
}

// supervise watches the links until the connection ends, and ends it with the reason.
func (c *Conn) supervise() {
	defer close(c.done)
	link := c.current()
	for link != nil {
		link = c.watch(link)
	}
	c.late.Wait()
}

// watch returns the next link, or nil when the connection has ended.
func (c *Conn) watch(link *mqtt.Conn) *mqtt.Conn {
	var renewal time.Time // zero: there is no token
	if !c.expiry.IsZero() {
		renewal = time.Now().Add(renewAt(time.Until(c.expiry), rand.Float64()))
	}
	due, lingering := renewal, c.lingers()
	if lingering {
		due = time.Now().Add(lingerTime) // before soonestRenewal
	}
	timer := c.alarm(due)
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	for {
		select {
		case s := <-c.swaps:
			switch {
			case s != nil:
				if next := c.swap(link, s); next != link {
					return next
				}
			case due.IsZero() || time.Now().Before(due): // a former link's
			case lingering:
				c.giveUpLingering(link)
				due, lingering = renewal, false
				timer = c.alarm(due)
			default:
				err := c.renew(link)
				if err == nil {
					return c.current()
				}
				if c.ctx.Err() == nil {
					c.log(slog.LevelInfo, "connection not renewed", failure(err))
					c.end(err)
				}
				_ = link.Close()
				return nil
			}
			continue
		case <-link.Context().Done():
			c.end(c.lost(link))
		case <-c.ctx.Done():
			c.leaveNothingBehind(link)
		}
		_ = link.Close()
		return nil
	}
}

// alarm wakes supervise at a time, if there is one. It does so by the channel of swaps: many
// connections are idle, and each thing that one waits for takes memory.
func (c *Conn) alarm(at time.Time) *time.Timer {
	if at.IsZero() {
		return nil
	}
	return time.AfterFunc(time.Until(at), func() {
		select {
		case c.swaps <- nil:
		case <-c.ctx.Done():
		}
	})
}

// transition is the replacement of a link by another.
type transition struct {
	old  *mqtt.Conn
	left bool // the old link has been ended, and none is in use until the next one is
}

// renew replaces the link by one with a new token. It tries for as long as the old token lives,
// unless the hub refuses: while no network connection can be made, the old link goes on serving,
// and ends the connection if it is lost. A swap that is asked for meanwhile comes first: it may be
// what the renewal lacks.
func (c *Conn) renew(old *mqtt.Conn) error {
	t, until := &transition{old: old}, c.expiry
	for n := 1; ; n++ {
		if !t.left {
			c.awaitBody(c.ctx, old, c.bodyLimit())
			if old.Context().Err() != nil {
				return c.lost(old)
			}
		}
		err := c.advance(c.ctx, t, c.credential)
		if err == nil {
			c.count(&c.renewed)
			c.log(slog.LevelInfo, "connection renewed")
			return nil
		}
		failed := classify("renew", c.hub, err)
		if c.ctx.Err() != nil || !failed.passes() {
			return failed
		}
		delay := renewRetry.Delay(n, failed.RetryAfter(), rand.Float64())
		last := !time.Now().Add(delay).Before(until)
		if last && t.left {
			return failed
		}
		if last {
			delay = time.Until(until) // the old link may serve until then
		}
		if !t.left {
			c.inbox.resume()
		}
		c.log(slog.LevelInfo, "renewal is tried again", failure(failed))
		swap, err := c.rest(t, delay)
		switch {
		case err != nil:
			return err
		case swap != nil:
			if c.swapInRenewal(t, swap) {
				return nil
			}
		case last:
			return failed
		}
	}
}

// advance makes one attempt to go over to a new link with a credential. The hub accepts one
// connection a device, so the old link ends before the new one introduces itself, but not before
// the slow part, the network connection, is ready. From then on operations wait for the next one.
func (c *Conn) advance(ctx context.Context, t *transition, credential Credential) error {
	next, err := c.dial(ctx, credential)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		_ = next.nc.Close()
		return context.Cause(ctx)
	}
	if !t.left {
		c.leave(ctx, t.old)
		t.left = true
	}
	return c.connect(ctx, next)
}

// lost is the error of a link that has ended by itself.
func (c *Conn) lost(link *mqtt.Conn) error {
	return classify("connection", c.hub, context.Cause(link.Context()))
}

// passes reports whether a failure to connect may pass by itself: the hub did not answer, or asked
// for patience. What it refuses, it goes on refusing.
func (e *Error) passes() bool {
	switch e.Class {
	case Unreachable, Throttled, Server, Untrusted:
		return true
	}
	return false
}

// leave ends the old link in order, when what is in flight on it has been acknowledged, for
// drainTimeout at most.
func (c *Conn) leave(ctx context.Context, old *mqtt.Conn) {
	c.replace(nil) // new messages wait from here on
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	_ = old.Drain(ctx)
	c.inbox.detach(false)
	if c.listens() {
		// When the hub has done this, it has all acknowledgements before it, and has sent all it
		// will: it takes the new link's CONNECT as soon as it comes, and would forget what it has
		// not read from this one.
		_ = old.Unsubscribe(ctx, c.hub.toMessages().filter)
	}
	c.inbox.detach(true)
	_ = old.Close()
}

// bodyLimit is when a renewal no longer waits for a loop body: it leaves a tenth of the token's
// life for the renewal itself, and no more than maxReserve.
func (c *Conn) bodyLimit() time.Time { return c.expiry.Add(-min(c.life/10, maxReserve)) }

// awaitBody lets no further message into a loop body, and waits until a limit for the one that is
// in one: it could not be acknowledged over the next link, and would come again.
func (c *Conn) awaitBody(ctx context.Context, old *mqtt.Conn, limit time.Time) {
	free := c.inbox.pause()
	select {
	case <-free:
	case <-time.After(time.Until(limit)):
	case <-old.Context().Done():
	case <-ctx.Done():
	}
}

// rest waits before the next try of a renewal, or until a swap is asked for. Its error is the end
// of the connection, or of the old link where that is still in use.
func (c *Conn) rest(t *transition, d time.Duration) (*swap, error) {
	var lost <-chan struct{}
	if !t.left {
		lost = t.old.Context().Done()
	}
	over := time.After(d)
	for {
		select {
		case <-over:
			return nil, nil
		case s := <-c.swaps:
			if s != nil {
				return s, nil
			}
		case <-lost:
			return nil, c.lost(t.old)
		case <-c.ctx.Done():
			return nil, context.Cause(c.ctx)
		}
	}
}
