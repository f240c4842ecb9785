package hubconn

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/rehome-iot/rehome/internal/mqtt"
)

// drainTimeout is how long a renewal waits for messages in flight before it leaves the old link;
// what is still in flight then is sent again on the new one.
const drainTimeout = 5 * time.Second

func (d *Dialer) tokenTTL() time.Duration { return cmp.Or(d.TokenTTL, defaultTokenTTL) }

// renewAt draws when to renew a token: at 70 to 90 % of its life, so that a fleet that booted together does not come back
// together one token life later.
func renewAt(ttl time.Duration, u float64) time.Duration {
	return time.Duration((0.7 + 0.2*u) * float64(ttl))
}

// supervise watches the links until the connection ends, and ends it with the reason.
func (c *Conn) supervise() {
	defer close(c.done)
	link, _ := c.current()
	for link != nil {
		link = c.watch(link)
	}
}

// watch returns the next link, or nil when the connection has ended.
func (c *Conn) watch(link *mqtt.Conn) *mqtt.Conn {
	var expiring <-chan time.Time
	if c.expires {
		timer := time.NewTimer(renewAt(c.dialer.tokenTTL(), rand.Float64()))
		defer timer.Stop()
		expiring = timer.C
	}
	select {
	case <-expiring:
		err := c.renew(link)
		if err == nil {
			link, _ = c.current()
			return link
		}
		if c.ctx.Err() == nil {
			c.log(slog.LevelInfo, "could not renew the connection", slog.Any("error", err))
			c.cancel(err)
		}
	case <-link.Context().Done():
		c.cancel(classify("connection", c.hub, context.Cause(link.Context())))
	case <-c.ctx.Done():
	}
	_ = link.Close()
	return nil
}

// renew replaces the link by one with a new token. The hub accepts one connection a device, so the
// old one ends before the new one introduces itself; but only when the slow part, the network
// connection, is ready.
func (c *Conn) renew(old *mqtt.Conn) error {
	n, err := c.dial(c.ctx)
	if err != nil {
		return classify("renew", c.hub, err)
	}
	c.replace(nil) // new messages wait from here on
	c.drain(old)
	_ = old.Close()
	if err := c.connect(c.ctx, n); err != nil {
		return classify("renew", c.hub, err)
	}
	c.log(slog.LevelInfo, "renewed the connection")
	return nil
}

// drain waits until the messages in flight are acknowledged, for drainTimeout at most.
func (c *Conn) drain(link *mqtt.Conn) {
	ctx, cancel := context.WithTimeout(c.ctx, drainTimeout)
	defer cancel()
	_ = link.Drain(ctx)
}
