package hubconn

import (
	"context"
	"slices"

	"github.com/rehome-iot/rehome/internal/mqtt"
)

// A device may have five subscriptions (Azure docs: "Communicate with an IoT hub using the MQTT
// protocol"); there are four that it can need, each made when something first needs it.
type subscription struct {
	filter string
	qos    byte
}

var (
	toTwinResponses  = subscription{twinResponses + "#", 0}
	toDesiredPatches = subscription{desiredPatches + "#", 0}
	toMethodCalls    = subscription{methodCalls + "#", 0}
)

// toMessages is the subscription to what Messages yields. At QoS 1 the hub keeps a message until it
// is acknowledged.
func (h Hub) toMessages() subscription {
	if h.ModuleID != "" {
		return subscription{h.path() + "/inputs/#", 1}
	}
	return subscription{h.path() + "/messages/devicebound/#", 1}
}

// subscribe returns once a subscription stands; from then on every new link has it from its start.
func (c *Conn) subscribe(ctx context.Context, op string, s subscription) error {
	for {
		link, changed, stands := c.subscribed(s)
		if stands {
			return nil
		}
		if link != nil {
			err := link.Subscribe(ctx, s.filter, s.qos)
			if err == nil && c.record(link, s) {
				return nil
			}
			if err != nil && link.Context().Err() == nil {
				return classify(op, c.hub, err) // refused, or ctx ended
			}
		}
		if err := c.await(ctx, op, changed); err != nil {
			return err
		}
	}
}

func (c *Conn) subscribed(s subscription) (*mqtt.Conn, <-chan struct{}, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link, c.changed, slices.Contains(c.subscriptions, s)
}

// listens reports whether the hub may be sending messages.
func (c *Conn) listens() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lingering
}

// record notes that a subscription was made on link; false if that is no longer the link in use.
func (c *Conn) record(link *mqtt.Conn, s subscription) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != link {
		return false
	}
	if !slices.Contains(c.subscriptions, s) {
		c.subscriptions = append(c.subscriptions, s)
	}
	c.lingering = c.lingering || s == c.hub.toMessages()
	return true
}

// unsubscribe gives a subscription up, whether ctx has ended or not. That it fails does no harm:
// what still comes is not for anybody, and restore gives up on the next link what the hub's session
// still has.
func (c *Conn) unsubscribe(ctx context.Context, s subscription) {
	c.mu.Lock()
	link := c.link
	c.subscriptions = slices.DeleteFunc(c.subscriptions, func(have subscription) bool {
		return have == s
	})
	c.mu.Unlock()
	if link == nil || c.ctx.Err() != nil {
		return
	}
	_ = c.giveUp(context.WithoutCancel(ctx), link, s)
}

// giveUp ends a subscription on a link. It does not wait long for the hub to say so: what follows
// over the link is served after it anyway (MQTT 3.1.1 §4.6).
func (c *Conn) giveUp(ctx context.Context, link *mqtt.Conn, s subscription) error {
	ctx, cancel := context.WithTimeout(ctx, finalTimeout)
	defer cancel()
	err := link.Unsubscribe(ctx, s.filter)
	if err == nil && s == c.hub.toMessages() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lingering = false
	}
	return err
}

// restore makes all subscriptions on a new link, then puts it in use. What was given up meanwhile
// does not stand on it either: the hub would go on sending what nothing here receives. That goes
// for the one to messages even if it was not made here, but by a former link or process: the hub
// keeps it with the session, and would deliver each message at each connection until it gives it
// up.
func (c *Conn) restore(ctx context.Context, link *mqtt.Conn) error {
	c.mu.Lock()
	made := slices.Clone(c.subscriptions)
	lingering := c.lingering && !slices.Contains(made, c.hub.toMessages())
	c.mu.Unlock()
	if lingering {
		_ = c.giveUp(ctx, link, c.hub.toMessages())
	}
	for _, s := range made {
		if err := link.Subscribe(ctx, s.filter, s.qos); err != nil {
			return err
		}
	}
	for {
		surplus := c.install(link, made)
		if len(surplus) == 0 {
			return nil
		}
		for _, s := range surplus {
			if err := link.Unsubscribe(ctx, s.filter); err != nil {
				return err
			}
			made = slices.DeleteFunc(made, func(have subscription) bool { return have == s })
		}
	}
}

// install puts a link in use, unless it has subscriptions that are no longer wanted: it returns
// those. While no link is in use none is added.
func (c *Conn) install(link *mqtt.Conn, made []subscription) (surplus []subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range made {
		if !slices.Contains(c.subscriptions, s) {
			surplus = append(surplus, s)
		}
	}
	if len(surplus) == 0 {
		c.exchangeLink(link)
	}
	return surplus
}
