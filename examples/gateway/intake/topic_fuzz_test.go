// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTopicsAreThoseThatDevicesPublishTo(t *testing.T) {
	for topic, want := range map[string]string{
		"devices/hall/messages/events/":                 "hall events",
		"devices/hall/messages/events":                  "hall events",
		"devices/a:b/messages/alarms/a=b":               "a:b alarms a=b",
		"devices/hall/messages/events/a=b&c":            "hall events a=b c=",
		"devices/hall/messages/events/?a=1%2B1+1":       "hall events a=1+1+1",
		"devices/hall/messages/events/a=b=c&%24.mid=m1": "hall events a=b=c mid=m1",
	} {
		device, lane, m, err := parseTopic(topic)
		require.NoError(t, err, topic)
		got := device + " " + string(lane)
		for _, name := range []string{"a", "c"} {
			if value, ok := m.Properties[name]; ok {
				got += " " + name + "=" + value
			}
		}
		if m.MessageID != "" {
			got += " mid=" + m.MessageID
		}
		assert.Equal(t, want, got, topic)
	}
	for _, topic := range []string{
		"", "devices", "devices/", "devices//messages/events/", "devices/hall/messages/",
		"devices/hall/events/", "devices/hall/messages/devicebound/", "hall/messages/events/",
		"devices/hall/messages/events/=b", "devices/hall/messages/events/a=1&a=2",
		"devices/hall/messages/events/$.ctime=noon", "devices/hall/messages/events/a=%z",
		"devices/hall/modules/m/messages/events/",
	} {
		_, _, _, err := parseTopic(topic)
		r, ok := errors.AsType[*Refusal](err)
		require.True(t, ok, topic)
		assert.True(t, r.Permanent(), topic)
	}
}

func FuzzTopic(f *testing.F) {
	f.Add("devices/hall/messages/events/$.ct=application%2Fjson&$.ce=utf-8&a=b")
	f.Add("devices/hall/messages/alarms/$.ctime=2026-01-31T12:00:00Z")
	for _, letter := range []string{"\u2028", "\U0001f321"} { // the longest, quoted and as it is
		long := strings.Repeat(letter, 61)
		f.Add("devices/hall/messages/events/" + long + "&" + long)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		device, lane, m, err := parseTopic(topic)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 300 {
				t.Fatalf("%q", err)
			}
			return
		}
		if device == "" || lane != Telemetry && lane != Alarms || strings.Contains(device, "/") {
			t.Fatalf("%q %q", device, lane)
		}
		if _, unnamed := m.Properties[""]; unnamed {
			t.Fatal("a property without a name")
		}
	})
}
