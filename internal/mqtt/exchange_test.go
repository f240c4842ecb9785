// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPublishReturnsAtThePuback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{}, func(p *peer) {
			p.accept(0)
			publish, _ := p.next().(*packets.PublishPacket)
			time.Sleep(7 * time.Second)
			p.send(0x40, 2, byte(publish.MessageID>>8), byte(publish.MessageID))
			assert.Equal(t, "a/b", publish.TopicName)
			assert.Equal(t, "hello", string(publish.Payload))
			assert.False(t, publish.Retain)
			p.ignore()
		})
		start := time.Now()
		require.NoError(t, c.Publish(t.Context(), "a/b", 1, []byte("hello")))
		assert.Equal(t, 7*time.Second, time.Since(start))
		assert.EqualValues(t, 1, c.Acknowledged())
	})
}

func TestPublishAtQoS0ReturnsOnceWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got atomic.Value
		c := connect(t, Options{}, func(p *peer) {
			p.accept(0)
			publish, _ := p.next().(*packets.PublishPacket)
			got.Store(string(publish.Payload))
			p.ignore()
		})
		require.NoError(t, c.Publish(t.Context(), "a", 0, []byte("hello")))
		synctest.Wait()
		assert.Equal(t, "hello", got.Load())
	})
}

func TestALongMessageArrivesWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
		var got []byte
		c := connect(t, Options{}, func(p *peer) {
			p.serve(func(packet packets.ControlPacket) {
				if publish, ok := packet.(*packets.PublishPacket); ok {
					got = publish.Payload
				}
			})
		})
		require.NoError(t, c.Publish(t.Context(), "a", 1, body))
		assert.True(t, bytes.Equal(body, got))
	})
}

func TestASlowLinkMayTakeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{}, func(p *peer) {
			p.slow(2 << 10) // 256 KiB take far longer than one write timeout
			p.serve(nil)
		})
		start := time.Now()
		require.NoError(t, c.Publish(t.Context(), "a", 1, make([]byte, 256<<10)))
		assert.Greater(t, time.Since(start), 2*time.Minute)
	})
}

func TestPublishRefusesWhatMQTTCannotCarry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int32
		c := connect(t, Options{}, func(p *peer) {
			p.serve(func(packets.ControlPacket) { sent.Add(1) })
		})
		assert.Error(t, c.Publish(t.Context(), "a", 2, nil))
		assert.Error(t, c.Publish(t.Context(), "", 1, nil))
		assert.Error(t, c.Publish(t.Context(), "a/+", 1, nil))
		assert.Error(t, c.Publish(t.Context(), "a/#", 1, nil))
		assert.Error(t, c.Publish(t.Context(), string(make([]byte, 65536)), 1, nil))
		assert.Error(t, c.Subscribe(t.Context(), "a", 2))
		assert.Error(t, c.Subscribe(t.Context(), string(bytes.Repeat([]byte("a"), 65536)), 1))
		assert.Error(t, c.Subscribe(t.Context(), "a/#/b", 1))
		require.NoError(t, c.Publish(t.Context(), "a", 1, nil))
		assert.EqualValues(t, 1, sent.Load())
	})
}

func TestPublishKeepsWithinTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var waiting []uint16
		most := 0
		release := make(chan struct{})
		c := connect(t, Options{MaxInFlight: 3}, func(p *peer) {
			p.accept(0)
			var answering sync.WaitGroup
			answering.Go(func() {
				for range release {
					mu.Lock()
					id := waiting[0]
					waiting = waiting[1:]
					mu.Unlock()
					p.send(0x40, 2, byte(id>>8), byte(id))
				}
			})
			for {
				publish, ok := p.next().(*packets.PublishPacket)
				if !ok {
					break
				}
				mu.Lock()
				waiting = append(waiting, publish.MessageID)
				most = max(most, len(waiting))
				mu.Unlock()
			}
			answering.Wait()
		})
		var sending sync.WaitGroup
		var sent atomic.Int32
		for range 10 {
			sending.Go(func() {
				if assert.NoError(t, c.Publish(t.Context(), "a", 1, nil)) {
					sent.Add(1)
				}
			})
		}
		synctest.Wait()
		assert.Len(t, waiting, 3)
		for range 10 {
			release <- struct{}{}
			synctest.Wait()
		}
		sending.Wait()
		close(release)
		assert.EqualValues(t, 10, sent.Load())
		assert.Equal(t, 3, most)
	})
}

func TestWaitingForAPlaceEndsWithTheContextAndWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connected(t, Options{MaxInFlight: 1}, deaf)
		defer c.Close()
		results := make(chan error, 2)
		go func() { results <- c.Publish(t.Context(), "a", 1, nil) }()
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, c.Publish(ctx, "a", 1, nil), context.DeadlineExceeded)

		go func() { results <- c.Publish(t.Context(), "a", 1, nil) }()
		synctest.Wait()
		_ = p.nc.Close()
		for range 2 {
			_, ok := errors.AsType[*LostError](<-results)
			assert.True(t, ok)
		}
	})
}

