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

func TestConnectsAreShapedAndThenRefused(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		h.SetLimits(Limits{ConnectsPerSecond: 10, ConnectBacklog: 20 * time.Second})
		start := time.Now()
		var clients []*client
		for i := range 211 {
			id := fmt.Sprintf("dev%03d", i)
			require.NoError(t, h.Put(Device{ID: id}))
			c := device(t, h, id)
			c.start(transport)
			synctest.Wait()
			clients = append(clients, c)
		}
		for i, c := range clients {
			ack := c.receive().(*packets.ConnackPacket)
			elapsed := time.Since(start)
			switch {
			case i < 10:
				assert.Zero(t, ack.ReturnCode)
				assert.Zero(t, elapsed, "a second's worth at once")
			case i < 210:
				assert.Zero(t, ack.ReturnCode, i)
				assert.Equal(t, time.Duration(i-9)*100*time.Millisecond, elapsed, i)
			default:
				assert.Equal(t, byte(5), ack.ReturnCode)
				assert.Equal(t, 20*time.Second, elapsed)
			}
			c.close()
		}
		assert.Equal(t, "throttled", last(t, h).Reason)
	})
}

func TestSendsOverMQTTAreShapedAndThenDropped(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		h.SetLimits(Limits{SendsPerSecond: 2, Backlog: 10 * time.Second})
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		start := time.Now()
		for i := range 6 {
			c.deliver("hello")
			assert.Equal(t, time.Duration(max(0, i-1))*500*time.Millisecond, time.Since(start), i)
		}
		other := device(t, h, "dev1")
		other.id = "dev2"
		require.NoError(t, h.Put(Device{ID: "dev2"}))
		other = device(t, h, "dev2")
		require.Zero(t, other.connect(transport))
		h.SetLimits(Limits{SendsPerSecond: 2, Backlog: time.Millisecond})
		c.deliver("hello")
		c.deliver("hello")
		other.publish("devices/dev2/messages/events/", 1, 1, "too fast")
		other.ended()
		time.Sleep(time.Second)
		c.deliver("hello")
		c.close()
	})
}

func TestTwinIsThrottledWithoutLosingTheConnection(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		h.SetLimits(Limits{
			TwinReadsPerSecond: 1, TwinUpdatesPerSecond: 1, Backlog: time.Millisecond,
		})
		c := withTwin(t, h, "dev1", transport)
		for _, topic := range []string{getTwin, report} {
			response, _ := c.request(topic+"1", "{}")
			assert.Regexp(t, `^\$iothub/twin/res/20[04]/`, response)
			response, body := c.request(topic+"2", "{}")
			assert.Equal(t, "$iothub/twin/res/429/?$rid=2", response)
			assert.Contains(t, body, "429001")
		}
		time.Sleep(time.Second)
		response, _ := c.request(getTwin+"3", "")
		assert.Equal(t, "$iothub/twin/res/200/?$rid=3", response)
		c.close()
	})
}

func TestRatesOverHTTPS(t *testing.T) {
	for request, limits := range map[string]Limits{
		"POST /messages/events":     {SendsPerSecond: 1},
		"GET /messages/deviceBound": {ReceivesPerSecond: 1}, "POST /files": {UploadsPerSecond: 1},
	} {
		inWeb(t, func(t *testing.T, h *Hub, c *client) {
			limits.Backlog, limits.RetryAfter = 500*time.Millisecond, "30"
			h.SetLimits(limits)
			response, _ := c.https(request, nil, `{"blobName":"a"}`)
			require.Less(t, response.StatusCode, 300)
			response, body := c.https(request, nil, `{"blobName":"a"}`)
			code, name, _ := refused(t, response, body)
			assert.Equal(t, 429001, code)
			assert.Equal(t, "ThrottlingException", name)
			assert.Equal(t, "30", response.Header.Get("Retry-After"))
			time.Sleep(600 * time.Millisecond)
			start := time.Now()
			response, _ = c.https(request, nil, `{"blobName":"a"}`)
			assert.Less(t, response.StatusCode, 300)
			assert.Equal(t, 400*time.Millisecond, time.Since(start), "held up")
			limits.RetryAfter = ""
			h.SetLimits(limits)
			c.https(request, nil, `{"blobName":"a"}`)
			response, _ = c.https(request, nil, `{"blobName":"a"}`)
			assert.Equal(t, 429, response.StatusCode)
			assert.Empty(t, response.Header.Values("Retry-After"))
			h.SetLimits(Limits{})
			for range 5 {
				response, _ = c.https(request, nil, `{"blobName":"a"}`)
				assert.Less(t, response.StatusCode, 300)
			}
		})
	}
}

