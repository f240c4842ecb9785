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
	var expiring <-chan time.Time
	if !c.expiry.IsZero() {
		timer := time.NewTimer(renewAt(time.Until(c.expiry), rand.Float64()))
		defer timer.Stop()
		expiring = timer.C
	}
	var lingering <-chan time.Time
	if c.lingers() {
		timer := time.NewTimer(lingerTime)
		defer timer.Stop()
		lingering = timer.C
	}
again:
	select {
	case <-lingering:
		c.giveUpLingering(link)
		goto again
	case <-expiring:
		err := c.renew(link)
		if err == nil {
			return c.current()
		}
		if c.ctx.Err() == nil {
			c.log(slog.LevelInfo, "could not renew the connection", slog.Any("error", err))
			c.end(err)
		}
	case <-link.Context().Done():
		c.end(c.lost(link))
	case <-c.ctx.Done():
		c.leaveNothingBehind(link)
	}
	_ = link.Close()
	return nil
}

// renew replaces the link by one with a new token. It tries for as long as the old token lives,
// unless the hub refuses: while no network connection can be made, the old link goes on serving,
// and ends the connection if it is lost. The hub accepts one connection a device, so the old link
// ends before the new one introduces itself, but not before the slow part, the network connection,
// is ready. From then on operations wait for the next one.
func (c *Conn) renew(old *mqtt.Conn) error {
	until, left := c.expiry, false
	for n := 1; ; n++ {
		if !left {
			c.awaitBody(old)
			if old.Context().Err() != nil {
				return c.lost(old)
			}
		}
		next, err := c.dial(c.ctx)
		if err == nil {
			if !left {
				c.leave(old)
				left = true
			}
			err = c.connect(c.ctx, next)
		}
		if err == nil {
			c.log(slog.LevelInfo, "renewed the connection")
			return nil
		}
		failed := classify("renew", c.hub, err)
		if c.ctx.Err() != nil || !failed.passes() {
			return failed
		}
		delay := renewRetry.Delay(n, failed.RetryAfter(), rand.Float64())
		last := !time.Now().Add(delay).Before(until)
		if last && left {
			return failed
		}
		if last {
			delay = time.Until(until) // the old link may serve until then
		}
		if !left {
			c.inbox.resume()
		}
		c.log(slog.LevelInfo, "a renewal has to be tried again", slog.Any("error", failed))
		if err := c.rest(old, left, delay); err != nil {
			return err
		}
		if last {
			return failed
		}
	}
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
func (c *Conn) leave(old *mqtt.Conn) {
	c.replace(nil) // new messages wait from here on
	ctx, cancel := context.WithTimeout(c.ctx, drainTimeout)
	defer cancel()
	_ = old.Drain(ctx)
	c.inbox.detach()
	if c.listens() {
		// When the hub has done this, it has all acknowledgements before it, and has sent all it
		// will: it takes the new link's CONNECT as soon as it comes, and would forget what it has
		// not read from this one.
		_ = old.Unsubscribe(ctx, c.hub.toMessages().filter)
	}
	c.inbox.detach()
	_ = old.Close()
}

// awaitBody lets no further message into a loop body, and waits for the one that is in one: it
// could not be acknowledged over the next link, and would come again. It does not wait longer than
// leaves some time for the renewal: a tenth of the token's life, and no more than maxReserve.
func (c *Conn) awaitBody(old *mqtt.Conn) {
	free := c.inbox.pause()
	timer := time.NewTimer(time.Until(c.expiry) - min(c.life/10, maxReserve))
	defer timer.Stop()
	select {
	case <-free:
	case <-timer.C:
	case <-old.Context().Done():
	case <-c.ctx.Done():
	}
}

// rest waits before the next try of a renewal. Its error is the end of the connection, or of the
// old link where that is still in use.
func (c *Conn) rest(old *mqtt.Conn, left bool, d time.Duration) error {
	var lost <-chan struct{}
	if !left {
		lost = old.Context().Done()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-lost:
		return c.lost(old)
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}
