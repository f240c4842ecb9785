// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A device whose connection is cut again and again gets every message at least once, and the hub
// settles each exactly once; methods end, versions rise.
func TestBackEndAndAFlappingDevice(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		const messages = 300
		rnd := rand.New(rand.NewPCG(1, 2))
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup

		got := map[string]bool{}
		var version int64
		c := device(t, h, "dev1")
		c.password = token(
			t, hubHost+"/devices/dev1", mustKey(h), h.network.Now().Add(24*time.Hour),
		)
		work.Go(func() { // the device
			for ctx.Err() == nil {
				if _, err := c.dial(transport); err != nil {
					continue
				}
				c.live(func(p packets.ControlPacket) packets.ControlPacket {
					m, ok := p.(*packets.PublishPacket)
					if !ok {
						return nil
					}
					var v int64
					if n, _ := fmt.Sscanf(m.TopicName, twinPush+"%d", &v); n == 1 {
						assert.Greater(t, v, version)
						version = v
						return nil
					}
					if m.Qos == 0 { // a method
						response :=
							packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
						rid, _ := requestID(m.TopicName[len("$iothub/methods/POST/m/?"):])
						response.TopicName = "$iothub/methods/res/200/?$rid=" + rid
						return response
					}
					got[string(m.Payload)] = true
					ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
					ack.MessageID = m.MessageID
					return ack
				})
				time.Sleep(10 * time.Millisecond)
			}
		})
		work.Go(func() { // bad luck
			for ctx.Err() == nil {
				time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
				if rnd.IntN(2) == 0 {
					h.Disconnect("dev1")
				} else {
					h.network.Cut(hubHost)
				}
			}
		})
		work.Go(func() {
			for ctx.Err() == nil {
				_, err := h.PatchDesired("dev1", map[string]any{"n": 1})
				assert.NoError(t, err)
				time.Sleep(100 * time.Millisecond)
			}
		})
		answered := 0
		work.Go(func() {
			for ctx.Err() == nil {
				if _, _, err := h.Invoke(ctx, "dev1", "m", nil, InvokeOptions{
					ConnectTimeout: time.Second, ResponseTimeout: 5 * time.Second,
				}); err == nil {
					answered++
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
		for i := range messages {
			for h.SendC2D("dev1", C2D{Body: fmt.Append(nil, i)}) != nil {
				time.Sleep(time.Second)
			}
			time.Sleep(100 * time.Millisecond)
		}
		for len(h.C2DQueue("dev1")) > 0 {
			time.Sleep(time.Second)
		}
		cancel()
		h.Disable("dev1") // which ends its connection
		work.Wait()
		require.Len(t, h.SettledC2D(), messages)
		settled := map[string]bool{}
		for _, s := range h.SettledC2D() {
			assert.Equal(t, OutcomeSuccess, s.Outcome)
			assert.False(t, settled[string(s.Body)], "settled twice")
			settled[string(s.Body)] = true
		}
		assert.Len(t, got, messages)
		assert.Greater(t, answered, 10)
		assert.Greater(t, version, int64(10))
	})
}

// live connects on a fresh connection and answers each packet, until the connection ends. It never
// fails a test: the network is bad.
func (c *client) live(response func(packets.ControlPacket) packets.ControlPacket) {
	defer c.close()
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.ClientIdentifier = "MQTT", 4, c.id
	p.UsernameFlag, p.Username, p.PasswordFlag, p.Password = true, c.username, true,
		[]byte(c.password)
	subscribe := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	subscribe.MessageID, subscribe.Topics, subscribe.Qoss = 1,
		[]string{commands, methodFilter, desiredFilter}, []byte{1, 0, 0}
	if p.Write(c) != nil || subscribe.Write(c) != nil {
		return
	}
	for {
		in, err := c.read()
		if err != nil {
			return
		}
		if out := response(in); out != nil && out.Write(c) != nil {
			return
		}
	}
}
