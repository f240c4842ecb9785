// SPDX-License-Identifier: Apache-2.0

package mqttserver

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClientThatSaysNothingIsDisconnected(t *testing.T) {
	slow := func(t *testing.T, o Options, drip time.Duration) (time.Duration, error) {
		c := dial(t, &service{}, o)
		var dripping sync.WaitGroup
		dripping.Go(func() { // a byte now and then does not buy time
			for drip > 0 {
				time.Sleep(drip)
				if _, err := c.nc.Write([]byte{0x10}); err != nil {
					return
				}
			}
		})
		defer dripping.Wait()
		start := time.Now()
		_, err := io.ReadAll(c.nc)
		require.NoError(t, err)
		_ = c.nc.Close()
		return time.Since(start), <-c.served
	}
	synctest.Test(t, func(t *testing.T) {
		after, err := slow(t, Options{}, 0)
		assert.Equal(t, 30*time.Second, after)
		assert.EqualError(t, err, "mqtt connect: no CONNECT within 30s")
	})
	synctest.Test(t, func(t *testing.T) {
		after, err := slow(
			t, Options{ConnectTimeout: time.Hour, MaxPacket: 1 << 30}, 25*time.Minute,
		)
		assert.Equal(t, time.Hour, after)
		assert.Error(t, err)
	})
}

func TestClientThatReadsNothingIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &service{connected: func(_ context.Context, s *Session) error {
			s.Go(func(ctx context.Context) error {
				for {
					if _, err := s.Publish(
						ctx, Message{Topic: "flood", Payload: make([]byte, 10000)},
					); err != nil {
						return err
					}
				}
			})
			return nil
		}}
		c := connected(t, v, Options{WriteTimeout: time.Minute})
		start := time.Now()
		var timeout net.Error
		require.ErrorAs(t, <-c.served, &timeout)
		assert.True(t, timeout.Timeout())
		assert.Equal(t, time.Minute, time.Since(start))
		require.NoError(t, c.nc.Close())
	})
}

func TestClientsThatBreakTheProtocolAreDisconnected(t *testing.T) {
	qos2 := publishPacket("t", 2, 1, "")
	for name, send := range map[string]func(*client){
		"CONNECT twice":              func(c *client) { c.send(connectPacket()) },
		"PUBLISH at QoS 2":           func(c *client) { c.send(qos2) },
		"PUBLISH to a wildcard":      func(c *client) { c.send(publishPacket("a/#", 0, 0, "")) },
		"PUBLISH to nowhere":         func(c *client) { c.send(publishPacket("", 0, 0, "")) },
		"PUBLISH with identifier 0":  func(c *client) { c.send(publishPacket("t", 1, 0, "")) },
		"topic that is not UTF-8":    func(c *client) { c.send(publishPacket("\xff\xfe", 0, 0, "")) },
		"topic with a null":          func(c *client) { c.send(publishPacket("a\x00b", 0, 0, "")) },
		"SUBSCRIBE to nothing":       func(c *client) { c.send(subscribePacket(1, 0)) },
		"SUBSCRIBE at QoS 3":         func(c *client) { c.send(subscribePacket(1, 3, "a")) },
		"SUBSCRIBE with wrong flags": func(c *client) { c.raw(0x80, 6, 0, 1, 0, 1, 'a', 0) },
		"SUBSCRIBE cut short":        func(c *client) { c.raw(0x82, 5, 0, 1, 0, 9, 'a') },
		"UNSUBSCRIBE cut short":      func(c *client) { c.raw(0xa2, 5, 0, 1, 0, 9, 'a') },
		"UNSUBSCRIBE without filter": func(c *client) { c.raw(0xa2, 2, 0, 1) },
		"UNSUBSCRIBE with half":      func(c *client) { c.raw(0xa2, 7, 0, 1, 0, 1, 'a', 0, 9) },
		"PINGREQ with a body":        func(c *client) { c.raw(0xc0, 1, 0) },
		"packet only servers send":   func(c *client) { c.raw(0x20, 2, 0, 0) },
		"reserved packet type":       func(c *client) { c.raw(0xf0, 0) },
		"packet type 0":              func(c *client) { c.raw(0x00, 0) },
		"PUBREC":                     func(c *client) { c.raw(0x50, 2, 0, 1) },
		"PUBLISH at QoS 3":           func(c *client) { c.raw(0x36, 0) },
		"endless remaining length":   func(c *client) { c.raw(0xc0, 0xff, 0xff, 0xff, 0xff, 0x01) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := connected(t, &service{}, Options{})
				send(c)
				assert.ErrorIs(t, c.end(), ErrMalformed)
			})
		})
	}
	for name, first := range map[string][]byte{
		"ping before CONNECT":    {0xc0, 0},
		"PUBACK before CONNECT":  {0x40, 2, 0, 1},
		"HTTP":                   []byte("GET / HTTP/1.1\r\nHost: hub\r\n\r\n"),
		"TLS":                    {0x16, 0x03, 0x01, 0x00, 0x05},
		"another protocol":       {0x10, 12, 0, 4, 'A', 'M', 'Q', 'P', 4, 2, 0, 0, 0, 0},
		"reserved connect flag":  {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 3, 0, 0, 0, 0},
		"will QoS without will":  {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x0a, 0, 0, 0, 0},
		"password without user":  {0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x42, 0, 0, 0, 0, 0, 0},
		"client ID cut short":    {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 9},
		"bytes after the last":   {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0, 'x'},
		"client ID not UTF-8":    {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 0xff},
		"protocol name too long": {0x10, 4, 0xff, 0xff, 'M', 'Q'},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &service{}
				c := dial(t, v, Options{})
				c.raw(first...)
				assert.ErrorIs(t, c.end(), ErrMalformed)
				assert.Empty(t, v.ended, "the handler never heard of it")
			})
		})
	}
}

func TestPacketAboveTheLimitIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connected(t, &service{}, Options{MaxPacket: 1000})
		c.send(publishPacket("t", 1, 1, strings.Repeat("x", 1000-5)))
		c.receive()
		c.raw(0x30, 0xe9, 0x07) // announces 1001 bytes
		assert.ErrorIs(t, c.end(), ErrTooLarge)
	})
}