func TestDailyQuota(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		h.SetLimits(Limits{DailyMessages: 10})
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		c.deliver(string(make([]byte, 4096)))                         // 1
		c.deliver(string(make([]byte, 4097)))                         // 3
		require.NoError(t, h.SendC2D("dev1", C2D{}))                  // 4
		response, _ := c.https("POST /messages/events", nil, "hello") // 5
		require.Equal(t, 204, response.StatusCode)
		// 6, whatever comes of it
		_, _, err := h.Invoke(t.Context(), "dev1", "m", nil, InvokeOptions{})
		assert.Equal(t, 404103, codeOf(t, err))
		response, _ = c.https(
			"POST /messages/events", map[string]string{"Content-Type": batchType},
			`[{"body":""},{"body":""},{"body":""},{"body":""}]`,
		)
		require.Equal(t, 204, response.StatusCode) // 10
		assert.Equal(t, 403002, codeOf(t, h.SendC2D("dev1", C2D{})))
		_, _, err = h.Invoke(t.Context(), "dev1", "m", nil, InvokeOptions{})
		assert.Equal(t, 403002, codeOf(t, err))
		for _, request := range []string{"POST /messages/events", "GET /messages/deviceBound"} {
			response, body := c.https(request, nil, "hello")
			code, name, message := refused(t, response, body)
			assert.Equal(t, 403002, code)
			assert.Equal(t, "IotHubQuotaExceeded", name)
			assert.Contains(t, message, "until the next UTC day")
		}
		c.publish("devices/dev1/messages/events/", 1, 1, "one more")
		c.ended()
		require.Zero(t, c.connect(transport), "it may connect")
		c.publish("devices/dev1/messages/events/", 1, 1, "one more")
		c.ended()
		require.Len(t, h.Messages(), 7)

		midnight := time.Until(h.network.Now().Truncate(24 * time.Hour).Add(24 * time.Hour))
		time.Sleep(midnight)
		c = device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		c.deliver("a new day")
		c.close()
	})
}

func TestQuotaIsAllOrNothingForABatch(t *testing.T) {
	inWeb(t, func(t *testing.T, h *Hub, c *client) {
		h.SetLimits(Limits{DailyMessages: 2})
		kind := map[string]string{"Content-Type": batchType}
		response, _ := c.https(
			"POST /messages/events", kind, `[{"body":""},{"body":""},{"body":""}]`,
		)
		assert.Equal(t, 403, response.StatusCode)
		assert.Empty(t, h.Messages())
		response, _ = c.https("POST /messages/events", kind, `[{"body":""},{"body":""}]`)
		assert.Equal(t, 204, response.StatusCode)
	})
}

func TestFailOver(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := withTwin(t, h, "dev1", transport)
		c.request(report+"1", `{"a":1}`)
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("kept")}))
		h.FailOver(10 * time.Minute)
		c.ended()
		for range 9 {
			time.Sleep(time.Minute)
			_, err := c.dial(transport)
			require.ErrorContains(t, err, "refused")
		}
		time.Sleep(time.Minute)
		h.network.SetClockOffset(-10 * time.Minute) // its token
		c = withTwin(t, h, "dev1", transport)
		_, body := c.request(getTwin+"1", "")
		assert.Contains(t, body, `"a":1`)
		assert.Equal(t, []string{"kept"}, bodies(h, "dev1"))
		c.close()
	})
}

func TestAttemptTellsTheModel(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		c.username += "&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1&" +
			"DeviceClientType=rehome%2F1.0%20%28linux%29"
		require.Zero(t, c.connect(transport))
		assert.Equal(t, "dtmi:com:example:Thermostat;1", last(t, h).ModelID)
		assert.Equal(t, "rehome/1.0 (linux)", last(t, h).ClientType)
		twin, _ := h.Twin("dev1")
		assert.Equal(t, "dtmi:com:example:Thermostat;1", twin.ModelID)
		c.close()
	})
}

func TestDeviceThatDoesNotReadIsLetGo(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		c := withTwin(t, h, "dev1", "mqtt")
		for range maxOutbox + 1000 {
			_, err := h.PatchDesired(
				"dev1", map[string]any{"filler": "0123456789012345678901234567890123456789"},
			)
			require.NoError(t, err)
		}
		time.Sleep(time.Minute)
		assert.False(t, h.Connected("dev1"))
		c.close()
	})
}
