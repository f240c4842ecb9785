// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

const commands = "devices/dev1/messages/devicebound/#"

// bodies are those of the messages in a device's queue.
func bodies(h *Hub, id string) []string {
	var out []string
	for _, m := range h.C2DQueue(id) {
		out = append(out, string(m.Body))
	}
	return out
}

func outcomes(settled []Settled) []string {
	var out []string
	for _, s := range settled {
		out = append(out, string(s.Body)+" "+string(s.Outcome))
	}
	return out
}

func TestCommandIsDeliveredAndAcknowledged(t *testing.T) {
	everywhere(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		require.Equal(t, []byte{1}, c.subscribeAt(1, commands))
		expiry := h.network.Now().Add(time.Minute)
		require.NoError(t, h.SendC2D("dev1", C2D{
			Body: []byte("on"), MessageID: "m 1", CorrelationID: "c&1", UserID: "u",
			ContentType: "application/json", ContentEncoding: "utf-8", Ack: "full", Expiry: expiry,
			Properties: map[string]string{"room": "küche +1", "$odd=": ""},
		}))
		m := c.message()
		assert.Equal(t, "devices/dev1/messages/devicebound/%24.mid=m%201&%24.cid=c%261&"+
			"%24.uid=u&%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound"+"&%24.exp="+
			escape(stamp(expiry))+"&%24.ct=application%2Fjson&%24.ce=utf-8&iothub-ack=full&"+
			"%24odd%3D=&room=k%C3%BCche%20%2B1", m.TopicName)
		assert.Equal(t, "on", string(m.Payload))
		assert.Equal(t, byte(1), m.Qos)
		assert.False(t, m.Dup)
		queue := h.C2DQueue("dev1")
		require.Len(t, queue, 1)
		assert.True(t, queue[0].Locked)
		assert.Equal(t, 1, queue[0].DeliveryCount)
		assert.Equal(t, uint64(1), queue[0].SequenceNumber)
		c.ack(m)
		require.Eventually(t, func() bool {
			return len(h.C2DQueue("dev1")) == 0
		}, time.Minute, time.Millisecond)
		assert.Equal(t, []string{"on Success"}, outcomes(h.SettledC2D()))
		assert.Equal(t, []string{"on Success"}, outcomes(h.Feedback()))
		c.close()
	})
}

func TestCommandsWaitForTheDevice(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		for i := range 3 {
			require.NoError(t, h.SendC2D("dev1", C2D{Body: fmt.Append(nil, i)}))
		}
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		assert.False(t, c.present)
		synctest.Wait()
		require.Equal(t, []string{"0", "1", "2"}, bodies(h, "dev1"), "it has not subscribed")
		require.Equal(t, []byte{1}, c.subscribeAt(2, commands))
		for i := range 3 {
			assert.Equal(t, fmt.Sprint(i), string(c.message().Payload))
		}
		c.close()
	})
}

func TestUnacknowledgedCommandsComeAgain(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		c.subscribeAt(1, commands)
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("a")}))
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("b")}))
		c.message()
		c.ack(c.message()) // the second alone
		synctest.Wait()
		require.Equal(t, []string{"a"}, bodies(h, "dev1"))
		c.silent(10 * time.Minute) // a lock lasts as long as the connection
		c.close()

		require.Zero(t, c.connect(transport))
		assert.True(t, c.present)
		m := c.message()
		assert.Equal(t, "a", string(m.Payload), "the subscription outlives the connection")
		assert.True(t, m.Dup)
		assert.Equal(t, 2, h.C2DQueue("dev1")[0].DeliveryCount)
		c.leave()
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("c")}))
		require.Zero(t, c.connect(transport))
		m = c.message()
		assert.True(t, m.Dup)
		c.ack(m)
		m = c.message()
		assert.Equal(t, "c", string(m.Payload))
		assert.False(t, m.Dup)
		c.unsubscribe(commands)
		c.leave()

		require.Zero(t, c.connect(transport))
		assert.True(t, c.present)
		synctest.Wait()
		assert.Equal(t, []string{"c"}, bodies(h, "dev1"), "given up")
		c.leave()
	})
}

func TestTakeOverHandsTheCommandsOn(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		old, c := device(t, h, "dev1"), device(t, h, "dev1")
		require.Zero(t, old.connect(transport))
		old.subscribeAt(1, commands)
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("a")}))
		old.message()
		require.Zero(t, c.connect(transport))
		assert.True(t, c.message().Dup)
		old.ended()
		c.close()
	})
}

