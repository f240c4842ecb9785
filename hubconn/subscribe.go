// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"slices"
	"time"

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
		link, stands := c.subscribed(s)
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
		if err := c.await(ctx, op, link); err != nil {
			return err
		}
	}
}

// subscribeToMessages is subscribe for a loop over Messages.
func (c *Conn) subscribeToMessages(ctx context.Context) error {
	turn := c.messagesTurn()
	select {
	case turn <- struct{}{}:
	case <-c.ctx.Done():
		return c.ended(ctx, "messages")
	case <-ctx.Done():
		return c.ended(ctx, "messages")
	}
	defer func() { <-turn }()
	return c.subscribe(ctx, "messages", c.hub.toMessages())
}

// messagesTurn is what one holds who makes the subscription to messages, or gives it up.
func (c *Conn) messagesTurn() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turn == nil {
		c.turn = make(chan struct{}, 1)
	}
	return c.turn
}

// lingerTime is how long a subscription that nobody made here is left alone: a loop over Messages
// commonly begins as soon as there is a connection, and goes on with it then.
const lingerTime = 2 * time.Second

// lingers reports whether the hub's session may have a subscription to messages that nobody made
// here: a former link's or process's. The hub would deliver each message at each connection until
// it gives it up.
func (c *Conn) lingers() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lingering && !slices.Contains(c.subscriptions, c.hub.toMessages())
}

// giveUpLingering ends such a subscription, unless a loop is just about to make it its own.
func (c *Conn) giveUpLingering(link *mqtt.Conn) {
	turn := c.messagesTurn()
	select {
	case turn <- struct{}{}:
	default:
		return
	}
	defer func() { <-turn }()
	if c.lingers() {
		c.giveUp(link, c.hub.toMessages())
	}
}

// leaveNothingBehind ends such a subscription on a link that is about to be closed: else a device
// that wakes to send and sleeps again would use up the deliveries of what waits for it.
func (c *Conn) leaveNothingBehind(link *mqtt.Conn) {
	if c.lingers() {
		c.mu.Lock()
		left := c.finalWait()
		c.mu.Unlock()
		left = max(left, time.Millisecond) // to be on its way
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), left)
		defer cancel()
		c.unsubscribeOn(ctx, link, c.hub.toMessages())
	}
}

// subscribed reports whether a subscription stands. If not, it is about to be made on link.
func (c *Conn) subscribed(s subscription) (link *mqtt.Conn, stands bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lingering = c.lingering || s == c.hub.toMessages()
	return c.link, slices.Contains(c.subscriptions, s)
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

// unsubscribe gives a subscription up. That it fails does no harm: what still comes is not for
// anybody, and what the hub's session still has is given up on the next link.
func (c *Conn) unsubscribe(s subscription) {
	c.mu.Lock()
	link := c.link
	c.subscriptions = slices.DeleteFunc(c.subscriptions, func(have subscription) bool {
		return have == s
	})
	c.mu.Unlock()
	if link == nil || c.ctx.Err() != nil {
		return
	}
	c.giveUp(link, s)
}

// giveUp ends a subscription on a link. It does not wait long for the hub to say so: what follows
// over the link is served after it anyway (MQTT 3.1.1 §4.6). Of several at one end, one after the
// other, the last waits no longer than the first.
func (c *Conn) giveUp(link *mqtt.Conn, s subscription) {
	done := make(chan struct{})
	c.mu.Lock()
	over := time.After(c.finalWait())
	if c.endedAt.IsZero() {
		c.partings++
		c.late.Go(func() { // until the hub says so, or the link ends
			defer close(done)
			c.unsubscribeOn(link.Context(), link, s)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.partings--
		})
	} else {
		close(done)
	}
	c.mu.Unlock()
	select {
	case <-done:
	case <-over:
	}
}

// finalWait is how long to wait for the hub at an end; mu is held.
func (c *Conn) finalWait() time.Duration {
	if c.partings == 0 {
		c.partUntil = time.Now().Add(finalTimeout)
	}
	return time.Until(c.partUntil)
}

// unsubscribeOn returns when the hub says that it has ended a subscription, or with ctx.
func (c *Conn) unsubscribeOn(ctx context.Context, link *mqtt.Conn, s subscription) {
	if link.Unsubscribe(ctx, s.filter) == nil && s == c.hub.toMessages() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lingering = slices.Contains(c.subscriptions, s) // by a loop that has begun since
	}
}

// restore makes all subscriptions on a new link, then puts it in use. What was given up meanwhile
// does not stand on it either: the hub would go on sending what nothing here receives.
func (c *Conn) restore(ctx context.Context, link *mqtt.Conn) error {
	c.mu.Lock()
	made := slices.Clone(c.subscriptions)
	c.mu.Unlock()
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
