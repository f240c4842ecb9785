// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// module is a module identity of a device at hub A, and how the official client connects with it.
func (w *world) module(t *testing.T, device, id, transport string) with {
	t.Helper()
	require.NoError(t, w.a.Put(hubtest.Device{ID: device, PrimaryKey: key(device)}))
	require.NoError(t, w.a.PutModule(device, hubtest.Module{ID: id, PrimaryKey: key(id)}))
	return with{
		"name": id, "transport": transport,
		"connectionString": "HostName=" + hostA + ";DeviceId=" + device + ";ModuleId=" + id +
			";SharedAccessKey=" + key(id),
	}
}

func TestOfficialModuleSendsTelemetryAndTakesMessagesToItsInputs(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	for _, transport := range hubTransports {
		t.Run(transport, func(t *testing.T) {
			w.a.ResetLog()
			device, id := "gateway-"+transport, "camera-"+transport
			node.must(t, "connect", w.module(t, device, id, transport), nil)
			assert.True(t, w.a.Connected(device+"/"+id))
			assert.False(t, w.a.Connected(device), "the module is not its device")
			node.must(t, "send", with{
				"name": id, "body": `{"faces":2}`, "messageId": "m-1",
				"properties": with{"room": "küche & flur"},
			}, nil)
			node.must(t, "send", with{"name": id, "body": `{"faces":3}`, "output": "alarms"}, nil)
			messages := w.a.Messages()
			require.Len(t, messages, 2)
			for _, m := range messages {
				assert.Equal(t, []string{device, id}, []string{m.DeviceID, m.ModuleID})
				assert.Equal(t, "application/json", m.System["$.ct"])
			}
			assert.JSONEq(t, `{"faces":2}`, string(messages[0].Body))
			assert.Equal(t, "küche & flur", messages[0].Properties["room"])
			assert.Equal(t, "m-1", messages[0].System["$.mid"])
			assert.Equal(t, "alarms", messages[1].System["$.on"])

			node.must(t, "listen", with{"name": id}, nil)
			require.NoError(t, w.a.SendC2D(device+"/"+id, hubtest.C2D{
				Input: "control", Body: []byte("look"), MessageID: "c-1",
				Properties: map[string]string{"where": "left & right"},
			}))
			var got struct {
				Body, MessageID, Input string
				Properties             map[string]string
			}
			node.must(t, "nextMessage", with{"name": id}, &got)
			assert.Equal(
				t, []string{"look", "c-1", "control"}, []string{got.Body, got.MessageID, got.Input},
			)
			assert.Equal(t, "left & right", got.Properties["where"])
			require.Eventually(t, func() bool {
				return len(w.a.C2DQueue(device+"/"+id)) == 0
			}, patience, tick, "the message is not settled")
			node.must(t, "close", with{"name": id}, nil)
		})
	}
}

func TestOfficialModuleHasATwinAndMethodsOfItsOwn(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	for _, transport := range hubTransports {
		t.Run(transport, func(t *testing.T) {
			device, id := "gateway-"+transport, "camera-"+transport
			identity := device + "/" + id
			args := w.module(t, device, id, transport)
			require.NoError(t, w.a.SetTwin(identity, hubtest.Twin{
				Desired: map[string]any{"rate": 5},
			}))
			node.must(t, "connect", args, nil)
			var twin struct{ Desired, Reported map[string]any }
			node.must(t, "twin", with{"name": id}, &twin)
			assert.Equal(t, map[string]any{"rate": 5.0, "$version": 1.0}, twin.Desired)
			node.must(t, "report", with{"name": id, "patch": with{"lens": "clean"}}, nil)
			own, _ := w.a.Twin(identity)
			assert.Equal(t, map[string]any{"lens": "clean"}, own.Reported)
			parent, _ := w.a.Twin(device)
			assert.Empty(t, parent.Reported)

			var delta map[string]any
			node.must(t, "nextDesired", with{"name": id}, &delta) // the present state
			told := make(chan error, 1)
			go func() { told <- node.try("nextDesired", with{"name": id}, &delta) }()
			for waiting := true; waiting; { // as long as the client may not have subscribed yet
				_, err := w.a.PatchDesired(identity, map[string]any{"rate": 10})
				require.NoError(t, err)
				select {
				case err := <-told:
					require.NoError(t, err)
					waiting = false
				case <-time.After(tick):
				}
			}
			assert.Equal(t, 10.0, delta["rate"])

			node.must(t, "serve", with{
				"name": id, "method": "zoom", "status": 200, "response": with{"factor": 2},
			}, nil)
			status, response, err := w.a.Invoke(
				t.Context(), identity, "zoom", with{"to": 2},
				hubtest.InvokeOptions{ConnectTimeout: patience},
			)
			require.NoError(t, err)
			assert.Equal(t, 200, status)
			assert.JSONEq(t, `{"factor":2}`, string(response))
			_, _, err = w.a.Invoke(t.Context(), device, "zoom", nil, hubtest.InvokeOptions{})
			assert.ErrorContains(t, err, "404103", "its device is another, and not there")
			node.must(t, "close", with{"name": id}, nil)
		})
	}
}
