// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTelemetryIsLoggedWithItsProperties(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		for _, suffix := range []string{"", "/"} {
			h.ResetLog()
			c.publish("devices/dev1/messages/events/%24.mid=1&"+
				"$.ct=application%2Fjson%3Bcharset%3Dutf-8&room=k%C3%BCche%20a%2Bb&empty=&null"+
				suffix, 1, 1, "{}")
			require.IsType(t, &packets.PubackPacket{}, c.receive())
			require.Len(t, h.Messages(), 1)
			m := h.Messages()[0]
			assert.Equal(
				t, map[string]string{"$.mid": "1", "$.ct": "application/json;charset=utf-8"},
				m.System,
			)
			assert.Equal(
				t, map[string]string{"room": "küche a+b", "empty": "", "null": ""}, m.Properties,
			)
			assert.Equal(t, byte(1), m.QoS)
		}
		h.ResetLog()
		again := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		again.TopicName, again.Qos, again.MessageID, again.Dup, again.Retain =
			"devices/dev1/messages/events", 1, 9, true, true
		c.send(again)
		require.IsType(t, &packets.PubackPacket{}, c.receive())
		require.Len(t, h.Messages(), 1)
		assert.True(t, h.Messages()[0].Duplicate)
		assert.Equal(t, "true", h.Messages()[0].Properties["mqtt-retain"])
		c.publish("devices/dev1/messages/events/", 0, 0, "at most once")
		synctest.Wait()
		assert.Len(t, h.Messages(), 2)
		c.close()
	})
}

func TestMessageOfTheLargestSizeIsTaken(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		const size = 256 << 10
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		c.deliver(strings.Repeat("x", size))
		c.publish("devices/dev1/messages/events/ab=cd", 1, 1, strings.Repeat("x", size-4))
		require.IsType(t, &packets.PubackPacket{}, c.receive())
		assert.Len(t, h.Messages(), 2)
		c.publish("devices/dev1/messages/events/ab=cd", 1, 1, strings.Repeat("x", size-3))
		c.ended()
		assert.Len(t, h.Messages(), 2)
	})
}

func TestHubClosesTheConnectionOn(t *testing.T) {
	for name, do := range map[string]func(c *client){
		"a message above 256 KB":    func(c *client) { c.publish("devices/dev1/messages/events/", 1, 1, strings.Repeat("x", 256<<10+1)) },
		"QoS 2":                     func(c *client) { c.publish("devices/dev1/messages/events/", 2, 1, "") },
		"another device's topic":    func(c *client) { c.publish("devices/dev2/messages/events/", 1, 1, "") },
		"a module's topic":          func(c *client) { c.publish("devices/dev1/modules/m/messages/events/", 1, 1, "") },
		"a topic of its own choice": func(c *client) { c.publish("sensors/temperature", 0, 0, "") },
		"the topic of a command":    func(c *client) { c.publish("devices/dev1/messages/devicebound/", 1, 1, "") },
		"a second CONNECT": func(c *client) {
			p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
			p.ProtocolName, p.ProtocolVersion, p.ClientIdentifier = "MQTT", 4, "dev1"
			c.send(p)
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, h *Hub, transport string) {
				c := device(t, h, "dev1")
				require.Zero(t, c.connect(transport))
				do(c)
				c.ended()
				assert.Empty(t, h.Messages())
			})
		})
	}
}

func TestSubscriptions(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		all := []string{
			"devices/dev1/messages/devicebound/#", "$iothub/methods/POST/#", "$iothub/twin/res/#",
			"$iothub/twin/PATCH/properties/desired/#",
		}
		assert.Equal(t, []byte{0, 0, 0, 0}, c.subscribe(all...))
		assert.Equal(t, []byte{0}, c.subscribe(all[0]), "again is no more")
		assert.Equal(t, []byte{0x80, 0x80, 0x80}, c.subscribe(
			"/#", "devices/dev2/messages/devicebound/#", "devices/dev1/#",
		))
		c.publish("$iothub/twin/GET/?$rid=1", 1, 5, " ")
		assert.Equal(t, uint16(5), c.receive().(*packets.PubackPacket).MessageID)
		assert.Equal(t, "$iothub/twin/res/200/?$rid=1", c.message().TopicName)
		c.publish("$iothub/methods/res/200/?$rid=1", 0, 0, "{}")
		c.publish("$iothub/twin/PATCH/properties/reported/?$rid=2", 1, 6, "{}")
		assert.Equal(t, uint16(6), c.receive().(*packets.PubackPacket).MessageID)
		assert.Equal(t, "$iothub/twin/res/204/?$rid=2&$version=2", c.message().TopicName)
		assert.Empty(t, h.Messages())
		c.close()
	})
}

func TestSixthSubscriptionIsRefused(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		require.NoError(t, h.PutModule("dev1", Module{ID: "mod1"}))
		c := device(t, h, "dev1/mod1")
		require.Zero(t, c.connect(transport))
		// A module has more than five filters to ask for.
		assert.Equal(t, []byte{0, 0, 0, 0, 0, 0x80}, c.subscribe(
			"$iothub/methods/POST/#", "$iothub/twin/res/#",
			"$iothub/twin/PATCH/properties/desired/#", "devices/dev1/modules/mod1/inputs/#",
			"devices/dev1/modules/mod1/#", "devices/dev1/modules/mod1/messages/devicebound/#",
		))
		c.unsubscribe("$iothub/twin/res/#")
		assert.Equal(t, []byte{0, 0}, c.subscribe(
			"devices/dev1/modules/mod1/messages/devicebound/#", "devices/dev1/modules/mod1/#",
		))
		c.close()
	})
}

func TestWillBecomesTelemetry(t *testing.T) {
	for topic, want := range map[string]map[string]string{
		"devices/dev1/messages/events/":    {"iothub-MessageType": "Will"},
		"devices/dev1/messages/events/a=b": {"iothub-MessageType": "Will", "a": "b"},
		"devices/dev2/messages/events/":    nil,
		"elsewhere":                        nil,
	} {
		onEach(t, func(t *testing.T, h *Hub, transport string) {
			c := device(t, h, "dev1")
			c.will = topic
			require.Zero(t, c.connect(transport))
			c.send(packets.NewControlPacket(packets.Disconnect))
			c.ended()
			synctest.Wait()
			require.Empty(t, h.Messages(), "it disconnected in order")

			require.Zero(t, c.connect(transport))
			c.close()
			time.Sleep(time.Second)
			if want == nil {
				require.Empty(t, h.Messages())
				return
			}
			require.Len(t, h.Messages(), 1)
			assert.Equal(t, "gone", string(h.Messages()[0].Body))
			assert.Equal(t, want, h.Messages()[0].Properties)
		})
	}
}
