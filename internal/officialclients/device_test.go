// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

var hubTransports = []string{"mqtt", "ws"}

// identity puts a device with a key into hub A's registry.
func (w *world) identity(t *testing.T, id string) {
	t.Helper()
	require.NoError(t, w.a.Put(hubtest.Device{ID: id, PrimaryKey: key(id)}))
}

// certified puts a device with a certificate of its own into hub A's registry.
func (w *world) certified(t *testing.T, id string) tls.Certificate {
	t.Helper()
	own := simnet.NewCA("Factory", w.network.Now()).Device(id)
	require.NoError(
		t, w.a.Put(hubtest.Device{ID: id, PrimaryThumbprint: hubtest.Thumbprint(own.Leaf)}),
	)
	return own
}

// device is an identity at hub A and how the official client connects with it.
func (w *world) device(t *testing.T, id, transport string) with {
	t.Helper()
	w.identity(t, id)
	return with{
		"name": id, "transport": transport,
		"connectionString": "HostName=" + hostA + ";DeviceId=" + id + ";SharedAccessKey=" + key(id),
	}
}

func TestOfficialDeviceSendsTelemetry(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	for _, transport := range hubTransports {
		t.Run(transport, func(t *testing.T) {
			w.a.ResetLog()
			id := "telemetry-" + transport
			node.must(t, "connect", w.device(t, id, transport), nil)
			node.must(t, "send", with{
				"name": id, "body": `{"temperature":21.5}`, "messageId": "m-1",
				"properties": with{"alert": "too hot & humid", "näme": "größe"},
			}, nil)
			messages := w.a.Messages()
			require.Len(t, messages, 1)
			m := messages[0]
			assert.Equal(t, id, m.DeviceID)
			assert.JSONEq(t, `{"temperature":21.5}`, string(m.Body))
			assert.Equal(t, "too hot & humid", m.Properties["alert"])
			assert.Equal(t, "größe", m.Properties["näme"])
			assert.Equal(t, transport, m.Transport)
			assert.True(t, w.a.Connected(id))
			node.must(t, "close", with{"name": id}, nil)
			require.Eventually(t, func() bool { return !w.a.Connected(id) }, patience, tick)
		})
	}
}

func TestOfficialDeviceConnectsWithACertificate(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	for _, transport := range hubTransports {
		t.Run(transport, func(t *testing.T) {
			id := "certificate-" + transport
			args := pemPair(t, w.certified(t, id))
			args["name"], args["transport"] = id, transport
			args["connectionString"] = "HostName=" + hostA + ";DeviceId=" + id + ";x509=true"
			node.must(t, "connect", args, nil)
			node.must(t, "send", with{"name": id, "body": "{}"}, nil)
			assert.True(t, w.a.Connected(id))
			node.must(t, "close", with{"name": id}, nil)
		})
	}
}

func TestOfficialDeviceReceivesCloudToDeviceMessages(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	for _, transport := range hubTransports {
		t.Run(transport, func(t *testing.T) {
			id := "commands-" + transport
			node.must(t, "connect", w.device(t, id, transport), nil)
			node.must(t, "listen", with{"name": id}, nil)
			// The client subscribes in its own time: the hub keeps what comes before.
			for i, body := range []string{"first", "second"} {
				require.NoError(t, w.a.SendC2D(id, hubtest.C2D{
					Body: []byte(body), MessageID: fmt.Sprint("m-", i),
					Properties: map[string]string{"room": "küche & flur"}, Ack: "full",
				}))
				var got struct {
					Body, MessageID string
					Properties      map[string]string
				}
				node.must(t, "nextMessage", with{"name": id}, &got)
				assert.Equal(t, body, got.Body)
				assert.Equal(t, fmt.Sprint("m-", i), got.MessageID)
				assert.Equal(t, "küche & flur", got.Properties["room"])
			}
			require.Eventually(t, func() bool {
				return len(w.a.C2DQueue(id)) == 0
			}, patience, tick, "the messages are not settled")
			node.must(t, "close", with{"name": id}, nil)
		})
	}
}

