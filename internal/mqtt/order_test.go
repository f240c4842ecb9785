// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Of an order nothing is sent behind what was withdrawn, and what others wait for goes on.
func TestNothingFollowsAMessageThatWasNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var topics []string
		c := connect(t, Options{MaxInFlight: 1}, func(p *peer) {
			p.accept(0)
			first := p.next().(*packets.PublishPacket)
			time.Sleep(5 * time.Second)
			p.send(0x40, 2, byte(first.MessageID>>8), byte(first.MessageID))
			p.acknowledge(func(packet packets.ControlPacket) {
				if publish, ok := packet.(*packets.PublishPacket); ok {
					topics = append(topics, publish.TopicName)
				}
			})
		})
		order, other := c.NewOrder(), c.NewOrder()
		start := func(o *Order, topic string) Publication {
			publication, err := o.Start(topic, 1, nil)
			require.NoError(t, err)
			return publication
		}
		a, b, c1, d := start(order, "a"), start(order, "b"), start(order, "c"), start(order, "d")
		x := start(other, "x")

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, b.Wait(ctx), context.DeadlineExceeded)
		require.ErrorIs(t, c1.Wait(t.Context()), errOrderOver)
		require.ErrorIs(t, d.Wait(ctx), errOrderOver)
		_, err := order.Start("e", 1, nil)
		require.ErrorIs(t, err, errOrderOver)
		require.NoError(t, a.Wait(t.Context()), "it had left")
		require.NoError(t, x.Wait(t.Context()))
		require.NoError(t, c.Publish(t.Context(), "y", 1, nil))
		synctest.Wait()
		assert.Equal(t, []string{"x", "y"}, topics)
	})
}

// What has left when its wait is given up is no end of the order: it is on its way.
func TestWhatHasLeftIsNoEndOfTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{MaxInFlight: 4}, deaf)
		order := c.NewOrder()
		a, err := order.Start("a", 1, nil)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, a.Wait(ctx), context.DeadlineExceeded)
		_, err = order.Start("b", 1, nil)
		require.NoError(t, err)
	})
}
