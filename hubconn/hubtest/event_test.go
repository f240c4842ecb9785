// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// story is what a log has of a device, a few words for each event.
func story(l *simnet.EventLog, id string) (lines []string) {
	events, _ := l.Read(0, 1000)
	for _, e := range events {
		if e.DeviceID != id {
			continue
		}
		words := []string{string(e.Kind)}
		if e.Message != nil {
			words = append(words, string(e.Message.Body))
		}
		if e.Twin != nil {
			words = append(words, e.Twin.Part, string(e.Twin.Patch))
		}
		if e.C2D != nil && e.C2D.Outcome != "" {
			words = append(words, e.C2D.Outcome)
			if e.C2D.Feedback {
				words = append(words, "feedback")
			}
		}
		for _, word := range []string{e.Transport, e.Operation, e.Method, e.Path, e.Reason} {
			if word != "" {
				words = append(words, word)
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines
}

func recorded(n *simnet.Network) *simnet.EventLog {
	l := new(simnet.EventLog)
	n.RecordEvents(l)
	return l
}

func TestConnectionsAreRecordedInTheirOrder(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		l := recorded(n)
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		first := device(t, h, "dev1")
		require.Zero(t, first.connect("mqtt"))
		second := device(t, h, "dev1")
		require.Zero(t, second.connect("ws")) // takes over
		_ = first.ended()
		require.True(t, h.Disconnect("dev1"))
		_ = second.ended()
		third := device(t, h, "dev1")
		require.Zero(t, third.connect("mqtt"))
		third.leave()
		synctest.Wait()
		fourth := device(t, h, "dev1")
		fourth.password = "SharedAccessSignature sr=x"
		require.NotZero(t, fourth.connect("mqtt"))
		fifth := device(t, h, "dev1")
		require.Zero(t, fifth.connect("mqtt"))
		require.True(t, h.Delete("dev1"))
		_ = fifth.ended()

		lines := story(l, "dev1")
		require.Len(t, lines, 9)
		assert.True(t, strings.HasPrefix(lines[6], "refused mqtt "), lines[6])
		lines[6] = "refused"
		assert.Equal(t, []string{
			"connected mqtt",
			"disconnected mqtt another connection with the same client ID", "connected ws",
			"disconnected ws disconnected by the hub",
			"connected mqtt", "disconnected mqtt",
			"refused",
			"connected mqtt", "disconnected mqtt disconnected by the hub",
		}, lines)
	})
}

func TestWhatADeviceDoesIsRecorded(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		l := recorded(n)
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		c := device(t, h, "dev1")
		require.Zero(t, c.connect("mqtt"))
		c.deliver("21.5")
		c.https("POST /messages/events", nil, "22")
		c.subscribe("$iothub/twin/res/#")
		c.request("$iothub/twin/PATCH/properties/reported/?$rid=1", `{"a":1}`)
		_, err := h.PatchTwin("dev1", TwinChange{
			Tags: map[string]any{"t": 1}, Desired: map[string]any{"d": 2},
		}, "")
		require.NoError(t, err)
		p := c.begin("log.txt")
		c.notify(p, true)
		_, _, err = h.Invoke(t.Context(), "dev1", "reboot", nil, InvokeOptions{})
		require.Error(t, err)
		c.leave()
		synctest.Wait()
		assert.Equal(t, []string{
			"connected mqtt", "telemetry 21.5 mqtt",
			"telemetry 22 https", "operation https send",
			`twin reported {"a":1}`, "operation mqtt twinPatch",
			`twin tags {"t":1}`, `twin desired {"d":2}`,
			"uploadStarted", "operation https uploadStart",
			"uploadEnded", "operation https uploadNotify",
			"method reboot " + err.Error(), "disconnected mqtt",
		}, story(l, "dev1"))
		events, _ := l.Read(0, 1)
		assert.Equal(t, hubHost, events[0].Hub)
	})
}

func TestMessagesThatNobodyAsksForAreSettledAllTheSame(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		l := recorded(n)
		h := NewHub(n, hubHost)
		h.SweepC2D()
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		require.NoError(t, h.SendC2D("dev1", C2D{
			Body: []byte("x"), Ack: "negative", Expiry: n.Now().Add(time.Minute),
		}))
		require.NoError(t, h.SendC2D("dev1", C2D{Body: []byte("y"), Ack: "positive"}))
		time.Sleep(59 * time.Second)
		assert.Equal(t, []string{"c2d", "c2d"}, story(l, "dev1"))
		time.Sleep(2 * time.Second)
		assert.Equal(t, []string{"c2d", "c2d", "c2d Expired feedback"}, story(l, "dev1"))
		h.PurgeC2D("dev1")
		assert.Equal(t, "c2d Purged", story(l, "dev1")[3], "only of a success does it want to know")
	})
}

func TestOperatorsRequestsAreRecorded(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		l := recorded(n)
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		b := newBackEnd(t, h, "iothubowner")
		b.must(http.MethodGet, "/twins/dev1", nil)
		b.refused(http.StatusNotFound, http.MethodGet, "/twins/dev2", nil)
		assert.Equal(t, []string{"service GET /twins/dev1"}, story(l, "dev1"))
		assert.Equal(t, []string{"service GET /twins/dev2"}, story(l, "dev2"))
		events, _ := l.Read(0, 10)
		require.Len(t, events, 2)
		assert.Equal(t, 200, events[0].Status)
		assert.Equal(t, 404, events[1].Status)
		assert.Equal(t, codeDeviceNotFound, events[1].Code)
	})
}

// A caller that gives up is one of the reasons that a method is recorded with.
func TestAMethodThatIsGivenUpIsRecorded(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		l := recorded(n)
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		c := device(t, h, "dev1")
		require.Zero(t, c.connect("mqtt"))
		c.subscribe(methodFilter)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("enough"))
		_, _, err := h.Invoke(ctx, "dev1", "reboot", nil, InvokeOptions{})
		require.Error(t, err)
		assert.Contains(t, story(l, "dev1"), "method reboot enough")
		c.close()
	})
}

func TestAnAttemptThatIsNotAnsweredIsRecorded(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		l := recorded(n)
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		h.Inject(Fault{On: Connect, NoAnswer: true, Times: 1})
		c := device(t, h, "dev1")
		c.start("mqtt")
		synctest.Wait()
		assert.Empty(t, story(l, "dev1"))
		c.close()
		synctest.Wait()
		assert.Equal(t, []string{"refused mqtt not answered"}, story(l, "dev1"))
	})
}
