// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/internal/mqtt"
)

// hubsCopy is one delivery of a message, and whether it was acknowledged.
type hubsCopy struct{ acknowledged bool }

// deliver pushes a copy of a message, sent again by the hub or not.
func (b *inbox) deliver(topic string, again bool) *hubsCopy {
	c := &hubsCopy{}
	b.push(mqtt.Message{
		Topic: topic, Duplicate: again, Ack: func() { c.acknowledged = true },
	})
	return c
}

// yields reports whether there is a message for a loop body, which has it from then on.
func (b *inbox) yields() bool {
	_, ok, _ := b.pop()
	return ok
}

// overflows finds no room for a message that came.
func (b *inbox) overflows() {
	for range inboxSize + 1 {
		b.deliver("other", false)
	}
}

// listening is the inbox of a link in use and a loop.
func listening() *inbox {
	b := &inbox{}
	b.attach()
	b.claim()
	return b
}

// finishedBetweenLinks is the inbox of a loop whose body has finished with "t" when the link that
// it came over had ended.
func finishedBetweenLinks() *inbox {
	b := listening()
	b.deliver("t", false)
	b.yields()
	b.detach(false)
	b.finish(true)
	return b
}

func TestAMessageWithoutDUPAndMessageIDIsANewOne(t *testing.T) {
	b := finishedBetweenLinks()
	b.attach()
	equal := b.deliver("t", false)
	assert.False(t, equal.acknowledged)
	assert.True(t, b.yields())
	b.detach(false) // during that body
	b.attach()
	third := b.deliver("t", false)
	b.finish(true)
	assert.False(t, third.acknowledged)
	assert.True(t, b.yields())
}

// The next link failed: what it brings while it is closed cannot be acknowledged over it.
func TestAMessageThatComesWhileItsLinkIsClosedIsRecognisedOverTheNext(t *testing.T) {
	b := listening()
	b.deliver("t", false)
	b.yields()
	b.detach(false)
	b.detach(true)
	late := b.deliver("t", true)
	b.finish(true)
	assert.False(t, late.acknowledged)
	b.detach(false)
	b.attach()
	assert.True(t, b.deliver("t", true).acknowledged)
	assert.False(t, b.yields())
}

func TestAMessageThatWasFinishedWithIsRecognisedOnce(t *testing.T) {
	b := finishedBetweenLinks()
	b.attach()
	assert.True(t, b.deliver("t", true).acknowledged)
	assert.False(t, b.yields())
	assert.False(t, b.deliver("t", true).acknowledged)
	assert.True(t, b.yields())
}

// The body can acknowledge the message that it has: an equal one has to have a body of its own.
func TestABodyWhoseMessageCameOverThisLinkHasNoOther(t *testing.T) {
	b := finishedBetweenLinks()
	b.attach()
	assert.True(t, b.deliver("t", true).acknowledged)
	first := b.deliver("t", true)
	assert.True(t, b.yields())
	second := b.deliver("t", true)
	b.finish(true)
	assert.True(t, first.acknowledged)
	assert.False(t, second.acknowledged)
	assert.True(t, b.yields())
	b.finish(true)
	assert.True(t, second.acknowledged)
}

func TestABodyAcknowledgesNoOtherMessageThanItsOwn(t *testing.T) {
	b := finishedBetweenLinks()
	b.deliver("u", false) // over a link that does not come into use
	assert.True(t, b.yields())
	b.detach(false)
	b.attach()
	assert.True(t, b.deliver("t", true).acknowledged)
	other := b.deliver("t", true)
	own := b.deliver("u", true)
	b.finish(true)
	assert.False(t, other.acknowledged)
	assert.True(t, own.acknowledged)
	assert.True(t, b.yields())
}

// The body's own message may be gone at the hub: an equal one that waited has not had its body yet.
func TestAMessageThatWaitedIsNotTakenForTheBodysThroughSeveralLinks(t *testing.T) {
	b := listening()
	b.deliver("t", false)
	b.deliver("t", false)
	b.yields()
	for range 3 {
		b.detach(false)
		b.attach()
	}
	waited := b.deliver("t", true)
	b.finish(true)
	assert.False(t, waited.acknowledged)
	assert.True(t, b.yields())
}

func TestNoMoreIsRememberedThanWhatOneLinkLeft(t *testing.T) {
	b := listening()
	for _, topic := range []string{"t", "u", "v"} {
		b.deliver(topic, false)
		b.yields()
		b.detach(false)
		b.finish(true)
		b.attach()
	}
	assert.Len(t, b.former.byID, 1)
}

func TestLinksThatDoNotComeIntoUseLetNothingBeForgotten(t *testing.T) {
	b := finishedBetweenLinks()
	b.detach(false)
	b.detach(false)
	b.attach()
	assert.True(t, b.deliver("t", true).acknowledged)
}

// What there was no room for may equal what a body is done with, or has: neither is recognised.
func TestMessagesWithoutRoomLetAllBeForgotten(t *testing.T) {
	done := finishedBetweenLinks()
	done.overflows() // over a link that does not come into use

	working := listening()
	working.deliver("t", false)
	working.yields()
	working.detach(false)
	working.attach()
	working.overflows()

	for name, b := range map[string]*inbox{"done": done, "working": working} {
		b.detach(false)
		if b.body != nil {
			b.finish(true)
		}
		b.attach()
		assert.False(t, b.deliver("t", true).acknowledged, name)
		assert.True(t, b.yields(), name)
	}
}

func TestMessagesAreRecognisedAgainAfterALinkWithoutRoom(t *testing.T) {
	b := listening()
	b.overflows()
	b.detach(false)
	b.attach()
	b.deliver("t", false)
	b.yields()
	b.detach(false)
	b.finish(true)
	b.attach()
	assert.True(t, b.deliver("t", true).acknowledged)
}

func TestAPausedInboxHandsNothingOut(t *testing.T) {
	b := listening()
	b.pause()
	b.deliver("t", false)
	assert.False(t, b.yields())
	b.resume()
	assert.True(t, b.yields())
}

// What arrives while the last link is being closed can no longer be acknowledged.
func TestTheNextLinkBeginsWithAnEmptyInbox(t *testing.T) {
	c := newConn(t.Context(), Dialer{}, Hub{Host: "h", DeviceID: "d"}, nil)
	c.inbox.deliver("t", false)
	nc, peer := net.Pipe()
	_ = peer.Close()
	assert.Error(t, c.connect(t.Context(), next{nc: nc}))
	assert.False(t, c.inbox.yields())
}

// The next link may have been given its subscriptions by then.
func TestASubscriptionMadeOnALinkThatIsNotInUseIsNotRecorded(t *testing.T) {
	c := newConn(t.Context(), Dialer{}, Hub{Host: "h", DeviceID: "d"}, nil)
	assert.False(t, c.record(&mqtt.Conn{}, toMethodCalls))
	_, stands := c.subscribed(toMethodCalls)
	assert.False(t, stands)
}

func TestALinkThatHasBeenReplacedIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConn(t.Context(), Dialer{}, Hub{Host: "h", DeviceID: "d"}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.NoError(t, c.await(ctx, "send", &mqtt.Conn{}))
		assert.ErrorIs(t, c.await(ctx, "send", nil), context.DeadlineExceeded)
	})
}
