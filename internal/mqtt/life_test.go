// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/memnet"
)

func TestThePingLeavesLongBeforeTheKeepAliveIsOver(t *testing.T) {
	for keepAlive, first := range map[time.Duration]time.Duration{
		240 * time.Second: 225 * time.Second, 1177 * time.Second: 1162 * time.Second,
		30 * time.Second: 15 * time.Second, 4 * time.Second: 2 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			pinged := make(chan time.Duration, 10)
			start := time.Now()
			c := connect(t, Options{KeepAlive: keepAlive}, func(p *peer) {
				p.serve(func(packet packets.ControlPacket) {
					if _, ok := packet.(*packets.PingreqPacket); ok {
						pinged <- time.Since(start)
					}
				})
			})
			assert.Equal(t, first, <-pinged)
			assert.Equal(t, 2*first, <-pinged, "counted from the last packet")
			// A message counts as a packet, and so does its acknowledgement.
			require.NoError(t, c.Publish(t.Context(), "a", 1, nil))
			at := time.Since(start)
			assert.Equal(t, at+first, <-pinged)
		})
	}
}

// Messages of QoS 0 are not acknowledged: without a ping nobody would notice that they lead
// nowhere.
func TestAConnectionThatOnlySendsQoS0IsPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connected(t, Options{}, func(p *peer) { p.serve(nil) })
		time.Sleep(time.Second)
		p.nc.(*memnet.Conn).Stall(true)
		start := time.Now()
		for c.Context().Err() == nil && time.Since(start) < time.Hour {
			_ = c.Publish(t.Context(), "a", 0, []byte("x"))
			time.Sleep(time.Second)
		}
		assert.Less(t, time.Since(start), 240*time.Second)
		require.NoError(t, c.Close())
	})
}

// The response to a ping may be behind a long message on a slow link: whatever arrives is a sign of
// life, be it part of a TLS record.
func TestBytesThatArriveAreASignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ca := newWorld(t), newAuthority(t)
		w.serve[hubMQTT] = secured(ca.server(hub, time.Now().Add(time.Hour)), func(nc *tls.Conn) {
			p := &peer{t: t, nc: nc}
			p.accept(0)
			for {
				switch p.next().(type) {
				case *packets.PingreqPacket:
					p.publish("a", 0, 0, make([]byte, 100<<10)) // takes 200 s
					p.send(0xd0, 0)
				case nil:
					return
				}
			}
		})
		dial := func(ctx context.Context, network, address string) (net.Conn, error) {
			nc, err := w.dial(ctx, network, address)
			return &slowConn{Conn: nc, rate: 512}, err
		}
		nc, err := (&Dialer{DialContext: dial, TLSConfig: ca.trust()}).TLS(t.Context(), hubMQTT)
		require.NoError(t, err)
		received := 0
		c, err := Connect(t.Context(), nc, Options{
			ClientID: "dev1", Receive: func(Message) { received++ },
		})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.NoError(t, c.Context().Err())
		require.NoError(t, c.Close())
		<-c.done // what still drips in is over
		assert.Greater(t, received, 5)
	})
}

func TestADeadLinkIsNoticedByALatePuback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connected(t, Options{AckTimeout: 4 * time.Minute}, func(p *peer) { p.serve(nil) })
		time.Sleep(100 * time.Second)
		p.nc.(*memnet.Conn).Stall(true)
		start := time.Now()
		lost, ok := errors.AsType[*LostError](c.Publish(t.Context(), "a", 1, make([]byte, 1000)))
		require.True(t, ok)
		timeout, ok := errors.AsType[*TimeoutError](lost)
		require.True(t, ok)
		assert.Equal(t, "PINGRESP", timeout.For)
		assert.LessOrEqual(t, time.Since(start), 45*time.Second)
		require.NoError(t, c.Close())
	})
}

// An overloaded server acknowledges late, but answers pings; a slow link delivers late what was
// written long ago.
func TestALatePubackEndsNoLivingConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pings int
		c := connect(t, Options{AckTimeout: 4 * time.Minute}, func(p *peer) {
			p.accept(0)
			var publish *packets.PublishPacket
			start := time.Now()
			for {
				switch packet := p.next().(type) {
				case *packets.PublishPacket:
					publish = packet
				case *packets.PingreqPacket:
					pings++
					p.send(0xd0, 0)
					if time.Since(start) > 200*time.Second {
						p.send(0x40, 2, byte(publish.MessageID>>8), byte(publish.MessageID))
					}
				case nil:
					return
				}
			}
		})
		start := time.Now()
		require.NoError(t, c.Publish(t.Context(), "a", 1, nil))
		assert.GreaterOrEqual(t, time.Since(start), 200*time.Second)
		assert.LessOrEqual(t, pings, 8)
		assert.GreaterOrEqual(t, pings, 6)
	})
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{AckTimeout: 4 * time.Minute}, func(p *peer) {
			p.serve(func(packet packets.ControlPacket) {
				if publish, ok := packet.(*packets.PublishPacket); ok {
					// taken from the client at once, and still on its way
					time.Sleep(time.Duration(len(publish.Payload)) * time.Second / rate)
				}
			})
		})
		start := time.Now()
		require.NoError(t, c.Publish(t.Context(), "a", 1, make([]byte, 250<<10)))
		assert.Greater(t, time.Since(start), time.Minute)
		require.NoError(t, c.Close())
	})
}

func TestAnAcknowledgedWindowSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pings := 0
		c := connect(t, Options{}, func(p *peer) {
			p.serve(func(packet packets.ControlPacket) {
				if _, ok := packet.(*packets.PingreqPacket); ok {
					pings++
				}
			})
		})
		for range 100 {
			require.NoError(t, c.Publish(t.Context(), "a", 1, nil))
			time.Sleep(29 * time.Second)
		}
		assert.Zero(t, pings)
		assert.NoError(t, context.Cause(c.Context()))
	})
}

// A server counts the keep-alive by what it is sent, so a ping whose response takes its time is not
// the last one (MQTT 3.1.1 §3.1.2.10).
func TestPingsGoOnWhileAResponseIsUnderWay(t *testing.T) {
	for _, keepAlive := range []time.Duration{time.Second, 4 * time.Second, 240 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := connect(t, Options{KeepAlive: keepAlive}, func(p *peer) {
				p.accept(0)
				var responding sync.WaitGroup
				defer responding.Wait()
				last := time.Now()
				for n := 0; p.next() != nil; n++ {
					assert.LessOrEqual(t, time.Since(last), keepAlive)
					last = time.Now()
					if n == 0 {
						responding.Go(func() { // a message that takes four keep-alives goes first
							p.send(0x30, 0xe8, 0x07)
							for range 1000 {
								p.send(0)
								time.Sleep(4 * keepAlive / 1000)
							}
							p.send(0xd0, 0)
						})
					}
				}
			})
			time.Sleep(4 * keepAlive)
			require.NoError(t, context.Cause(c.Context()))
			assert.EqualValues(t, 0, c.Acknowledged())
			time.Sleep(keepAlive)
			assert.EqualValues(t, 1, c.Acknowledged())
		})
	}
}

func TestAShortAckTimeoutIsKept(t *testing.T) {
	for _, limit := range []time.Duration{time.Second, 20 * time.Second, 29 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := connect(t, Options{AckTimeout: limit}, func(p *peer) {
				p.accept(0)
				p.ignore()
			})
			start := time.Now()
			require.Error(t, c.Publish(t.Context(), "a", 1, nil))
			assert.Equal(t, limit, time.Since(start))
		})
	}
}

func TestAnAckTimeoutIsKeptBetweenPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{AckTimeout: 47 * time.Second}, func(p *peer) {
			p.accept(0)
			for packet := p.next(); packet != nil; packet = p.next() {
				if _, ok := packet.(*packets.PingreqPacket); ok {
					p.send(0xd0, 0)
				}
			}
		})
		start := time.Now()
		require.Error(t, c.Publish(t.Context(), "a", 1, nil))
		assert.Equal(t, 47*time.Second, time.Since(start))
	})
}

func TestADeadLinkIsNoticedWithAnyKeepAlive(t *testing.T) {
	for _, keepAlive := range []time.Duration{time.Second, 4 * time.Second, 20 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := connect(t, Options{KeepAlive: keepAlive}, func(p *peer) {
				p.accept(0)
				p.ignore()
			})
			start := time.Now()
			<-c.Context().Done()
			assert.Equal(t, keepAlive/2+10*time.Second, time.Since(start))
		})
	}
}

// A device that only receives is silent to the server.
func TestAConnectionThatOnlyReceivesIsPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{}, func(p *peer) {
			p.accept(0)
			start, done := time.Now(), make(chan struct{})
			go func() {
				defer close(done)
				for range 300 {
					p.publish("a", 0, 0, nil)
					time.Sleep(time.Second)
				}
			}()
			_, ok := p.next().(*packets.PingreqPacket)
			assert.True(t, ok)
			assert.Equal(t, 225*time.Second, time.Since(start))
			<-done
		})
		time.Sleep(5 * time.Minute)
		require.NoError(t, c.Close())
	})
}

func TestTheLongestAckTimeoutIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{AckTimeout: math.MaxInt64}, func(p *peer) {
			p.serve(func(packet packets.ControlPacket) {
				if _, ok := packet.(*packets.PublishPacket); ok {
					time.Sleep(35 * time.Second)
				}
			})
		})
		require.NoError(t, c.Publish(t.Context(), "a", 1, nil))
	})
}
