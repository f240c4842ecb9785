// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

const (
	getTwin  = "$iothub/twin/GET/?$rid="
	report   = "$iothub/twin/PATCH/properties/reported/?$rid="
	twinPush = "$iothub/twin/PATCH/properties/desired/?$version="
)

// withTwin connects a device that listens for all of its twin.
func withTwin(t *testing.T, h *Hub, id, transport string) *client {
	c := device(t, h, id)
	require.Zero(t, c.connect(transport))
	require.Equal(t, []byte{0, 0}, c.subscribe(twinResponseFilter, desiredFilter))
	return c
}

func TestTwinIsReadAndReported(t *testing.T) {
	everywhere(t, func(t *testing.T, h *Hub, transport string) {
		c := withTwin(t, h, "dev1", transport)
		topic, body := c.request(getTwin+"a-1", " ")
		assert.Equal(t, "$iothub/twin/res/200/?$rid=a-1", topic)
		assert.JSONEq(t, `{"desired":{"$version":1},"reported":{"$version":1}}`, body)

		topic, body = c.request(report+"2", `{"a":{"b":1,"c":"x"},"d":[1,2]}`)
		assert.Equal(t, "$iothub/twin/res/204/?$rid=2&$version=2", topic)
		assert.Empty(t, body)
		topic, _ = c.request(report+"3", `{"a":{"b":null}}`)
		assert.Equal(t, "$iothub/twin/res/204/?$rid=3&$version=3", topic)

		_, body = c.request(getTwin+"4", "")
		assert.JSONEq(
			t, `{"desired":{"$version":1},"reported":{"a":{"c":"x"},"d":[1,2],"$version":3}}`, body,
		)
		twin, ok := h.Twin("dev1")
		require.True(t, ok)
		assert.Equal(
			t, map[string]any{"a": map[string]any{"c": "x"}, "d": []any{1.0, 2.0}}, twin.Reported,
		)
		assert.Equal(t, int64(3), twin.ReportedVersion)

		// At QoS 1 the PUBACK comes first.
		c.publish(getTwin+"5", 1, 9, "")
		require.IsType(t, &packets.PubackPacket{}, c.receive())
		assert.Equal(t, "$iothub/twin/res/200/?$rid=5", c.message().TopicName)
		assert.Zero(t, c.messageQoS())
		c.close()
	})
}

// messageQoS asks once more and returns the QoS of the response.
func (c *client) messageQoS() byte {
	c.t.Helper()
	c.publish(getTwin+"qos", 0, 0, "")
	return c.message().Qos
}

func TestDesiredPropertiesReachTheDevice(t *testing.T) {
	everywhere(t, func(t *testing.T, h *Hub, transport string) {
		version, err := h.PatchDesired("dev1", map[string]any{"before": 1})
		require.NoError(t, err)
		assert.Equal(t, int64(2), version)

		c := withTwin(t, h, "dev1", transport)
		version, err = h.PatchDesired("dev1", map[string]any{"target": 21.5, "before": nil})
		require.NoError(t, err)
		assert.Equal(t, int64(3), version)
		m := c.message()
		assert.Equal(t, twinPush+"3", m.TopicName)
		assert.JSONEq(t, `{"target":21.5,"before":null,"$version":3}`, string(m.Payload))

		require.NoError(t, h.PatchTags("dev1", map[string]any{"room": "attic"}))
		twin, err := h.ReplaceTwin(
			"dev1", TwinChange{Desired: map[string]any{"only": []string{"this"}}}, "*",
		)
		require.NoError(t, err)
		assert.Equal(t, map[string]any{"only": []any{"this"}}, twin.Desired)
		assert.Equal(t, map[string]any{"room": "attic"}, twin.Tags)
		m = c.message()
		assert.Equal(t, twinPush+"4", m.TopicName, "tags are not the device's")
		assert.JSONEq(t, `{"only":["this"],"$version":4}`, string(m.Payload))

		c.unsubscribe(desiredFilter)
		_, err = h.PatchDesired("dev1", map[string]any{"unheard": true})
		require.NoError(t, err)
		_, body := c.request(getTwin+"1", "")
		assert.JSONEq(
			t,
			`{"desired":{"only":["this"],"unheard":true,"$version":5},"reported":{"$version":1}}`,
			body,
		)
		c.close()
	})
}

func TestDesiredPropertiesAreNotKeptForADeviceThatIsAway(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := withTwin(t, h, "dev1", transport)
		c.leave()
		_, err := h.PatchDesired("dev1", map[string]any{"a": 1})
		require.NoError(t, err)
		c = device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		_, err = h.PatchDesired("dev1", map[string]any{"a": 2})
		require.NoError(t, err)
		// The subscription has outlived the connection, but not what came meanwhile.
		assert.JSONEq(t, `{"a":2,"$version":3}`, string(c.message().Payload))
		c.silent(time.Minute)
		c.close()
	})
}