func TestCleanSessionLosesTheQueue(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		c.subscribeAt(1, commands)
		c.leave()
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("a"), Ack: "negative"}))
		c.clean = true
		require.Zero(t, c.connect(transport))
		assert.False(t, c.present)
		assert.Empty(t, h.C2DQueue("dev1"))
		assert.Equal(t, []string{"a Purged"}, outcomes(h.Feedback()))
		c.subscribeAt(1, commands)
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("b")}))
		assert.Equal(t, "b", string(c.message().Payload))
		c.close()
		c.clean = false
		require.Zero(t, c.connect(transport))
		assert.False(t, c.present, "a clean session leaves none")
		c.close()
	})
}

func TestCommandAtQoS0IsCompleteWhenItIsSent(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		c.subscribeAt(0, commands)
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("a")}))
		assert.Zero(t, c.message().Qos)
		assert.Empty(t, h.C2DQueue("dev1"))
		assert.Equal(t, []string{"a Success"}, outcomes(h.SettledC2D()))
		assert.Empty(t, h.Feedback(), "nobody asked")
		c.close()
	})
}

func TestCommandThatIsNeverAcknowledgedIsGivenUp(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("poison"), Ack: "negative"}))
		for try := range 10 {
			require.Zero(t, c.connect(transport))
			if try == 0 {
				c.subscribeAt(1, commands)
			}
			c.message()
			assert.Len(t, h.C2DQueue("dev1"), 1)
			c.close()
			synctest.Wait()
		}
		assert.Empty(t, h.C2DQueue("dev1"))
		assert.Equal(t, []string{"poison DeliveryCountExceeded"}, outcomes(h.Feedback()))
		require.Zero(t, c.connect(transport))
		c.silent(time.Minute)
		c.close()
	})
}

func TestCommandLimits(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		now := n.Now()
		for name, test := range map[string]struct {
			good, bad C2D
			code      int
		}{
			"body": {C2D{Body: make([]byte, 64<<10)}, C2D{Body: make([]byte, 64<<10+1)}, 413001},
			"with properties": {
				C2D{Body: make([]byte, 64<<10-2), Properties: map[string]string{"a": "b"}},
				C2D{Body: make([]byte, 64<<10-1), Properties: map[string]string{"a": "b"}}, 413001,
			},
			"topic":  {C2D{Properties: map[string]string{"a": strings.Repeat("/", 21000)}}, C2D{Properties: map[string]string{"a": strings.Repeat("/", 22000)}}, 413001},
			"expiry": {C2D{Expiry: now.Add(48 * time.Hour)}, C2D{Expiry: now.Add(48*time.Hour + 1)}, 403009},
			"past":   {C2D{Expiry: now.Add(1)}, C2D{Expiry: now}, 403009},
			"ack":    {C2D{Ack: "none"}, C2D{Ack: "perhaps"}, 400004},
			"input":  {C2D{}, C2D{Input: "in"}, 400004},
		} {
			assert.NoError(t, h.SendC2D("dev1", test.good), name)
			assert.Equal(t, test.code, codeOf(t, h.SendC2D("dev1", test.bad)), name)
		}
		assert.Equal(t, 7, h.PurgeC2D("dev1"))
		for range 50 {
			require.NoError(t, h.SendC2D("dev1", C2D{}))
		}
		assert.Equal(t, 403004, codeOf(t, h.SendC2D("dev1", C2D{})))
		time.Sleep(time.Hour - time.Nanosecond)
		assert.Equal(t, 403004, codeOf(t, h.SendC2D("dev1", C2D{})))
		time.Sleep(time.Nanosecond)
		assert.NoError(t, h.SendC2D("dev1", C2D{}), "the others have expired")
		assert.Equal(t, OutcomeExpired, h.SettledC2D()[56].Outcome)
		assert.Equal(t, 404001, codeOf(t, h.SendC2D("dev2", C2D{})))
		assert.Empty(t, h.C2DQueue("dev2"))
		assert.Zero(t, h.PurgeC2D("dev2"))
	})
}

func TestCommandFaults(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		c.subscribeAt(1, commands)
		h.Inject(Fault{On: DeliverC2D, NoAnswer: true})
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("lost")}))
		c.silent(time.Minute)
		c.close()
		require.Zero(t, c.connect(transport))
		m := c.message()
		assert.Equal(t, "lost", string(m.Payload))
		c.ack(m)
		synctest.Wait()
		h.Inject(Fault{On: DeliverC2D, Cut: true})
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("cut")}))
		c.ended()
		require.Zero(t, c.connect(transport))
		assert.Equal(t, "cut", string(c.message().Payload))
		c.close()
	})
}

func TestDeletedDeviceLosesItsCommands(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		c.subscribeAt(1, commands)
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("a")}))
		c.message()
		h.Delete("dev1")
		c.ended()
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		assert.Empty(t, h.C2DQueue("dev1"))
		c = device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		assert.False(t, c.present)
		c.close()
	})
}
