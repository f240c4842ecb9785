// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const (
	targetProperty = "targetTemperature"
	model          = "dtmi:com:example:rehome:Thermostat;1"
)

// overBoth runs a test of what the back end does, over each transport to the hub: board is the
// program's flags.
func overBoth(t *testing.T, f func(t *testing.T, s *site, board []string)) {
	t.Parallel()
	together(t, map[string]string{"mqtt": "mqtt", "ws": "ws"},
		func(t *testing.T, transport string) {
			s := newSite(t)
			s.enroll(t, "board")
			f(t, s, append(s.keyFlags("board"), "-hub-transport", transport))
		})
}

// invoke calls a method of the device and checks the status of the answer.
func invoke(
	t *testing.T, h *hubtest.Hub, method string, payload any, status int,
) (answer map[string]any) {
	t.Helper()
	got, body, err := h.Invoke(
		t.Context(), "board", method, payload, hubtest.InvokeOptions{ConnectTimeout: patience},
	)
	require.NoError(t, err)
	assert.Equal(t, status, got, "%s", body)
	require.NoError(t, json.Unmarshal(body, &answer), "%s", body)
	return answer
}

func reported(h *hubtest.Hub, name string) any {
	twin, _ := h.Twin("board")
	return twin.Reported[name]
}

// awaitAck waits until the target is acknowledged with exactly this.
func awaitAck(t *testing.T, h *hubtest.Hub, value, code float64, version int64) {
	t.Helper()
	var got map[string]any
	assert.Eventually(t, func() bool {
		got, _ = reported(h, targetProperty).(map[string]any)
		return got["value"] == value && got["ac"] == code && got["av"] == float64(version)
	}, patience, 10*time.Millisecond, "acknowledgement")
	if t.Failed() {
		t.Logf("want %v %v %v, got %v", value, code, version, got)
	}
}

func desire(t *testing.T, h *hubtest.Hub, target any) int64 {
	t.Helper()
	version, err := h.PatchDesired("board", map[string]any{targetProperty: target})
	require.NoError(t, err)
	return version
}

func temperature(m hubtest.Message) float64 {
	var body struct{ Temperature float64 }
	_ = json.Unmarshal(m.Body, &body)
	return body.Temperature
}

func TestTargetIsAcknowledgedAndTheTemperatureMovesThere(t *testing.T) {
	overBoth(t, func(t *testing.T, s *site, board []string) {
		p := launch(t, board)
		awaitAck(t, s.a, 21, 203, 0) // the default is the device's own choice

		version := desire(t, s.a, 30)
		awaitAck(t, s.a, 30, 200, version)
		eventually(t, "the room is warmer", func() bool {
			m := messages(s.a, "board")
			return len(m) > 0 && temperature(m[len(m)-1]) > 27
		})
		for _, nonsense := range []any{
			"warm", true, 4.9, 35.1, []any{}, map[string]any{"value": 22},
		} {
			awaitAck(t, s.a, 30, 400, desire(t, s.a, nonsense)) // what was wrong changes nothing
		}
		_, err := s.a.PatchDesired("board", map[string]any{"unknown": 1})
		require.NoError(t, err)
		awaitAck(t, s.a, 5.5, 200, desire(t, s.a, 5.5))
		desire(t, s.a, nil)
		awaitAck(t, s.a, 21, 203, 0)

		version = desire(t, s.a, 25)
		awaitAck(t, s.a, 25, 200, version)
		assert.Nil(t, reported(s.a, "unknown"))
		p.stop()
		next := desire(t, s.a, 26) // while it is away
		again := launch(t, board)
		awaitAck(t, s.a, 26, 200, next)
		s.a.Disconnect("board")
		again.await("waiting", 0, state("waiting"))
		again.stop()
	})
}

func TestRefusedAcknowledgementIsReportedAndTheConnectionStays(t *testing.T) {
	overBoth(t, func(t *testing.T, s *site, board []string) {
		p := launch(t, board)
		awaitAck(t, s.a, 21, 203, 0)
		s.a.Inject(hubtest.Fault{On: hubtest.TwinPatch, Status: 400, Code: 400004})
		desire(t, s.a, 24)
		p.await("a warning", 0, func(r record) bool {
			return r.Level == "WARN" &&
				strings.HasPrefix(r.Msg, "target temperature not acknowledged")
		})
		awaitAck(t, s.a, 25, 200, desire(t, s.a, 25))
		p.stop()
		assert.Len(t, s.a.Attempts(), 1, "the connection stays")
	})
}

