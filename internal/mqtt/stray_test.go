// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// anyID are identifiers that a message, or a subscription, might have.
func anyID(send func(id uint16)) {
	for id := range 4096 {
		send(uint16(id))
		send(uint16(firstID + id))
	}
}

func TestAMessageIsNotAcknowledgedBeforeItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := make(chan struct{})
		c := connect(t, Options{}, func(p *peer) {
			p.accept(0)
			time.Sleep(time.Second)
			anyID(func(id uint16) {
				p.send(typePuback<<4, 2, byte(id>>8), byte(id))
				p.send(typeSuback<<4, 3, byte(id>>8), byte(id), 0)
			})
			<-read
			p.acknowledge(nil)
		})
		long, short, subscribed := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		go func() { long <- c.Publish(t.Context(), "a", 1, make([]byte, 250<<10)) }()
		synctest.Wait()
		go func() { short <- c.Publish(t.Context(), "a", 1, nil) }()
		go func() { subscribed <- c.Subscribe(t.Context(), "a", 0) }()
		time.Sleep(2 * time.Second)
		assert.Empty(t, subscribed)
		assert.Empty(t, long, "a part of it has left")
		assert.Empty(t, short)
		assert.Zero(t, c.Acknowledged())
		close(read)
		require.NoError(t, <-long)
		require.NoError(t, <-short)
		require.NoError(t, <-subscribed)
		assert.EqualValues(t, 3, c.Acknowledged())
	})
}

// What the network has been handed but not taken may be acknowledged: once, and not at QoS 0.
func TestAnAcknowledgementOfWhatIsBeingWrittenCountsOnce(t *testing.T) {
	for qos, want := range []uint64{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			acknowledge := make(chan struct{})
			nc, p := link(t)
			play(t, p, func(p *peer) {
				p.accept(0)
				<-acknowledge
				for range 2 {
					anyID(func(id uint16) { p.send(typePuback<<4, 2, byte(id>>8), byte(id)) })
				}
			})
			c, err := Connect(t.Context(), nc, Options{ClientID: "dev1"})
			require.NoError(t, err)
			_, _ = nc.Write(make([]byte, 64<<10)) // all that there is room for
			result := make(chan error, 1)
			go func() { result <- c.Publish(t.Context(), "a", byte(qos), nil) }()
			synctest.Wait()
			close(acknowledge)
			synctest.Wait()
			assert.Equal(t, want, c.Acknowledged())
			assert.Empty(t, result)
			require.NoError(t, c.Close())
			assert.Error(t, <-result)
		})
	}
}

func TestOnlyTheRightPacketAcknowledges(t *testing.T) {
	for name, wrong := range map[string][]byte{
		"PUBACK":   {typePuback << 4, 2, 0, 0},
		"SUBACK":   {typeSuback << 4, 3, 0, 0, 1},
		"UNSUBACK": {typeUnsuback << 4, 2, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := connect(t, Options{}, func(p *peer) {
					p.accept(0)
					for {
						packet := p.next()
						var id uint16
						var right []byte
						switch packet := packet.(type) {
						case *packets.PublishPacket:
							id, right = packet.MessageID, []byte{typePuback << 4, 2, 0, 0}
						case *packets.SubscribePacket:
							id, right = packet.MessageID, []byte{typeSuback << 4, 3, 0, 0, 1}
						case *packets.UnsubscribePacket:
							id, right = packet.MessageID, []byte{typeUnsuback << 4, 2, 0, 0}
						default:
							return
						}
						for i, answer := range [][]byte{wrong, right} {
							if i == 0 && wrong[0] == right[0] {
								continue
							}
							answer[2], answer[3] = byte(id>>8), byte(id)
							p.send(answer...)
							time.Sleep(time.Second)
						}
					}
				})
				for _, do := range []func() error{
					func() error { return c.Publish(t.Context(), "a", 1, nil) },
					func() error { return c.Subscribe(t.Context(), "a", 1) },
					func() error { return c.Unsubscribe(t.Context(), "a") },
				} {
					start := time.Now()
					require.NoError(t, do())
					if time.Since(start) == 0 { // the one whose acknowledgement this is
						time.Sleep(time.Second)
					}
				}
				assert.EqualValues(t, 2, c.Acknowledged(), "that of an UNSUBSCRIBE does not count")
			})
		})
	}
}

// A PUBACK that comes a second time does not acknowledge a later message.
func TestALateDuplicateAcknowledgesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{MaxInFlight: 2}, func(p *peer) {
			p.accept(0)
			var before []uint16
			for {
				publish, ok := p.next().(*packets.PublishPacket)
				if !ok {
					return
				}
				for _, id := range before {
					p.send(typePuback<<4, 2, byte(id>>8), byte(id))
				}
				time.Sleep(time.Second)
				p.send(typePuback<<4, 2, byte(publish.MessageID>>8), byte(publish.MessageID))
				before = append(before, publish.MessageID)
			}
		})
		for range 50 {
			start := time.Now()
			require.NoError(t, c.Publish(t.Context(), "a", 1, nil))
			assert.Equal(t, time.Second, time.Since(start))
		}
		assert.EqualValues(t, 50, c.Acknowledged())
	})
}

// Thousands of subscriptions on one connection come to the identifiers of messages.
func TestIdentifiersOfMessagesAndSubscriptionsDoNotMix(t *testing.T) {
	w := newWindow(3)
	seen := map[uint16]bool{}
	taken := func(id uint16) bool { return id == firstID|1<<2 }
	for range 3 {
		r := &request{places: 1}
		s := w.open(r, taken)
		assert.GreaterOrEqual(t, int(s.id), firstID)
		assert.False(t, taken(s.id) || seen[s.id])
		assert.Same(t, s, w.find(s.id))
		seen[s.id] = true
	}
	assert.Nil(t, w.find(1))
	assert.Nil(t, w.find(firstID))
	assert.Nil(t, w.find(firstID|1<<2))
}

func TestAPlaceThatIsFreeHasNoIdentifier(t *testing.T) {
	w := newWindow(4)
	r := &request{places: 1, size: 10, qos: 1, done: make(chan struct{}, 1)}
	s := w.open(r, func(uint16) bool { return false })
	assert.Equal(t, s, w.find(s.id))
	w.sent(s)
	s.acked = true
	w.wrote(0, 1)
	assert.Len(t, r.done, 1)
	for id := range 1 << 16 {
		assert.Nil(t, w.find(uint16(id)), id)
	}
}
