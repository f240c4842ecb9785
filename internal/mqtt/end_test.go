// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/memnet"
)

func TestCloseSaysGoodbyeAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last packets.ControlPacket
		gone := make(chan struct{})
		c := connect(t, Options{}, func(p *peer) {
			p.serve(func(packet packets.ControlPacket) { last = packet })
			close(gone)
		})
		require.NoError(t, c.Publish(t.Context(), "a", 1, nil))
		require.NoError(t, c.Close())
		require.NoError(t, c.Close(), "again")
		<-gone
		assert.IsType(t, &packets.DisconnectPacket{}, last)
		assert.ErrorIs(t, context.Cause(c.Context()), ErrClosed)
		lost, ok := errors.AsType[*LostError](c.Publish(t.Context(), "a", 1, nil))
		require.True(t, ok)
		assert.ErrorIs(t, lost, ErrClosed)
		assert.ErrorIs(t, c.Subscribe(t.Context(), "a", 1), ErrClosed)
		assert.ErrorIs(t, c.Drain(t.Context()), ErrClosed)
		assert.False(t, c.tap.life.timer.Stop(), "nothing keeps its memory")
		assert.False(t, c.tap.goodbye.Stop(), "nothing keeps its memory")
	})
}

func TestCloseFromManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{}, func(p *peer) { p.serve(nil) })
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { assert.NoError(t, c.Close()) })
		}
		all.Wait()
	})
}

func TestALostConnectionEndsEverythingThatWaits(t *testing.T) {
	for name, lose := range map[string]func(*peer){
		"closed": func(p *peer) { _ = p.nc.Close() },
		"reset":  func(p *peer) { p.nc.(*memnet.Conn).Reset() },
	} {
		synctest.Test(t, func(t *testing.T) {
			c, p := connected(t, Options{}, deaf)
			results := make(chan error, 20)
			for range 10 {
				go func() { results <- c.Publish(t.Context(), "a", 1, make([]byte, 1000)) }()
				go func() { results <- c.Subscribe(t.Context(), "a", 1) }()
			}
			synctest.Wait()
			start := time.Now()
			lose(p)
			for range 20 {
				err := <-results
				assert.Error(t, c.Context().Err(), "the context is done first")
				lost, ok := errors.AsType[*LostError](err)
				require.True(t, ok, "%v", err)
				assert.Equal(t, context.Cause(c.Context()), lost.Err)
			}
			if name == "reset" {
				assert.ErrorIs(t, context.Cause(c.Context()), syscall.ECONNRESET)
			} else {
				assert.ErrorIs(t, context.Cause(c.Context()), io.EOF)
			}
			require.NoError(t, c.Close())
			assert.Zero(t, time.Since(start))
		})
	}
}

// With its send buffer full, a client that trusts Paho never notices.
func TestAStalledPeerIsNoticedTenSecondsAfterThePing(t *testing.T) {
	for _, full := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			nc, p := link(t)
			play(t, p, deaf)
			c, err := Connect(
				t.Context(), nc, Options{ClientID: "dev1", KeepAlive: 240 * time.Second},
			)
			require.NoError(t, err)
			p.nc.(*memnet.Conn).Stall(true)
			if full {
				_, _ = nc.Write(make([]byte, 64<<10))
			}
			start := time.Now()
			<-c.Context().Done()
			assert.Equal(t, 235*time.Second, time.Since(start))
			timeout, ok := errors.AsType[*TimeoutError](context.Cause(c.Context()))
			if !ok {
				require.True(t, full) // the PINGREQ has not left within ten seconds either
				require.ErrorIs(t, context.Cause(c.Context()), os.ErrDeadlineExceeded)
			} else {
				assert.Equal(t, "PINGRESP", timeout.For)
			}
			require.NoError(t, c.Close())
			assert.Equal(t, 235*time.Second, time.Since(start), "nothing to wait for")
		})
	}
}

func TestAStalledPeerIsNoticedByAWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connected(t, Options{}, deaf)
		p.nc.(*memnet.Conn).Stall(true)
		synctest.Wait()
		results := make(chan error, 10)
		start := time.Now()
		for range 10 {
			go func() { results <- c.Publish(t.Context(), "a", 1, make([]byte, 100<<10)) }()
		}
		for range 10 {
			_, ok := errors.AsType[*LostError](<-results)
			assert.True(t, ok)
		}
		assert.Equal(t, 10*time.Second, time.Since(start))
		require.NoError(t, c.Close())
		assert.Equal(t, 10*time.Second, time.Since(start))
	})
}

func TestContextEndsAPublishThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connected(t, Options{}, deaf)
		p.nc.(*memnet.Conn).Stall(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		results := make(chan error, 10)
		for range 10 {
			go func() { results <- c.Publish(ctx, "a", 1, make([]byte, 100<<10)) }()
		}
		for range 10 {
			assert.ErrorIs(t, <-results, context.DeadlineExceeded)
		}
		assert.Equal(t, time.Second, time.Since(start))
		require.NoError(t, c.Close())
		assert.LessOrEqual(t, time.Since(start), time.Second+100*time.Millisecond)
		require.ErrorIs(t, context.Cause(c.Context()), ErrClosed)
		goodbye := time.Now()
		<-c.done // by itself
		assert.LessOrEqual(t, time.Since(goodbye), closeTimeout)
	})
}

func TestAnIdleConnectionStaysUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pings := 0
		c := connect(t, Options{KeepAlive: 240 * time.Second}, func(p *peer) {
			p.serve(func(packet packets.ControlPacket) {
				if _, ok := packet.(*packets.PingreqPacket); ok {
					pings++
				}
			})
		})
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		assert.NoError(t, c.Context().Err())
		assert.Equal(t, 24*60*60/225, pings)
		assert.EqualValues(t, pings, c.Acknowledged())
	})
}

func TestAMissingAcknowledgementEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{AckTimeout: 4 * time.Minute, KeepAlive: time.Minute},
			func(p *peer) {
				p.accept(0)
				for {
					switch p.next().(type) {
					case *packets.PingreqPacket:
						p.send(0xd0, 0)
					case nil:
						return
					}
				}
			})
		start := time.Now()
		err := c.Publish(t.Context(), "a", 1, nil)
		assert.Equal(t, 4*time.Minute, time.Since(start))
		timeout, ok := errors.AsType[*TimeoutError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, "acknowledgement", timeout.For)
		assert.Error(t, c.Context().Err())
	})
}

func TestAServerThatReadsNoAcknowledgementsEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		received := 0
		c := connect(t, Options{WriteTimeout: time.Hour, Receive: func(m Message) {
			received++
			m.Ack()
		}}, func(p *peer) {
			p.accept(0)
			for i := range 2 * maxPending / 4 {
				p.publish("a", 1, uint16(i%1000+1), nil)
			}
		})
		<-c.Context().Done()
		assert.ErrorIs(t, context.Cause(c.Context()), ErrOverflow)
		require.NoError(t, c.Close())
		assert.Greater(t, received, maxPending/4)
	})
}

func TestAnAnswerBeforeTheCloseIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan Message, 1)
		c := connect(t, Options{Receive: func(m Message) { got <- m }}, func(p *peer) {
			p.accept(0)
			p.publish("answer", 1, 1, []byte("42"))
			_ = p.nc.Close()
		})
		assert.Equal(t, "42", string((<-got).Payload))
		<-c.Context().Done()
	})
}