func TestModelIsAnnouncedToHubAndDPSAndTelemetrySaysWhatItIs(t *testing.T) {
	overBoth(t, func(t *testing.T, s *site, board []string) {
		began := time.Now().Add(-time.Minute)
		p := launch(t, board)
		eventually(t, "messages", func() bool { return len(messages(s.a, "board")) > 2 })
		p.stop()
		assert.Equal(t, model, s.a.Attempts()[0].ModelID)
		registration := requests(s.dps, "board", dpstest.Register)[0]
		assert.JSONEq(t, `{"modelId":"`+model+`"}`, string(registration.Payload))

		seen := map[string]bool{}
		for _, m := range messages(s.a, "board") {
			assert.Equal(t, "application/json", m.System["$.ct"])
			assert.Equal(t, "utf-8", m.System["$.ce"])
			created, err := time.Parse(time.RFC3339Nano, m.System["$.ctime"])
			assert.NoError(t, err)
			assert.WithinRange(t, created, began, time.Now().Add(time.Minute))
			assert.NotEmpty(t, m.System["$.mid"])
			assert.False(t, seen[m.System["$.mid"]], "message IDs are unique")
			seen[m.System["$.mid"]] = true
		}
		again := launch(t, board)
		sent := len(seen)
		eventually(t, "a message", func() bool { return len(messages(s.a, "board")) > sent })
		again.stop()
		for _, m := range messages(s.a, "board")[sent:] {
			assert.False(t, seen[m.System["$.mid"]], "across starts too")
		}
	})
}

func TestReprovisionMethodMovesTheDevice(t *testing.T) {
	overBoth(t, func(t *testing.T, s *site, board []string) {
		p := launch(t, board)
		_, after := p.await("connected", 0, state("connected"))
		invoke(t, s.a, "reprovision", nil, 202)
		r, after := p.await("the call", after, func(r record) bool {
			return r.Method == "reprovision"
		})
		assert.Equal(t, 202, r.Status)
		r, after = p.await("reprovisioned", after, func(r record) bool {
			return r.Msg == "reprovisioned"
		})
		assert.Equal(t, hubA, r.Hub)
		assert.Len(t, s.a.Attempts(), 1, "the same hub: the connection stays")

		require.NoError(t, s.dps.Move("board", hubB))
		invoke(t, s.a, "reprovision", nil, 202)
		_, after = p.await("connected to the other hub", after, func(r record) bool {
			return r.State == "connected" && r.Hub == hubB
		})
		eventually(t, "a message there", func() bool { return len(messages(s.b, "board")) > 0 })
		assert.False(t, s.a.Connected("board"))

		// All of it goes on at the new hub.
		awaitAck(t, s.b, 23, 200, desire(t, s.b, 23))
		invoke(t, s.b, "reprovision", nil, 202)
		p.await("reprovisioned again", after, func(r record) bool {
			return r.Msg == "reprovisioned"
		})
		p.stop()
	})
}

func TestRebootMethodStartsTheProgramOver(t *testing.T) {
	overBoth(t, func(t *testing.T, s *site, board []string) {
		p := launch(t, board)
		_, after := p.await("connected", 0, state("connected"))
		for _, payload := range []any{
			"now", 5, map[string]any{"delay": -1}, map[string]any{"delay": 3601},
			map[string]any{"delay": "1"},
		} {
			assert.NotEmpty(t, invoke(t, s.a, "reboot", payload, 400)["message"])
		}
		asked := s.dps.Count()
		answer := invoke(t, s.a, "reboot", map[string]any{"delay": 1.2}, 202)
		assert.Equal(t, 1.2, answer["delay"])
		r, after := p.await("rebooting", after, func(r record) bool { return r.Msg == "rebooting" })
		assert.InDelta(t, 1.2, r.Wait, 0.001)
		_, after = p.await("stopped", after, state("stopped"))
		_, after = p.await("a start", after, func(r record) bool {
			return r.Msg == "thermostat starts"
		})
		r, after = p.await("connected", after, state("connected"))
		assert.Equal(t, hubA, r.Hub)
		assert.Equal(t, "store", r.Source)
		assert.Equal(t, asked, s.dps.Count(), "no request to DPS")
		awaitAck(t, s.a, 22, 200, desire(t, s.a, 22))

		answer = invoke(t, s.a, "reboot", map[string]any{}, 202) // and once more
		assert.Equal(t, 1.0, answer["delay"], "the answer goes first")
		_, after = p.await("a start", after, func(r record) bool {
			return r.Msg == "thermostat starts"
		})
		p.await("connected", after, state("connected"))
		p.stop()
	})
}

// With a delay that no slow machine can outlast: a call that comes after it is not answered.
func TestRebootIsRefusedWhileOneIsPlanned(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	p := launch(t, s.keyFlags("board"))
	p.await("connected", 0, state("connected"))
	invoke(t, s.a, "reboot", map[string]any{"delay": 3600}, 202)
	assert.NotEmpty(t, invoke(t, s.a, "reboot", nil, 409)["message"])
	p.stop()
}

func TestRebootReadsTheSettingsAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	p := launch(t, s.keyFlags("board"))
	p.await("connected", 0, state("connected"))
	s.write(t, "ca.pem", []byte("no certificate any more"), 0o644)
	invoke(t, s.a, "reboot", nil, 202)
	assert.Equal(t, 2, p.wait(patience))
	assert.Contains(t, p.Stderr(), "thermostat: -ca: ")
}

func TestUnknownMethodIsAnsweredSo(t *testing.T) {
	overBoth(t, func(t *testing.T, s *site, board []string) {
		p := launch(t, board)
		p.await("connected", 0, state("connected"))
		assert.NotEmpty(t, invoke(t, s.a, "selfDestruct", nil, 501)["message"])
		p.await("the call", 0, func(r record) bool {
			return r.Method == "selfDestruct" && r.Status == 501
		})
		p.stop()
	})
}

func TestCloudToDeviceMessagesAreLoggedAndTakenFromTheQueue(t *testing.T) {
	overBoth(t, func(t *testing.T, s *site, board []string) {
		registered := launch(t, board)
		registered.await("connected", 0, state("connected"))
		registered.stop()
		long := strings.Repeat("é", 80)
		secrets := []string{
			"canary-password", "HostName=x;SharedAccessKey=canary", canaryKey,
			`{"key":"` + canaryKey + `"}`, "key=" + canaryKey,
		}
		bodies := append(
			[]string{"while it was away", "line\nbreak", long, "\xff\xfe", ""}, secrets...,
		)
		for i, body := range bodies {
			require.NoError(t, s.a.SendC2D("board", hubtest.C2D{
				Body: []byte(body), MessageID: "m" + strconv.Itoa(i),
				Properties: map[string]string{"unit": "canary-value", "alarm": "1"},
			}))
		}
		p := launch(t, board)
		for i, body := range bodies {
			r, _ := p.await("the message", 0, func(r record) bool {
				return r.Msg == "message received" && r.MessageID == "m"+strconv.Itoa(i)
			})
			assert.Equal(t, "alarm unit", r.Properties)
			switch {
			case i >= len(bodies)-len(secrets):
				assert.Contains(t, r.Body, "withheld")
			case body == long:
				assert.Equal(t, strings.Repeat("é", 50)+"…", r.Body)
			case body == "\xff\xfe":
				assert.Equal(t, "(not text)", r.Body)
			default:
				assert.Equal(t, strings.ReplaceAll(body, "\n", " "), r.Body)
			}
			assert.Contains(t, r.raw, `"bytes":`+strconv.Itoa(len(body)))
		}
		eventually(t, "an empty queue", func() bool { return len(s.a.C2DQueue("board")) == 0 })
		for _, m := range s.a.SettledC2D() {
			assert.Equal(t, hubtest.OutcomeSuccess, m.Outcome)
		}
		p.stop()
		assert.NotContains(t, p.Stderr(), "canary-")
	})
}

func TestPartThatIsRefusedLeavesTheOthersAtWork(t *testing.T) {
	overBoth(t, func(t *testing.T, s *site, board []string) {
		s.a.Inject(hubtest.Fault{On: hubtest.Subscribe, SubackFailure: true, Times: 3})
		p := launch(t, board)
		_, after := p.await("connected", 0, state("connected"))
		for range 3 {
			var r record
			r, after = p.await("a warning", after, func(r record) bool {
				return strings.HasSuffix(r.Msg, "interrupted: it begins again")
			})
			assert.Equal(t, "WARN", r.Level)
			assert.InDelta(t, 10, r.Wait, 0.001)
		}
		sent := len(messages(s.a, "board"))
		eventually(t, "telemetry goes on", func() bool {
			return len(messages(s.a, "board")) > sent+2
		})
		assert.Len(t, s.a.Attempts(), 1)
		p.stop()
	})
}

func TestDesiredPropertyReprovisionsTheDeviceOnceForEachValue(t *testing.T) {
	overBoth(t, func(t *testing.T, s *site, board []string) {
		want := func(value string) {
			_, err := s.a.PatchDesired("board", map[string]any{"reprovisionRequest": value})
			require.NoError(t, err)
		}
		p := launch(t, board)
		_, after := p.await("connected", 0, state("connected"))
		want("monday")
		r, after := p.await("reprovisioning", after, func(r record) bool {
			return r.Msg == "reprovisioning"
		})
		assert.Equal(t, "desired property", r.Cause)
		_, after = p.await("reprovisioned", after, func(r record) bool {
			return r.Msg == "reprovisioned"
		})
		asked := s.dps.Count(dpstest.Register)
		s.a.Disconnect("board")
		_, after = p.await("connected again", after, state("connected"))
		desire(t, s.a, 23)
		awaitAck(t, s.a, 23, 200, 3)
		assert.Equal(t, asked, s.dps.Count(dpstest.Register), "not for each connection")
		want("tuesday")
		p.await("reprovisioned again", after, func(r record) bool {
			return r.Msg == "reprovisioned"
		})
		p.stop()
	})
}
