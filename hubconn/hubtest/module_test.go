// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

func TestModuleDoesAllThatADeviceDoes(t *testing.T) {
	everywhere(t, func(t *testing.T, h *Hub, transport string) {
		require.NoError(t, h.PutModule("dev1", Module{ID: "mod1"}))
		c := device(t, h, "dev1/mod1")
		parent := device(t, h, "dev1")
		require.Zero(t, parent.connect(transport))
		require.Zero(t, c.connect(transport))
		assert.True(t, h.Connected("dev1"))
		assert.True(t, h.Connected("dev1/mod1"))
		assert.Equal(t, "dev1/mod1", last(t, h).DeviceID)

		c.publish("devices/dev1/modules/mod1/messages/events/%24.on=out1&a=b", 1, 1, "hello")
		require.IsType(t, &packets.PubackPacket{}, c.receive())
		m := h.Messages()[0]
		assert.Equal(t, "dev1", m.DeviceID)
		assert.Equal(t, "mod1", m.ModuleID)
		assert.Equal(t, "out1", m.System["$.on"])

		require.Equal(
			t, []byte{0, 0, 0}, c.subscribe(twinResponseFilter, desiredFilter, methodFilter),
		)
		topic, _ := c.request(report+"1", `{"a":1}`)
		assert.Equal(t, "$iothub/twin/res/204/?$rid=1&$version=2", topic)
		_, err := h.PatchDesired("dev1/mod1", map[string]any{"b": 2})
		require.NoError(t, err)
		assert.Equal(t, twinPush+"2", c.message().TopicName)
		own, _ := h.Twin("dev1")
		assert.Equal(t, int64(1), own.ReportedVersion, "the device has a twin of its own")

		done := invoke(t.Context(), h, "dev1/mod1", "m", nil, InvokeOptions{})
		c.answerMethod(c.message().TopicName, "200", "")
		assert.NoError(t, (<-done).err)

		require.NoError(t, h.SendC2D("dev1/mod1", C2D{
			Body: []byte("in"), Input: "in1", Properties: map[string]string{"a": "b"},
		}))
		require.NoError(t, h.SendC2D("dev1/mod1", C2D{Body: []byte("bound")}))
		require.Equal(t, []byte{1}, c.subscribeAt(1, "devices/dev1/modules/mod1/inputs/#"))
		in := c.message()
		assert.Regexp(t, `^devices/dev1/modules/mod1/inputs/in1/.*&a=b$`, in.TopicName)
		c.ack(in)
		require.Equal(t, []byte{1}, c.subscribeAt(1, "devices/dev1/modules/mod1/#"))
		bound := c.message()
		assert.Regexp(t, `^devices/dev1/modules/mod1/messages/devicebound/`, bound.TopicName)
		c.ack(bound)
		c.close()
		parent.close()
	})
}

func TestModuleTopicsAreItsOwn(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		require.NoError(t, h.PutModule("dev1", Module{ID: "mod1"}))
		c := device(t, h, "dev1/mod1")
		require.Zero(t, c.connect(transport))
		assert.Equal(t, []byte{0x80, 0x80, 0x80}, c.subscribe(
			commands, "devices/dev1/modules/mod2/#", "devices/dev1/#",
		))
		c.publish("devices/dev1/messages/events/", 1, 1, "as my device")
		c.ended()
	})
}

func TestModuleNeedsItsOwnKey(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		require.NoError(t, h.PutModule("dev1", Module{ID: "mod1"}))
		d, _ := h.Get("dev1")
		for _, resource := range []string{"/devices/dev1", "/devices/dev1/modules/mod1"} {
			c := device(t, h, "dev1/mod1")
			c.password = token(t, hubHost+resource, d.PrimaryKey, h.network.Now().Add(time.Hour))
			assert.Equal(t, byte(5), c.connect(transport), resource)
			c.close()
		}
		c := device(t, h, "dev1/mod2")
		c.password = "SharedAccessSignature sr=a&sig=b&se=1"
		assert.Equal(t, byte(5), c.connect(transport))
		c.close()
		assert.Equal(t, "no such module: mod2", last(t, h).Reason)
	})
}

func TestModuleGoesWithItsDevice(t *testing.T) {
	for name, end := range map[string]func(h *Hub){
		"deleted":        func(h *Hub) { h.Delete("dev1") },
		"disabled":       func(h *Hub) { h.Disable("dev1") },
		"put disabled":   func(h *Hub) { d, _ := h.Get("dev1"); d.Disabled = true; _ = h.Put(d) },
		"module deleted": func(h *Hub) { h.DeleteModule("dev1", "mod1") },
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, h *Hub, transport string) {
				require.NoError(t, h.PutModule("dev1", Module{ID: "mod1"}))
				c := device(t, h, "dev1/mod1")
				require.Zero(t, c.connect(transport))
				end(h)
				c.ended()
				synctest.Wait()
				assert.Equal(t, byte(5), c.connect(transport))
				c.close()
			})
		})
	}
}

func TestModulesInTheRegistry(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		require.NoError(t, h.Put(Device{ID: "dev10"}))
		assert.Equal(t, []string{"dev1", "dev10"}, h.Devices())
		assert.Equal(t, 404001, codeOf(t, h.PutModule("dev2", Module{ID: "m"})))
		assert.Error(t, h.PutModule("dev1", Module{ID: "a/b"}))
		assert.Error(t, h.PutModule("dev1", Module{ID: "m", PrimaryKey: "?"}))
		assert.Error(t, h.Put(Device{ID: "dev1/m"}))
		for i := range 50 {
			require.NoError(t, h.PutModule("dev1", Module{ID: fmt.Sprintf("m%02d", i)}))
		}
		assert.Error(t, h.PutModule("dev1", Module{ID: "one-too-many"}))
		require.NoError(
			t, h.PutModule("dev1", Module{ID: "m00", PrimaryKey: "a2V5"}), "a change is no more",
		)
		m, ok := h.Module("dev1", "m00")
		require.True(t, ok)
		assert.Equal(t, "a2V5", m.PrimaryKey)
		assert.NotEmpty(t, m.GenerationID)
		assert.Len(t, h.Modules("dev1"), 50)
		assert.Empty(t, h.Modules("dev10"))
		_, ok = h.Get("dev1/m00")
		assert.False(t, ok, "a module is no device")
		assert.False(t, h.Disable("dev1/m00"))
		assert.False(t, h.Delete("dev1/m00"))
		assert.True(t, h.DeleteModule("dev1", "m00"))
		assert.False(t, h.DeleteModule("dev1", "m00"))
		assert.True(t, h.Delete("dev1"))
		_, ok = h.Module("dev1", "m01")
		assert.False(t, ok)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		assert.Empty(t, h.Modules("dev1"))
	})
}
