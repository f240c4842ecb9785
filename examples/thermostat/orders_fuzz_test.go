// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/oneline"
)

// newFuzzed is a thermostat that logs into log and has no hub.
func newFuzzed(log *strings.Builder) *thermostat {
	return &thermostat{
		log: slog.New(slog.NewTextHandler(log, nil)), room: newRoom(), orders: newOrders(),
	}
}

// Whatever the back end wants, the room is kept at a temperature that people live in, and the
// answer says which, and of which version of the desired properties.
func FuzzDesired(f *testing.F) {
	for _, properties := range []string{
		`{"targetTemperature":23.5}`, `{"targetTemperature":null}`, `{"targetTemperature":"warm"}`,
		`{"targetTemperature":1e309}`, `{"targetTemperature":-0}`, `{"targetTemperature":5}`, `{}`,
		`{"TargetTemperature":35.000001}`, `{"targetTemperature":{"value":20}}`, `[]`, `null`, "",
		`{"targetTemperature":20,"targetTemperature":40}`, `{"reprovisionRequest":"2026-03-01"}`,
		`{"reprovisionRequest":7}`, `{"reprovisionRequest":"` + "\u2028" + `"}`,
	} {
		f.Add([]byte(properties), true)
		f.Add([]byte(properties), false)
	}
	f.Fuzz(func(t *testing.T, properties []byte, full bool) {
		var log strings.Builder
		d := newFuzzed(&log)
		d.room.setTarget(17)
		ack, changed := d.setTarget(hubconn.Desired{
			Full: full, Version: 7, JSON: properties,
		})
		kept := d.room.currentTarget()
		assert.True(t, kept >= minTarget && kept <= maxTarget, "%v", kept)
		if !changed {
			assert.EqualValues(t, 17, kept)
			assert.Zero(t, ack)
		} else {
			assert.EqualValues(t, kept, ack.Value, "it says what is")
			assert.Contains(t, []int{200, 203, 400}, ack.Code)
			assert.Equal(t, ack.Code != 203, ack.Version == 7)
			if ack.Code == 400 {
				assert.EqualValues(t, 17, kept)
			}
			_, err := json.Marshal(ack)
			require.NoError(t, err)
		}
		wanted, ok := jsonText(member(properties, reprovisionName))
		assert.True(t, !ok || wanted != "" && json.Valid(properties))
		assert.Empty(t, log.String())
	})
}

// Whatever a method is called, and with whatever payload, it is answered by one status and a JSON
// payload, a reboot is asked for once and within its bounds, and the call is one line of the log
// that shows nothing of the payload.
func FuzzMethod(f *testing.F) {
	for _, payload := range []string{
		"", `{}`, `null`, `{"delay":5}`, `{"delay":-1}`, `{"delay":3600}`, `{"delay":3600.1}`, `7`,
		`{"delay":1e300}`, `{"delay":1e-300}`, `{"delay":"5"}`, `{"Delay":2,"delay":null}`, `[1`,
	} {
		f.Add("reboot", []byte(payload))
	}
	f.Add("reprovision", []byte(`{"why":"canary"}`))
	f.Add("open\r\nthe door", []byte("canary"))
	f.Fuzz(func(t *testing.T, name string, payload []byte) {
		var log strings.Builder
		d := newFuzzed(&log)
		handler := d.methods()[name]
		if handler == nil {
			handler = d.unknownMethod
		}
		status, answer, err := handler(t.Context(), hubconn.MethodRequest{
			Name: name, Payload: payload,
		})
		require.NoError(t, err)
		text, err := json.Marshal(answer)
		require.NoError(t, err)
		assert.Less(t, len(text), 200)
		select {
		case delay := <-d.orders.reboot:
			assert.Equal(t, "reboot", name)
			assert.True(t, delay >= answerFirst && delay <= longestDelay, "%v", delay)
			assert.Equal(t, 202, status)
			again, _, _ := handler(t.Context(), hubconn.MethodRequest{Name: name, Payload: payload})
			assert.Equal(t, 409, again, "there is one reboot before it")
			assert.Empty(t, d.orders.reboot)
		case cause := <-d.orders.reprovision:
			assert.Equal(t, "direct method", cause)
			assert.Equal(t, "reprovision", name)
			assert.Equal(t, 202, status)
		default:
			assert.True(t, status == 400 && name == "reboot" || status == 501, "%d", status)
		}
		for line := range strings.Lines(log.String()) {
			line = strings.TrimSuffix(line, "\n")
			assert.Equal(t, oneline.Of(line, 400), line, "one line of what prints")
			if !strings.Contains(name, "canary") {
				assert.NotContains(t, line, "canary")
			}
		}
		assert.LessOrEqual(t, strings.Count(log.String(), "\n"), 2)
	})
}

// Whatever arrives as a message, what is logged of it is short, and one line of text.
func FuzzExcerpt(f *testing.F) {
	for _, text := range []string{
		"hello", strings.Repeat("é", 60), "SharedAccessKey=x", "\xff", strings.Repeat("a", 101),
		strings.Repeat("a", 99) + "€", "key=Y2FuYXJ5LWtleS1vZi1hLWtpdGNoZW4tMDAwMDAwMDE=",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := excerpt(data)
		assert.True(t, utf8.ValidString(got), "%q", got)
		assert.LessOrEqual(t, len(got), excerptSize+len("…"))
		if looksSecret(string(data)) {
			assert.Contains(t, got, "withheld")
		} else if utf8.Valid(data) {
			all := oneline.Of(string(data), len(data))
			assert.True(t, strings.HasPrefix(all, strings.TrimSuffix(got, "…")), "%q", got)
		}
		assert.Equal(t, oneline.Of(got, len(got)), got, "one line of what prints")
	})
}
