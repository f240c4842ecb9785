// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// The official Python client subscribes once and never again, whatever it reconnects for.
func TestASessionComesBackWithAllItsSubscriptions(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		assert.False(t, c.present)
		assert.Equal(t, []byte{1, 1, 1, 0}, append(
			c.subscribeAt(1, commands, methodFilter, twinResponseFilter),
			c.subscribeAt(0, desiredFilter)...,
		))
		c.leave()
		_, err := h.PatchDesired("dev1", map[string]any{"while": "away"})
		require.NoError(t, err)

		require.Zero(t, c.connect(transport))
		assert.True(t, c.present)
		topic, body := c.request("$iothub/twin/GET/?$rid=1", "")
		assert.Equal(t, "$iothub/twin/res/200/?$rid=1", topic)
		assert.Contains(t, body, `"while":"away"`)
		_, err = h.PatchDesired("dev1", map[string]any{"on": true})
		require.NoError(t, err)
		assert.JSONEq(t, `{"on":true,"$version":3}`, string(c.message().Payload),
			"and nothing of what was changed meanwhile: it is not queued")

		status := make(chan int)
		go func() {
			got, _, err := h.Invoke(t.Context(), "dev1", "reboot", nil, InvokeOptions{})
			assert.NoError(t, err)
			status <- got
		}()
		rid := c.message().TopicName[len("$iothub/methods/POST/reboot/?$rid="):]
		c.publish("$iothub/methods/res/204/?$rid="+rid, 0, 0, "")
		assert.Equal(t, 204, <-status)
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("hello")}))
		hello := c.message()
		assert.Equal(t, "hello", string(hello.Payload))
		c.ack(hello)

		// What is given up stays so; a clean session leaves nothing.
		c.unsubscribe(methodFilter)
		c.leave()
		require.Zero(t, c.connect(transport))
		_, _, err = h.Invoke(t.Context(), "dev1", "reboot", nil, InvokeOptions{})
		assert.Equal(t, 404103, codeOf(t, err))
		c.leave()
		c.clean = true
		require.Zero(t, c.connect(transport))
		c.leave()
		c.clean = false
		require.Zero(t, c.connect(transport))
		assert.False(t, c.present)
		c.publish("$iothub/twin/GET/?$rid=2", 1, 7, "")
		c.receive() // the PUBACK, and no answer ahead of it
		synctest.Wait()
		c.leave()
	})
}

func TestASessionHasFiveSubscriptionsAtMost(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		require.NoError(t, h.PutModule("dev1", Module{ID: "m"}))
		c := device(t, h, "dev1/m")
		require.Zero(t, c.connect(transport))
		c.subscribe(methodFilter, twinResponseFilter, desiredFilter,
			"devices/dev1/modules/m/inputs/#", "devices/dev1/modules/m/#")
		c.leave()
		require.Zero(t, c.connect(transport))
		assert.Equal(t, []byte{1, 0x80}, c.subscribeAt(
			1, methodFilter, "devices/dev1/modules/m/messages/devicebound/#",
		), "one that is there already can be changed, and a sixth is refused")
		c.leave()
	})
}

// Azure docs, "Use MQTT to develop an IoT device client": its samples ask for all messages, and
// show what they then receive. Topics that begin with a dollar sign are no part of that (MQTT 3.1.1
// §4.7.2).
func TestADeviceGetsItsMessagesByTheFiltersOfThePublishedSamples(t *testing.T) {
	for _, filter := range []string{"#", "devices/dev1/messages/#", "devices/+/messages/#"} {
		t.Run(filter, func(t *testing.T) {
			onEach(t, func(t *testing.T, h *Hub, transport string) {
				require.NoError(t, h.Put(Device{ID: "dev2"}))
				c := device(t, h, "dev1")
				require.Zero(t, c.connect(transport))
				require.Equal(t, []byte{1}, c.subscribeAt(1, filter))
				require.NoError(t, h.SendC2D("dev2", C2D{Body: []byte("another's")}))
				_, err := h.PatchDesired("dev1", map[string]any{"on": true})
				require.NoError(t, err)
				require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("first")}))
				got := c.message()
				assert.Equal(t, "first", string(got.Payload), "and nothing of the twin")
				c.ack(got)
				c.leave()

				require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("while away")}))
				require.Zero(t, c.connect(transport))
				got = c.message()
				assert.Equal(t, "while away", string(got.Payload))
				c.ack(got)
				c.leave()
			})
		})
	}
}

// Embedded C, and what is built on it, does not write its own ID into the filter.
func TestAPlusInAFilterStandsForTheDeviceItself(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		require.NoError(t, h.Put(Device{ID: "dev2"}))
		require.NoError(t, h.PutModule("dev1", Module{ID: "m"}))
		c, m := device(t, h, "dev1"), device(t, h, "dev1/m")
		require.Zero(t, c.connect(transport))
		require.Zero(t, m.connect(transport))
		assert.Equal(t, []byte{1}, c.subscribeAt(1, "devices/+/messages/devicebound/#"))
		assert.Equal(t, []byte{1, 1}, m.subscribeAt(
			1, "devices/+/modules/+/inputs/#", "devices/dev1/modules/+/messages/devicebound/#",
		))
		require.NoError(t, h.SendC2D("dev2", C2D{Body: []byte("another's")}))
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("mine")}))
		got := c.message()
		assert.Equal(t, "mine", string(got.Payload))
		assert.True(t, strings.HasPrefix(got.TopicName, "devices/dev1/messages/devicebound/"))
		c.ack(got)
		require.NoError(t, h.SendC2D("dev1/m", C2D{Body: []byte("in"), Input: "i"}))
		got = m.message()
		assert.True(t, strings.HasPrefix(got.TopicName, "devices/dev1/modules/m/inputs/i/"))
		m.ack(got)
		m.leave()

		for _, filter := range []string{
			"devices/+/messages/events/#", "devices/+/#", "+/dev1/messages/devicebound/#",
			"devices/+/messages/+/#", "devices/dev2/messages/devicebound/#", "devices/+",
			"devices/+/modules/+/inputs/#", "/#", "$iothub/methods/+/#",
		} {
			assert.Equal(t, []byte{0x80}, c.subscribe(filter), filter)
		}
		c.leave()
		require.Zero(t, c.connect(transport)) // the session keeps it as any other
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("again")}))
		assert.Equal(t, "again", string(c.message().Payload))
		c.unsubscribe("devices/+/messages/devicebound/#")
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("late")}))
		synctest.Wait()
		assert.Len(t, h.C2DQueue("dev1"), 2)
		c.close()
	})
}

func TestSessionsAreKeptOverARestartWhole(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		c := device(t, h, "dev1")
		require.Zero(t, c.connect("mqtt"))
		c.subscribe(methodFilter)
		c.leave()
		var saved strings.Builder
		require.NoError(t, h.Save(&saved))
		require.NoError(t, h.Load(strings.NewReader(saved.String())))
		require.Zero(t, c.connect("mqtt"))
		synctest.Wait()
		_, _, err := h.Invoke(t.Context(), "dev1", "m", nil, InvokeOptions{ResponseTimeout: 5e9})
		assert.Equal(t, 504101, codeOf(t, err), "it was asked")
		c.close()
	})
}
