// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// result is what Invoke returned.
type result struct {
	status   int
	response json.RawMessage
	err      error
}

// invoke calls a method in the background.
func invoke(
	ctx context.Context, h *Hub, id, method string, payload any, o InvokeOptions,
) <-chan result {
	done := make(chan result, 1)
	go func() {
		status, response, err := h.Invoke(ctx, id, method, payload, o)
		done <- result{status, response, err}
	}()
	return done
}

// answerMethod answers the method whose request has the topic.
func (c *client) answerMethod(topic, status, payload string) {
	c.t.Helper()
	_, rid, ok := strings.Cut(topic, "/?$rid=")
	require.True(c.t, ok)
	c.publish("$iothub/methods/res/"+status+"/?$rid="+rid, 0, 0, payload)
}

func TestMethodIsAnswered(t *testing.T) {
	everywhere(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		c.subscribe(methodFilter)
		for payload, want := range map[any]string{nil: "", "text": `"text"`, 5: "5"} {
			done := invoke(t.Context(), h, "dev1", "reboot", payload, InvokeOptions{})
			m := c.message()
			assert.Regexp(t, `^\$iothub/methods/POST/reboot/\?\$rid=\d+$`, m.TopicName)
			assert.Equal(t, want, string(m.Payload))
			assert.Zero(t, m.Qos)
			c.answerMethod(m.TopicName, "207", `{"ok":true}`)
			r := <-done
			require.NoError(t, r.err)
			assert.Equal(t, 207, r.status)
			assert.JSONEq(t, `{"ok":true}`, string(r.response))
		}
		// Two at once, answered in the other order, one of them with nothing.
		first := invoke(t.Context(), h, "dev1", "a", json.RawMessage(`{"n":1}`), InvokeOptions{})
		a := c.message()
		second := invoke(t.Context(), h, "dev1", "b", json.RawMessage(`{"n":2}`), InvokeOptions{})
		b := c.message()
		c.answerMethod(b.TopicName, "200", `2`)
		c.answerMethod(a.TopicName, "-1", ``)
		r := <-second
		assert.Equal(t, result{200, json.RawMessage("2"), nil}, r)
		r = <-first
		assert.Equal(t, -1, r.status)
		assert.Empty(t, r.response)
		c.close()
	})
}

func TestMethodOfADeviceThatIsNotThere(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		start := time.Now()
		_, _, err := h.Invoke(t.Context(), "dev1", "reboot", nil, InvokeOptions{})
		assert.Equal(t, 404103, codeOf(t, err))
		assert.Zero(t, time.Since(start))
		_, _, err = h.Invoke(
			t.Context(), "dev1", "reboot", nil, InvokeOptions{ConnectTimeout: 20 * time.Second},
		)
		assert.Equal(t, 404103, codeOf(t, err))
		assert.Equal(t, 20*time.Second, time.Since(start))
		_, _, err = h.Invoke(
			t.Context(), "dev2", "reboot", nil, InvokeOptions{ConnectTimeout: 20 * time.Second},
		)
		assert.Equal(t, 404001, codeOf(t, err))

		done := invoke(
			t.Context(), h, "dev1", "reboot", nil, InvokeOptions{ConnectTimeout: 20 * time.Second},
		)
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		time.Sleep(10 * time.Second) // connected, but not listening
		c.subscribe(methodFilter)
		c.answerMethod(c.message().TopicName, "200", "")
		assert.NoError(t, (<-done).err)

		ctx, cancel := context.WithCancelCause(t.Context())
		done = invoke(ctx, h, "dev1", "reboot", nil, InvokeOptions{})
		c.message()
		cancel(errors.New("enough"))
		assert.EqualError(t, (<-done).err, "enough")
		c.unsubscribe(methodFilter)
		_, _, err = h.Invoke(t.Context(), "dev1", "reboot", nil, InvokeOptions{})
		assert.Equal(t, 404103, codeOf(t, err))
		c.close()
	})
}