func TestOfficialDeviceReadsAndReportsItsTwin(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	for _, transport := range hubTransports {
		t.Run(transport, func(t *testing.T) {
			id := "twin-" + transport
			device := w.device(t, id, transport)
			require.NoError(t, w.a.SetTwin(id, hubtest.Twin{
				Desired: map[string]any{"target": 20}, Reported: map[string]any{"firmware": "1.0"},
				Tags: map[string]any{"site": "north"},
			}))
			node.must(t, "connect", device, nil)
			var got struct{ Desired, Reported map[string]any }
			node.must(t, "twin", with{"name": id}, &got)
			assert.Equal(t, map[string]any{"target": 20.0, "$version": 1.0}, got.Desired)
			assert.Equal(t, map[string]any{"firmware": "1.0", "$version": 1.0}, got.Reported)

			node.must(t, "report", with{"name": id, "patch": with{
				"firmware": nil, "room": with{"temperature": 21.5},
			}}, nil)
			twin, _ := w.a.Twin(id)
			assert.Equal(
				t, map[string]any{"room": map[string]any{"temperature": 21.5}}, twin.Reported,
			)
			assert.EqualValues(t, 2, twin.ReportedVersion)

			var delta map[string]any
			node.must(t, "nextDesired", with{"name": id}, &delta) // the present state
			assert.Equal(t, map[string]any{"target": 20.0, "$version": 1.0}, delta)
			// The client subscribes to changes in its own time, and tells nobody when it has: what
			// it misses is said again.
			told := make(chan error, 1)
			go func() { told <- node.try("nextDesired", with{"name": id}, &delta) }()
			change := map[string]any{"target": 23, "mode": "eco"}
			last, err := w.a.PatchDesired(id, change)
			require.NoError(t, err)
			for waiting := true; waiting; {
				select {
				case err := <-told:
					require.NoError(t, err)
					waiting = false
				case <-time.After(tick):
					last, err = w.a.PatchDesired(id, change)
					require.NoError(t, err)
				}
			}
			version, _ := delta["$version"].(float64)
			assert.LessOrEqual(t, int64(version), last)
			assert.Equal(
				t, map[string]any{"target": 23.0, "mode": "eco", "$version": version}, delta,
			)
			node.must(t, "close", with{"name": id}, nil)
		})
	}
}

func TestOfficialDeviceAnswersMethods(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	for _, transport := range hubTransports {
		t.Run(transport, func(t *testing.T) {
			id := "method-" + transport
			node.must(t, "connect", w.device(t, id, transport), nil)
			node.must(t, "serve", with{
				"name": id, "method": "reboot", "status": 202, "response": with{"accepted": true},
			}, nil)
			status, response, err := w.a.Invoke(
				t.Context(), id, "reboot", with{"delay": 5},
				hubtest.InvokeOptions{ConnectTimeout: patience},
			)
			require.NoError(t, err)
			assert.Equal(t, 202, status)
			assert.JSONEq(t, `{"accepted":true}`, string(response))
			var call struct {
				Method  string
				Payload map[string]any
			}
			node.must(t, "nextCall", with{"name": id}, &call)
			assert.Equal(t, "reboot", call.Method)
			assert.Equal(t, map[string]any{"delay": 5.0}, call.Payload)
			node.must(t, "close", with{"name": id}, nil)
		})
	}
}

func TestOfficialDeviceWithAWrongKeyIsRefused(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	for _, transport := range hubTransports {
		t.Run(transport, func(t *testing.T) {
			args := w.device(t, "intruder", transport)
			args["connectionString"] = "HostName=" + hostA + ";DeviceId=intruder;SharedAccessKey=" +
				key("another")
			err := clientErr(t, node.try("connect", args, nil))
			assert.Equal(t, "UnauthorizedError", err.Name, "%v", err)
		})
	}
}
