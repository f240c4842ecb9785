// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"context"
	"encoding/json"
	"os/exec"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// mosquitto is a device of hub A that has mosquitto's programs alone. Their arguments are those of
// the service's own samples: github.com/Azure-Samples/IoTMQTTSample, "mosquitto_pub"; Azure docs,
// "Use MQTT to develop an IoT device client without using a device SDK".
type mosquitto struct {
	id     string
	common []string
}

// mosquittos are the same device in two ways: with a key, and with a certificate.
func mosquittos(t *testing.T, w *world) map[string]mosquitto {
	t.Helper()
	for _, program := range []string{"mosquitto_pub", "mosquitto_sub"} {
		needProgram(t, program, "mosquitto-clients")
	}
	ca := file(t, "ca.pem", w.network.CA().PEM())
	with := func(id string, credential ...string) mosquitto {
		return mosquitto{id, append([]string{
			"-h", hostA, "-p", "8883", "-i", id, "-u", userName(hostA, id), "-V", "mqttv311",
			"--cafile", ca,
		}, credential...)}
	}
	w.identity(t, "keyed")
	cert, certKey := pemFiles(t, w.certified(t, "certified"))
	return map[string]mosquitto{
		"key":         with("keyed", "-P", w.hubToken(t, hostA, "keyed", key("keyed"))),
		"certificate": with("certified", "--cert", cert, "--key", certKey),
	}
}

// run runs one of the programs to its end.
func (m mosquitto) run(t *testing.T, program string, args ...string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, slices.Concat(m.common, args)...).CombinedOutput()
	return string(out), err
}

// start runs one of the programs while the test goes on.
func (m mosquitto) start(t *testing.T, program string, args ...string) (ended <-chan string) {
	t.Helper()
	done := make(chan string, 1)
	go func() {
		out, err := m.run(t, program, args...)
		assert.NoError(t, err, out)
		done <- out
	}()
	return done
}

func TestMosquittoSendsTelemetry(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	for name, m := range mosquittos(t, w) {
		t.Run(name, func(t *testing.T) {
			w.a.ResetLog()
			topic := "devices/" + m.id + "/messages/events/"
			const bag = "$.ct=application%2Fjson%3Bcharset%3Dutf-8&alert=too%20hot%20%26%20humid"
			for _, args := range [][]string{
				{"-t", topic, "-m", "hello world", "-q", "1"},
				{"-t", topic + bag, "-m", `{"t":30}`, "-q", "1"},
				{"-t", topic, "-m", "kept?", "-q", "0", "-r"},
			} {
				out, err := m.run(t, "mosquitto_pub", args...)
				require.NoError(t, err, out)
			}
			require.Eventually(t, func() bool { // QoS 0 is not acknowledged
				return len(w.a.Messages()) == 3
			}, patience, tick)
			got := w.a.Messages()
			assert.Equal(t, "hello world", string(got[0].Body))
			assert.Empty(t, got[0].Properties)
			assert.JSONEq(t, `{"t":30}`, string(got[1].Body))
			assert.Equal(t, map[string]string{"alert": "too hot & humid"}, got[1].Properties)
			assert.Equal(t, "application/json;charset=utf-8", got[1].System["$.ct"])
			assert.Equal(t, map[string]string{"mqtt-retain": "true"}, got[2].Properties)
			for i, message := range got {
				assert.Equal(t, m.id, message.DeviceID)
				assert.EqualValues(t, []byte{1, 1, 0}[i], message.QoS)
			}
		})
	}
}

func TestMosquittoReceivesACloudToDeviceMessage(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	for name, m := range mosquittos(t, w) {
		for filter, what := range map[string]string{
			"#": "of the sample",
			"devices/" + m.id + "/messages/devicebound/#": "of the documentation",
		} {
			t.Run(name+", filter "+what, func(t *testing.T) {
				require.Eventually(t, func() bool { return !w.a.Connected(m.id) }, patience, tick)
				ended := m.start(
					t, "mosquitto_sub", "-t", filter, "-q", "1", "-C", "1", "-F", "%t %q %p",
				)
				// Its session is clean: what is sent before it is there is lost.
				require.Eventually(t, func() bool { return w.a.Connected(m.id) }, patience, tick)
				require.NoError(t, w.a.SendC2D(m.id, hubtest.C2D{
					Body: []byte("hello world"), MessageID: "m-1", ContentEncoding: "utf-8",
					Properties: map[string]string{"room": "küche & flur"},
				}))
				out := <-ended
				assert.Regexp(t, `^devices/`+m.id+`/messages/devicebound/\S+ 1 hello world\n$`, out)
				for _, pair := range []string{
					"%24.mid=m-1", "%24.ce=utf-8", "room=k%C3%BCche%20%26%20flur",
					"%24.to=%2Fdevices%2F" + m.id + "%2Fmessages%2Fdevice",
				} {
					assert.Contains(t, out, pair)
				}
				require.Eventually(t, func() bool {
					return len(w.a.C2DQueue(m.id)) == 0
				}, patience, tick, "the message is not settled")
			})
		}
	}
}

var methodRequest = regexp.MustCompile(`^\$iothub/methods/POST/reboot/\?\$rid=(\S+) (.*)\n$`)

// One program hears of the call and ends, another one answers it over a connection of its own.
func TestMosquittoAnswersAMethod(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	for name, m := range mosquittos(t, w) {
		t.Run(name, func(t *testing.T) {
			heard := m.start(
				t, "mosquitto_sub", "-t", "$iothub/methods/POST/#", "-C", "1", "-F", "%t %p",
			)
			answered := make(chan json.RawMessage, 1)
			go func() {
				status, response, err := w.a.Invoke(
					t.Context(), m.id, "reboot", with{"delay": 5},
					hubtest.InvokeOptions{ConnectTimeout: patience, ResponseTimeout: patience},
				)
				assert.NoError(t, err)
				assert.Equal(t, 202, status)
				answered <- response
			}()
			out := <-heard
			request := methodRequest.FindStringSubmatch(out)
			require.NotNil(t, request, out)
			assert.JSONEq(t, `{"delay":5}`, request[2])
			out, err := m.run(
				t, "mosquitto_pub", "-t", "$iothub/methods/res/202/?$rid="+request[1],
				"-m", `{"accepted":true}`, "-q", "1",
			)
			require.NoError(t, err, out)
			assert.JSONEq(t, `{"accepted":true}`, string(<-answered))
		})
	}
}

func TestMosquittoWithoutTheDevicesCredentialIsRefused(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	m := mosquittos(t, w)["key"]
	m.common = append(m.common, "-P", w.hubToken(t, hostA, m.id, key("another")))
	out, err := m.run(
		t, "mosquitto_pub", "-t", "devices/"+m.id+"/messages/events/", "-m", "x", "-q", "1",
	)
	require.Error(t, err)
	assert.Contains(t, out, "not authorised")
	assert.Empty(t, w.a.Messages())
}
