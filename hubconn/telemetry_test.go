// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheTopicOfAMessage(t *testing.T) {
	for want, m := range map[string]Message{
		"devices/dev1/messages/events/": {Body: []byte("x")},
		"devices/dev1/messages/events/%24.mid=7&%24.cid=8&" +
			"%24.ct=application%2Fjson%3Bcharset%3Dutf-8&%24.ce=utf-8&" +
			"%24.ctime=2026-03-01T12%3A00%3A00.000Z&a=1&b=2": {
			MessageID: "7", CorrelationID: "8", ContentType: "application/json;charset=utf-8",
			ContentEncoding: "utf-8", CreationTime: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
			Properties: map[string]string{"b": "2", "a": "1"},
		},
		"devices/dev1/messages/events/a%20b=%2B%26%3D%2F%23%25%20%C3%A9&c=": {Properties: map[string]string{"a b": "+&=/#% é", "c": ""}},
	} {
		topic, err := m.topic(Hub{DeviceID: "dev1"}, "devices/dev1/messages/events/")
		require.NoError(t, err)
		assert.Equal(t, want, topic)
	}
}

// Whatever a property is called and holds, the hub reads the same again, and nothing of it is
// MQTT's or another property's.
func FuzzProperty(f *testing.F) {
	f.Add("name", "value")
	f.Add("a b", "c+d&e=f/g#h%i")
	f.Add("größe", "\x00\xff")
	f.Fuzz(func(t *testing.T, name, value string) {
		m := Message{Properties: map[string]string{name: value}}
		topic, err := m.topic(Hub{DeviceID: "dev1"}, "devices/dev1/messages/events/")
		if err != nil {
			return
		}
		bag, ok := strings.CutPrefix(topic, "devices/dev1/messages/events/")
		require.True(t, ok)
		assert.False(t, strings.ContainsAny(bag, "+#/ \x00"), "%q", bag)
		left, right, _ := strings.Cut(bag, "=")
		gotName, err := url.PathUnescape(left)
		require.NoError(t, err)
		gotValue, err := url.PathUnescape(right)
		require.NoError(t, err)
		assert.Equal(t, name, gotName)
		assert.Equal(t, value, gotValue)
	})
}

func TestATopicUpToTheLimitAndNotAbove(t *testing.T) {
	const events = "devices/dev1/messages/events/"
	for _, filler := range []string{"x", " "} {
		room := (maxTopic - len(events) - len("a=")) / escapedLen(filler)
		m := Message{Properties: map[string]string{"a": strings.Repeat(filler, room)}}
		topic, err := m.topic(Hub{DeviceID: "dev1"}, events)
		require.NoError(t, err)
		assert.Greater(t, len(topic), maxTopic-escapedLen(filler))
		m.Properties["a"] += filler
		_, err = m.topic(Hub{DeviceID: "dev1"}, events)
		assert.ErrorContains(t, err, "65535")
	}
}

func BenchmarkTopic(b *testing.B) {
	m := Message{
		MessageID: "m1", ContentType: "application/json", ContentEncoding: "utf-8",
		Properties: map[string]string{"level": "normal", "site": "plant 1"},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.topic(Hub{DeviceID: "dev1"}, "devices/dev1/messages/events/"); err != nil {
			b.Fatal(err)
		}
	}
}
