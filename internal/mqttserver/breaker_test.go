// SPDX-License-Identifier: Apache-2.0

package mqttserver

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
)

// patient acknowledges a message a minute later, also where the client has broken the protocol.
type patient struct {
	service
	acks chan *Incoming
	told error
}

func (p *patient) Publish(_ context.Context, _ *Session, m *Incoming) error {
	m.Withhold()
	p.acks <- m
	return nil
}

func (p *patient) Broken(_ context.Context, s *Session, err error) {
	p.told = err
	time.Sleep(time.Minute)
	if (<-p.acks).Ack() != nil {
		s.Close(errors.New("not acknowledged"))
	}
}

func TestWhatCameBeforeABreachOfTheProtocolCanBeAcknowledged(t *testing.T) {
	for name, breach := range map[string]struct {
		send func(*client)
		want error
	}{
		"QoS 2": {func(c *client) { c.send(publishPacket("t", 2, 2, "")) }, ErrMalformed},
		"too large": {func(c *client) {
			c.raw(0x30, 0xe9, 0x07) // announces 1001 bytes
		}, ErrTooLarge},
		"a packet of servers": {func(c *client) { c.raw(0x20, 2, 0, 0) }, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &patient{acks: make(chan *Incoming, 1)}
				c := connected(t, h, Options{MaxPacket: 1000})
				start := time.Now()
				c.send(publishPacket("t", 1, 1, "good"))
				breach.send(c)
				assert.Equal(t, uint16(1), c.receive().(*packets.PubackPacket).MessageID)
				assert.Equal(t, time.Minute, time.Since(start))
				assert.ErrorIs(t, c.end(), breach.want)
				assert.ErrorIs(t, h.told, breach.want)
			})
		})
	}
}

func TestACONNECTHasALimitOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connectPacket()
		p.ClientIdentifier = strings.Repeat("x", 1000)
		c := dial(t, &service{}, Options{MaxConnect: 1000})
		c.raw(0x10, 0xf4, 0x07) // announces 1012 bytes
		assert.ErrorIs(t, c.end(), ErrTooLarge)
		c = connected(t, &service{}, Options{MaxConnect: 1000})
		c.send(publishPacket("t", 1, 1, strings.Repeat("x", 2000)))
		assert.Equal(t, uint16(1), c.receive().(*packets.PubackPacket).MessageID)
		c.leave()
		c = dial(t, &service{}, Options{})
		c.send(p)
		assert.Equal(t, Accepted, c.receive().(*packets.ConnackPacket).ReturnCode)
		c.leave()
	})
}