func TestTwinAnswersAreLostOnADeviceThatDoesNotListen(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		c.publish(report+"1", 0, 0, `{"a":1}`)
		c.publish("$iothub/twin/GET/?no-rid", 0, 0, ``)
		c.silent(time.Minute)
		twin, _ := h.Twin("dev1")
		assert.Equal(t, map[string]any{"a": 1.0}, twin.Reported, "it was taken")
		c.close()
	})
}

// sized is an object that counts as size.
func sized(size int) map[string]any {
	m := map[string]any{}
	for i := 0; size > 0; i++ {
		key := string(rune('a'+i/26)) + string(rune('a'+i%26))
		n := min(size-len(key), maxString)
		m[key] = strings.Repeat("x", n)
		size -= n + len(key)
	}
	return m
}

func TestTwinLimits(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		for name, test := range map[string]struct {
			limit int
			patch func(map[string]any) error
		}{
			"tags":    {8 << 10, func(m map[string]any) error { return h.PatchTags("dev1", m) }},
			"desired": {32 << 10, func(m map[string]any) error { _, err := h.PatchDesired("dev1", m); return err }},
		} {
			assert.NoError(t, test.patch(sized(test.limit)), name)
			assert.Equal(t, 400004, codeOf(t, test.patch(sized(test.limit+1))), name)
			assert.Equal(t, 400004, codeOf(t, test.patch(map[string]any{"more": true})), name)
			assert.Equal(t, 400004, codeOf(t, test.patch(map[string]any{"a.b": true})), name)
			assert.Equal(t, 400004, codeOf(t, test.patch(map[string]any{"a": func() {}})), name)
			circle := map[string]any{}
			circle["a"] = circle
			assert.Equal(t, 400004, codeOf(t, test.patch(circle)), name)
		}
		c := withTwin(t, h, "dev1", transport)
		tell := func(patch map[string]any) (string, string) {
			body, err := json.Marshal(patch)
			require.NoError(t, err)
			return c.request(report+"1", string(body))
		}
		topic, _ := tell(sized(32 << 10))
		assert.Equal(t, "$iothub/twin/res/204/?$rid=1&$version=2", topic)
		topic, body := tell(map[string]any{"more": true})
		assert.Equal(t, "$iothub/twin/res/400/?$rid=1", topic)
		assert.Contains(t, body, `"errorCode":400004`)
		h.SetOversizeStatus(413)
		topic, body = tell(map[string]any{"more": true})
		assert.Equal(t, "$iothub/twin/res/413/?$rid=1", topic)
		assert.Contains(t, body, `"errorCode":413001`)
		topic, _ = tell(map[string]any{"aa": nil})
		assert.Equal(t, "$iothub/twin/res/204/?$rid=1&$version=3", topic, "smaller is allowed")
		for _, bad := range []string{
			"", "{", "[]", "null", `{"$version":1}`, `{"a":"` + strings.Repeat("x", 4097) + `"}`,
		} {
			topic, body = c.request(report+"bad", bad)
			assert.Equal(t, "$iothub/twin/res/400/?$rid=bad", topic)
			var refusal struct{ ErrorCode int }
			require.NoError(t, json.Unmarshal([]byte(body), &refusal))
			assert.Equal(t, 400004, refusal.ErrorCode)
		}
		twin, _ := h.Twin("dev1")
		assert.Equal(t, int64(3), twin.ReportedVersion)
		c.close()
	})
}

func TestTwinChangesOnlyWithItsETag(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		before, _ := h.Twin("dev1")
		after, err := h.PatchTwin(
			"dev1", TwinChange{Tags: map[string]any{"a": 1}, Desired: map[string]any{"b": 2}},
			before.ETag,
		)
		require.NoError(t, err)
		assert.NotEqual(t, before.ETag, after.ETag)
		_, err = h.PatchTwin("dev1", TwinChange{Tags: map[string]any{"a": 2}}, before.ETag)
		assert.Equal(t, 412001, codeOf(t, err))
		now, _ := h.Twin("dev1")
		assert.Equal(t, after, now)
		now.Desired["b"], now.Tags["c"] = 3, 4
		again, _ := h.Twin("dev1")
		assert.Equal(t, after, again, "a twin is the caller's own")

		_, err = h.PatchDesired("dev2", nil)
		assert.Equal(t, 404001, codeOf(t, err))
		_, err = h.PatchDesired("dev1/mod1", nil)
		assert.Equal(t, 404010, codeOf(t, err))
		assert.Equal(t, 404001, codeOf(t, h.SetTwin("dev2", Twin{})))
		_, ok := h.Twin("dev2")
		assert.False(t, ok)
	})
}