func TestMethodThatIsAnsweredLateOrByAnother(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		require.NoError(t, h.Put(Device{ID: "dev2"}))
		c, other := device(t, h, "dev1"), device(t, h, "dev2")
		require.Zero(t, c.connect(transport))
		require.Zero(t, other.connect(transport))
		c.subscribe(methodFilter)
		start := time.Now()
		done := invoke(
			t.Context(), h, "dev1", "reboot", nil, InvokeOptions{ResponseTimeout: 5 * time.Second},
		)
		topic := c.message().TopicName
		other.answerMethod(topic, "200", "")
		r := <-done
		assert.Equal(t, 504101, codeOf(t, r.err))
		assert.Equal(t, 5*time.Second, time.Since(start))
		c.answerMethod(topic, "200", "") // dropped
		c.publish("$iothub/methods/res/200/?$rid=999", 0, 0, "")
		c.publish("$iothub/methods/res/200/?nothing", 0, 0, "")
		c.publish("$iothub/methods/res/two/?$rid=1", 0, 0, "")

		done = invoke(t.Context(), h, "dev1", "reboot", nil, InvokeOptions{})
		assert.NotEqual(t, topic, c.message().TopicName)
		time.Sleep(30 * time.Second)
		assert.Equal(t, 504101, codeOf(t, (<-done).err))

		// A connection that is made anew meanwhile does not lose the response.
		done = invoke(t.Context(), h, "dev1", "reboot", nil, InvokeOptions{})
		topic = c.message().TopicName
		c.close()
		require.Zero(t, c.connect(transport))
		c.answerMethod(topic, "200", "")
		assert.NoError(t, (<-done).err)
		c.close()
		other.close()
	})
}

func TestMethodLimits(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		c.subscribe(methodFilter)
		largest := json.RawMessage(`"` + strings.Repeat("x", 128<<10-2) + `"`)
		done := invoke(t.Context(), h, "dev1", "m", largest, InvokeOptions{
			ResponseTimeout: 300 * time.Second, ConnectTimeout: 300 * time.Second,
		})
		m := c.message()
		assert.Len(t, m.Payload, 128<<10)
		c.answerMethod(m.TopicName, "200", string(largest))
		r := <-done
		require.NoError(t, r.err)
		assert.Len(t, r.response, 128<<10)

		for _, bad := range []string{"{", string(largest) + " "} {
			done = invoke(
				t.Context(), h, "dev1", "m", nil, InvokeOptions{ResponseTimeout: 5 * time.Second},
			)
			c.answerMethod(c.message().TopicName, "200", bad)
			assert.Equal(t, 502000, codeOf(t, (<-done).err))
		}
		for name, call := range map[string]func() error{
			"payload": func() error {
				_, _, err := h.Invoke(
					t.Context(), "dev1", "m",
					json.RawMessage(string(largest[:len(largest)-1])+`x"`), InvokeOptions{},
				)
				return err
			},
			"no JSON":       func() error { _, _, err := h.Invoke(t.Context(), "dev1", "m", func() {}, InvokeOptions{}); return err },
			"no name":       func() error { _, _, err := h.Invoke(t.Context(), "dev1", "", nil, InvokeOptions{}); return err },
			"name of parts": func() error { _, _, err := h.Invoke(t.Context(), "dev1", "a/b", nil, InvokeOptions{}); return err },
			"impatient": func() error {
				_, _, err := h.Invoke(
					t.Context(), "dev1", "m", nil, InvokeOptions{ResponseTimeout: 4 * time.Second},
				)
				return err
			},
			"too patient": func() error {
				_, _, err := h.Invoke(t.Context(), "dev1", "m", nil, InvokeOptions{
					ResponseTimeout: 301 * time.Second,
				})
				return err
			},
			"too patient to connect": func() error {
				_, _, err := h.Invoke(
					t.Context(), "dev1", "m", nil, InvokeOptions{ConnectTimeout: 301 * time.Second},
				)
				return err
			},
		} {
			assert.Equal(t, 400004, codeOf(t, call()), name)
		}
		c.silent(time.Minute)
		c.close()
	})
}

func TestMethodFaults(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		c.subscribe(methodFilter)
		h.Inject(Fault{On: Method, NoAnswer: true})
		_, _, err := h.Invoke(
			t.Context(), "dev1", "lost", nil, InvokeOptions{ResponseTimeout: 5 * time.Second},
		)
		assert.Equal(t, 504101, codeOf(t, err))
		h.Inject(Fault{On: Method, Delay: 10 * time.Second})
		done := invoke(t.Context(), h, "dev1", "slow", nil, InvokeOptions{})
		start := time.Now()
		c.answerMethod(c.message().TopicName, "200", "")
		assert.Equal(t, 10*time.Second, time.Since(start))
		assert.NoError(t, (<-done).err)
		h.Inject(Fault{On: Method, Cut: true})
		done = invoke(
			t.Context(), h, "dev1", "cut", nil, InvokeOptions{ResponseTimeout: 5 * time.Second},
		)
		c.ended()
		assert.Equal(t, 504101, codeOf(t, (<-done).err))
		synctest.Wait()
	})
}

func TestMethodEndsWithItsNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		done := invoke(t.Context(), h, "dev1", "m", nil, InvokeOptions{ConnectTimeout: time.Minute})
		synctest.Wait()
		require.NoError(t, n.Close())
		assert.Equal(t, 503001, codeOf(t, (<-done).err))
	})
}
