// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCloseSendsTheAcknowledgementsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 20
		seen := make(chan packets.ControlPacket, messages+1)
		received := make(chan Message, messages)
		c := connect(t, Options{Receive: func(m Message) { received <- m }}, func(p *peer) {
			p.accept(0)
			for i := range messages {
				p.publish("a", 1, uint16(i+1), nil)
			}
			p.acknowledge(func(packet packets.ControlPacket) { seen <- packet })
		})
		for range messages {
			m := <-received
			m.Ack()
			m.Ack() // no more than once
		}
		require.NoError(t, c.Close())
		for i := range messages {
			puback, ok := (<-seen).(*packets.PubackPacket)
			require.True(t, ok)
			assert.EqualValues(t, i+1, puback.MessageID)
		}
		assert.IsType(t, &packets.DisconnectPacket{}, <-seen)
	})
}

func TestAPeerThatTakesNoAcknowledgementsHoldsCloseUpForSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, p := link(t)
		hold := make(chan struct{})
		play(t, p, func(p *peer) {
			p.accept(0)
			p.publish("a", 1, 1, nil)
			<-hold
		})
		received := make(chan Message, 1)
		c, err := Connect(
			t.Context(), nc, Options{ClientID: "dev1", Receive: func(m Message) { received <- m }},
		)
		require.NoError(t, err)
		m := <-received
		go func() { _ = c.Publish(t.Context(), "a", 1, make([]byte, 1<<20)) }()
		synctest.Wait()
		go m.Ack()
		synctest.Wait()
		start := time.Now()
		require.NoError(t, c.Close())
		assert.LessOrEqual(t, time.Since(start), 2*time.Second)
		close(hold)
	})
}

func TestUnsubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{}, func(p *peer) {
			p.accept(0)
			unsubscribe, ok := p.next().(*packets.UnsubscribePacket)
			if assert.True(t, ok) {
				assert.Equal(t, []string{"a/#"}, unsubscribe.Topics)
				p.send(0xb0, 2, byte(unsubscribe.MessageID>>8), byte(unsubscribe.MessageID))
			}
			p.ignore()
		})
		require.NoError(t, c.Unsubscribe(t.Context(), "a/#"))
		assert.Error(t, c.Unsubscribe(t.Context(), string(make([]byte, 70000))))
		require.NoError(t, c.Close())
		assert.Error(t, c.Unsubscribe(t.Context(), "a/#"))
	})
}

func TestTheReceiverTakesABurstOfAnyLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 5000
		received := make(chan Message, messages)
		c := connect(t, Options{Receive: func(m Message) {
			m.Ack()
			received <- m
		}}, func(p *peer) {
			p.accept(0)
			var publishing sync.WaitGroup
			publishing.Go(func() {
				for i := range messages {
					p.publish("a", 1, uint16(i+1), nil)
				}
			})
			p.ignore()
			publishing.Wait()
		})
		for range messages {
			<-received
		}
		require.NoError(t, c.Context().Err())
		require.NoError(t, c.Close())
		assert.Empty(t, received)
	})
}