func TestTwinMovesFromHubToHub(t *testing.T) {
	onEach(t, func(t *testing.T, from *Hub, transport string) {
		to := NewHub(from.network, "hub-b.azure-devices.net")
		require.NoError(t, to.Put(Device{ID: "dev1"}))
		c := withTwin(t, from, "dev1", transport)
		_, err := from.PatchTwin("dev1", TwinChange{
			Tags: map[string]any{"room": "attic"}, Desired: map[string]any{"target": 21},
		}, "")
		require.NoError(t, err)
		c.message()
		c.request(report+"1", `{"is":20,"far":1e20}`)
		c.close()

		twin, _ := from.Twin("dev1")
		require.NoError(t, to.SetTwin("dev1", twin))
		c = withTwin(t, to, "dev1", transport)
		_, body := c.request(getTwin+"1", "")
		assert.JSONEq(
			t, `{"desired":{"target":21,"$version":2},"reported":{"is":20,"far":1e20,"$version":2}}`,
			body,
		)
		moved, _ := to.Twin("dev1")
		assert.Equal(t, twin.Tags, moved.Tags)
		c.close()

		require.NoError(t, to.SetTwin("dev1", Twin{}))
		reset, _ := to.Twin("dev1")
		assert.Equal(t, int64(1), reset.DesiredVersion)
		assert.Equal(t, int64(1), reset.ReportedVersion)
		assert.Empty(t, reset.Reported)
		assert.Equal(t, 400004, codeOf(t, to.SetTwin("dev1", Twin{Reported: sized(32<<10 + 1)})))
		require.NoError(t, to.Put(Device{ID: "dev1", PrimaryKey: "a2V5"}))
		same, _ := to.Twin("dev1")
		assert.Equal(t, reset, same, "new keys leave the twin alone")
	})
}

func TestTwinFaults(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := withTwin(t, h, "dev1", transport)
		h.Inject(Fault{On: TwinGet, Status: 429, Code: 429001, Message: "slow down"})
		topic, body := c.request(getTwin+"1", "")
		assert.Equal(t, "$iothub/twin/res/429/?$rid=1", topic)
		assert.Contains(t, body, `"errorCode":429001`)
		assert.Contains(t, body, "slow down")
		h.Inject(Fault{On: TwinPatch, Status: 503, Delay: time.Second})
		start := time.Now()
		topic, body = c.request(report+"2", `{"a":1}`)
		assert.Equal(t, "$iothub/twin/res/503/?$rid=2", topic)
		assert.Contains(t, body, `"errorCode":503000`)
		assert.Equal(t, time.Second, time.Since(start))

		h.Inject(Fault{On: TwinPatch, NoAnswer: true})
		c.publish(report+"3", 0, 0, `{"lost":1}`)
		h.Inject(Fault{On: TwinPatch, NoAnswer: true, Stored: true, DeviceID: "dev1"})
		synctest.Wait()
		c.publish(report+"4", 0, 0, `{"taken":1}`)
		synctest.Wait()
		twin, _ := h.Twin("dev1")
		assert.Equal(t, map[string]any{"taken": 1.0}, twin.Reported)

		// A change of desired properties that gets lost leaves a gap in the versions.
		h.Inject(Fault{On: Desired, NoAnswer: true})
		for v := range 2 {
			_, err := h.PatchDesired("dev1", map[string]any{"v": v})
			require.NoError(t, err)
		}
		assert.Equal(t, twinPush+"3", c.message().TopicName)
		var statuses []int
		for _, o := range h.Operations() {
			statuses = append(statuses, o.Status)
		}
		assert.Equal(t, []int{429, 503}, statuses[:2])
		assert.Equal(t, TwinGet, h.Operations()[0].On)
		assert.Equal(t, transport, h.Operations()[0].Transport)
		h.Inject(Fault{On: TwinGet, Cut: true})
		c.publish(getTwin+"5", 0, 0, "")
		c.ended()
	})
}

func TestManyPatchesArriveInTheOrderOfTheirVersions(t *testing.T) {
	everywhere(t, func(t *testing.T, h *Hub, transport string) {
		c := withTwin(t, h, "dev1", transport)
		done := make(chan struct{})
		for range 4 {
			go func() {
				for range 50 {
					_, err := h.PatchDesired("dev1", map[string]any{"n": 1})
					assert.NoError(t, err)
				}
				done <- struct{}{}
			}()
		}
		for v := 2; v <= 201; v++ {
			var push struct {
				Version int `json:"$version"`
			}
			require.NoError(t, json.Unmarshal(c.message().Payload, &push))
			require.Equal(t, v, push.Version)
		}
		for range 4 {
			<-done
		}
		c.close()
	})
}
