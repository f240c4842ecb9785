// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// bridge runs a broker of mosquitto's that is the device at its hub: what is published locally goes
// there, and what comes from there is published locally. It is how a house that has a broker is
// connected to a hub; mosquitto.conf(5), "Configuring Bridges".
func (m mosquitto) bridge(t *testing.T) (local mosquitto) {
	t.Helper()
	program := needProgram(t, "mosquitto", "mosquitto")
	option := map[string]string{}
	for i := 0; i < len(m.common); i += 2 {
		option[m.common[i]] = m.common[i+1]
	}
	lines := []string{
		"user root", "listener 1883 127.0.0.1", "allow_anonymous true", "log_dest stderr",
		"connection hub", "address " + option["-h"] + ":" + option["-p"],
		"remote_clientid " + option["-i"], "remote_username " + option["-u"],
		"bridge_cafile " + option["--cafile"], "bridge_protocol_version mqttv311",
		"try_private false", "notifications false", "cleansession true", "restart_timeout 1",
		`topic twin/res/# in 1 "" $iothub/`, `topic twin/GET/# out 1 "" $iothub/`,
		`topic twin/PATCH/properties/desired/# in 1 "" $iothub/`,
		`topic twin/PATCH/properties/reported/# out 1 "" $iothub/`,
		"topic devices/" + m.id + "/messages/events/# out 1",
	}
	if option["--cert"] == "" {
		lines = append(lines, "remote_password "+option["-P"])
	} else {
		lines = append(
			lines, "bridge_certfile "+option["--cert"], "bridge_keyfile "+option["--key"],
		)
	}
	config := file(t, "mosquitto.conf", []byte(strings.Join(lines, "\n")+"\n"))
	broker := exec.Command(program, "-c", config)
	var log bytes.Buffer
	broker.Stderr = &log
	require.NoError(t, broker.Start())
	t.Cleanup(func() {
		assert.NoError(t, broker.Process.Signal(os.Interrupt))
		defer time.AfterFunc(patience, func() { _ = broker.Process.Kill() }).Stop()
		assert.NoError(t, broker.Wait(), "%s", &log)
	})
	return mosquitto{m.id, []string{"-h", "127.0.0.1"}}
}

// answer publishes by one program, again and again, until another has a message by a filter: nobody
// tells when it has subscribed.
func (m mosquitto) answer(
	t *testing.T, filter string, again func(try int),
) (topic string, body []byte) {
	t.Helper()
	heard := m.start(t, "mosquitto_sub", "-t", filter, "-q", "1", "-C", "1", "-F", "%t %p")
	for try := 0; ; try++ {
		again(try)
		select {
		case out := <-heard:
			topic, text, _ := strings.Cut(strings.TrimSuffix(out, "\n"), " ")
			return topic, []byte(text)
		case <-time.After(10 * tick):
		}
	}
}

func TestMosquittosBrokerIsADevice(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	for name, m := range mosquittos(t, w) {
		t.Run(name, func(t *testing.T) {
			local := m.bridge(t)
			require.Eventually(t, func() bool { return w.a.Connected(m.id) }, patience, tick)
			publish := func(topic string, args ...string) {
				t.Helper()
				out, err := local.run(
					t, "mosquitto_pub", append([]string{"-t", topic, "-q", "1"}, args...)...,
				)
				require.NoError(t, err, out)
			}
			publish("devices/"+m.id+"/messages/events/", "-m", "through the broker")
			require.Eventually(t, func() bool {
				for _, message := range w.a.Messages() {
					if message.DeviceID == m.id && string(message.Body) == "through the broker" {
						return true
					}
				}
				return false
			}, patience, tick)

			topic, body := local.answer(t, "twin/res/204/#", func(try int) {
				publish(
					fmt.Sprint("twin/PATCH/properties/reported/?$rid=r", try),
					"-m", `{"temperature": 32}`,
				)
			})
			assert.Regexp(t, `^twin/res/204/\?\$rid=r\d+&\$version=\d+$`, topic)
			assert.Empty(t, body)
			topic, body = local.answer(t, "twin/res/200/#", func(try int) {
				publish(fmt.Sprint("twin/GET/?$rid=g", try), "-n")
			})
			assert.Regexp(t, `^twin/res/200/\?\$rid=g\d+$`, topic)
			var twin struct{ Desired, Reported map[string]any }
			require.NoError(t, json.Unmarshal(body, &twin))
			assert.Equal(t, map[string]any{"$version": 1.0}, twin.Desired)
			assert.Equal(t, 32.0, twin.Reported["temperature"])

			var version int64
			topic, body = local.answer(t, "twin/PATCH/properties/desired/#", func(int) {
				var err error
				version, err = w.a.PatchDesired(m.id, map[string]any{"target": 23})
				require.NoError(t, err)
			})
			assert.Regexp(t, `^twin/PATCH/properties/desired/\?\$version=\d+$`, topic)
			var delta map[string]any
			require.NoError(t, json.Unmarshal(body, &delta))
			assert.Equal(t, 23.0, delta["target"])
			assert.LessOrEqual(t, delta["$version"], float64(version))
			assert.Len(t, acceptedOf(w, m.id), 1, "it stayed connected")
		})
	}
}

// acceptedOf are the connections that a device of hub A was let in by.
func acceptedOf(w *world, id string) (accepted []time.Time) {
	for _, a := range w.a.Attempts() {
		if a.DeviceID == id && a.Accepted() {
			accepted = append(accepted, a.Time)
		}
	}
	return accepted
}