// A message that was given up is still in flight: its place is free again when it has been
// acknowledged.
func TestAnAbandonedMessageKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		acknowledge := make(chan struct{})
		c := connect(t, Options{MaxInFlight: 1}, func(p *peer) {
			p.accept(0)
			publish, _ := p.next().(*packets.PublishPacket)
			<-acknowledge
			p.send(0x40, 2, byte(publish.MessageID>>8), byte(publish.MessageID))
			p.acknowledge(nil)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		body := []byte("mine again afterwards")
		require.ErrorIs(t, c.Publish(ctx, "a", 1, body), context.DeadlineExceeded)
		clear(body) // the race detector watches

		again, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, c.Publish(again, "a", 1, nil), context.DeadlineExceeded)
		close(acknowledge)
		require.NoError(t, c.Publish(t.Context(), "a", 1, nil))
	})
}

func TestDrainWaitsForWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{MaxInFlight: 4}, func(p *peer) {
			p.accept(0)
			publish, _ := p.next().(*packets.PublishPacket)
			time.Sleep(3 * time.Second)
			p.send(0x40, 2, byte(publish.MessageID>>8), byte(publish.MessageID))
			p.ignore()
		})
		sent := make(chan error, 1)
		go func() { sent <- c.Publish(t.Context(), "a", 1, nil) }()
		synctest.Wait()
		start := time.Now()
		require.NoError(t, c.Drain(t.Context()))
		assert.Equal(t, 3*time.Second, time.Since(start))
		require.NoError(t, <-sent)
	})
}

func TestSubscribe(t *testing.T) {
	for name, suback := range map[string]struct {
		answer func(id byte) []byte
		check  func(*testing.T, error)
	}{
		"granted": {func(id byte) []byte { return []byte{0x90, 3, 0, id, 1} }, func(t *testing.T, err error) { assert.NoError(t, err) }},
		"granted a lower QoS": {func(id byte) []byte { return []byte{0x90, 3, 0, id, 0} },
			func(t *testing.T, err error) {
				assert.NoError(t, err)
			}},
		"refused": {func(id byte) []byte { return []byte{0x90, 3, 0, id, 0x80} },
			func(t *testing.T, err error) {
				refused, ok := errors.AsType[*SubscribeError](err)
				require.True(t, ok, "%v", err)
				assert.Equal(t, SubscribeError{Filter: "a/#", Code: 0x80}, *refused)
			}},
		"refused by an undefined code": {
			func(id byte) []byte { return []byte{0x90, 3, 0, id, 0x97} },
			func(t *testing.T, err error) {
				refused, ok := errors.AsType[*SubscribeError](err)
				require.True(t, ok, "%v", err)
				assert.EqualValues(t, 0x97, refused.Code)
			},
		},
		"too many codes": {func(id byte) []byte { return []byte{0x90, 4, 0, id, 1, 1} }, isProtocolError},
		"no code":        {func(id byte) []byte { return []byte{0x90, 2, 0, id} }, isProtocolError},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := connect(t, Options{}, func(p *peer) {
				p.accept(0)
				subscribe, _ := p.next().(*packets.SubscribePacket)
				p.send(suback.answer(byte(subscribe.MessageID))...)
				p.ignore()
			})
			t.Log(name)
			suback.check(t, c.Subscribe(t.Context(), "a/#", 1))
		})
	}
}

func isProtocolError(t *testing.T, err error) {
	_, ok := errors.AsType[*ProtocolError](err)
	assert.True(t, ok, "%v", err)
}

// Acknowledgements for what was never sent change nothing.
func TestStrayAcknowledgementsAreHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{}, func(p *peer) {
			p.accept(0)
			p.send(0x90, 3, 0, 77, 0) // SUBACK
			p.send(0x40, 2, 0, 78)    // PUBACK
			p.send(0xb0, 2, 0, 79)    // UNSUBACK
			p.send(0xd0, 0)           // PINGRESP
			p.acknowledge(nil)
		})
		synctest.Wait()
		assert.Zero(t, c.Acknowledged())
		require.NoError(t, c.Publish(t.Context(), "a", 1, nil))
		require.NoError(t, c.Subscribe(t.Context(), "a", 1))
	})
}

func TestMessagesComeInOrderAndAreAcknowledgedWhenToldTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		acked := make(chan uint16, 100)
		got := make(chan Message, 100)
		c := connect(t, Options{Receive: func(m Message) { got <- m }}, func(p *peer) {
			p.accept(0)
			for i := range 50 {
				p.publish("a/b", byte(i%2), uint16(i+1), []byte{byte(i)})
			}
			for {
				puback, ok := p.next().(*packets.PubackPacket)
				if !ok {
					return
				}
				acked <- puback.MessageID
			}
		})
		synctest.Wait()
		require.Len(t, got, 50)
		assert.Empty(t, acked, "nothing is acknowledged before Ack")
		var last Message
		for i := range 50 {
			m := <-got
			assert.Equal(t, []byte{byte(i)}, m.Payload)
			assert.Equal(t, byte(i%2), m.QoS)
			assert.Equal(t, "a/b", m.Topic)
			m.Ack()
			last = m
		}
		last.Ack()
		synctest.Wait()
		assert.Len(t, acked, 25)
		require.NoError(t, c.Close())
		last.Ack() // after the end: nothing
	})
}

func TestWithoutAReceiverMessagesAreLeftToTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var acked atomic.Int32
		c := connect(t, Options{}, func(p *peer) {
			p.accept(0)
			for i := range 200 {
				p.publish("a", 1, uint16(i+1), nil)
			}
			p.acknowledge(func(packet packets.ControlPacket) {
				if _, ok := packet.(*packets.PubackPacket); ok {
					acked.Add(1)
				}
			})
		})
		require.NoError(t, c.Publish(t.Context(), "a", 1, nil))
		assert.Zero(t, acked.Load())
	})
}