// The announced length is refused before Paho sets memory aside: of the 300 MB, no byte is ever
// sent.
func TestAHostilePeerEndsTheConnection(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"PUBLISH of 300 MB announced":    {0x30, 0x80, 0xa6, 0xc4, 0x8f, 0x01},
		"PUBLISH of 256 MB announced":    {0x30, 0xff, 0xff, 0xff, 0x7f},
		"PUBLISH one byte above limit":   {0x30, 0x81, 0x80, 0x18},
		"length of five bytes":           {0x30, 0x80, 0x80, 0x80, 0x80},
		"PUBLISH of QoS 2":               {0x34, 5, 0, 1, 'a', 0, 1},
		"PUBLISH of QoS 3":               {0x36, 5, 0, 1, 'a', 0, 1},
		"PUBLISH without topic":          {0x30, 1, 0},
		"PUBLISH without identifier":     {0x32, 3, 0, 1, 'a'},
		"PUBLISH with a topic beyond it": {0x30, 4, 0, 3, 'a', 'b'},
		"SUBACK with many codes":         {0x90, 10, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0},
		"SUBACK without identifier":      {0x90, 1, 0},
		"PUBACK of three bytes":          {0x40, 3, 0, 1, 0},
		"PUBACK of no bytes":             {0x40, 0},
		"PINGRESP with a body":           {0xd0, 1, 0},
		"second CONNACK":                 {0x20, 2, 0, 0},
		"CONNECT from a server":          {0x10, 0},
		"PUBREC":                         {0x50, 2, 0, 1},
		"PUBREL":                         {0x62, 2, 0, 1},
		"PUBCOMP":                        {0x70, 2, 0, 1},
		"SUBSCRIBE from a server":        {0x82, 0},
		"PINGREQ from a server":          {0xc0, 0},
		"DISCONNECT from a server":       {0xe0, 0},
		"type 0":                         {0x00, 0},
		"type 15":                        {0xf0, 0},
		"reserved flags":                 {0x41, 2, 0, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := connect(t, Options{}, func(p *peer) {
				p.accept(0)
				time.Sleep(time.Second)
				p.send(bytes...)
				p.ignore()
			})
			<-c.Context().Done()
			_, ok := errors.AsType[*ProtocolError](context.Cause(c.Context()))
			assert.True(t, ok, "%s: %v", name, context.Cause(c.Context()))
		})
	}
}

// A call into a Paho client that knows of the end may block for its write timeout.
func TestPahoLearnsOfTheEndWhenNoCallIsInsideIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connected(t, Options{}, deaf)
		require.NoError(t, c.tap.enter())
		_ = p.nc.Close()
		<-c.Context().Done()
		synctest.Wait()
		assert.True(t, c.client.IsConnected())
		c.tap.leave()
		<-c.done
		assert.False(t, c.client.IsConnected())
	})
}

func TestConnectLoseAndCloseAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		for i := range 200 {
			client, server := memnet.Pipe("device:1", "hub:8883")
			p := &peer{t: t, nc: server}
			var playing sync.WaitGroup
			playing.Go(func() {
				p.accept(0)
				if i%2 == 0 {
					p.acknowledge(nil)
				}
				_ = server.Close()
			})
			c, err := Connect(t.Context(), client, Options{ClientID: "dev1"})
			if err == nil {
				var sending sync.WaitGroup
				for range 4 {
					sending.Go(func() { _ = c.Publish(t.Context(), "a", 1, []byte("x")) })
					sending.Go(func() { _ = c.Subscribe(t.Context(), "a", 1) })
				}
				if i%3 == 0 {
					require.NoError(t, c.Close())
				}
				sending.Wait()
				require.NoError(t, c.Close())
			}
			playing.Wait()
		}
		assert.Zero(t, time.Since(start), "no call was inside Paho when the connection ended")
	})
}

// The network may fail on what is written after Close, before the time for the goodbye is over.
func TestAGoodbyeThatFailsLeavesNothingOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connected(t, Options{}, deaf)
		p.nc.(*memnet.Conn).Stall(true)
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		assert.Error(t, c.Publish(ctx, "a", 1, make([]byte, 200<<10)))
		require.NoError(t, c.Close()) // a second before the write gives up
		select {
		case <-c.done:
		case <-time.After(closeTimeout):
			assert.Fail(t, "something is left")
		}
	})
}
