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

// registry returns calls of the official client of hub A's registry.
func (w *world) registry(
	t *testing.T, node *driver,
) (call func(result any, method string, args ...any), try func(method string, args ...any) error) {
	try = func(method string, args ...any) error {
		return node.try(
			"registry",
			with{"connectionString": w.a.ConnectionString(), "call": method, "args": args}, nil,
		)
	}
	call = func(result any, method string, args ...any) {
		t.Helper()
		node.must(
			t, "registry",
			with{"connectionString": w.a.ConnectionString(), "call": method, "args": args}, result,
		)
	}
	return call, try
}

func TestOfficialHubClientManagesDevices(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	call, try := w.registry(t, node)

	var d map[string]any
	call(&d, "create", with{"deviceId": "sensor-1", "status": "enabled", "authentication": with{
		"symmetricKey": with{"primaryKey": key("one"), "secondaryKey": key("two")},
	}})
	assert.Equal(t, "sensor-1", d["deviceId"])
	assert.NotEmpty(t, d["generationId"])
	assert.Equal(t, 409, clientErr(t, try("create", with{"deviceId": "sensor-1"})).Status)

	// The identity is one that a device connects with.
	connection := with{
		"name": "sensor-1", "transport": "mqtt",
		"connectionString": "HostName=" + hostA +
			";DeviceId=sensor-1;SharedAccessKey=" + key("two"),
	}
	node.must(t, "connect", connection, nil)
	call(&d, "get", "sensor-1")
	assert.Equal(t, "Connected", d["connectionState"])

	d["status"], d["statusReason"] = "disabled", "stolen"
	call(&d, "update", d)
	assert.Equal(t, "disabled", d["status"])
	require.Eventually(t, func() bool { return !w.a.Connected("sensor-1") }, patience, tick)
	require.NoError(t, node.try("close", with{"name": "sensor-1"}, nil))
	require.Error(t, node.try("connect", connection, nil))

	for _, id := range []string{"sensor-2", "sensor-3"} {
		call(nil, "create", with{"deviceId": id})
	}
	var all []map[string]any
	call(&all, "list")
	assert.Len(t, all, 3)

	for _, id := range []string{"sensor-1", "sensor-2", "sensor-3"} {
		require.NoError(t, try("delete", id))
	}
	assert.Equal(t, 404, clientErr(t, try("get", "sensor-1")).Status)
	assert.Empty(t, w.a.Devices())
}

func TestOfficialHubClientReadsAndChangesTwins(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	call, try := w.registry(t, node)
	device := w.device(t, "sensor-1", "ws")
	node.must(t, "connect", device, nil)
	node.must(t, "twin", with{"name": "sensor-1"}, nil)
	node.must(t, "nextDesired", with{"name": "sensor-1"}, nil)
	node.must(t, "report", with{"name": "sensor-1", "patch": with{"firmware": "1.1"}}, nil)
	require.NoError(t, w.a.PatchTags("sensor-1", with{"site": "south"}))

	var twin struct {
		DeviceID   string         `json:"deviceId"`
		ETag       string         `json:"etag"`
		Tags       map[string]any `json:"tags"`
		Properties struct{ Desired, Reported map[string]any }
	}
	call(&twin, "getTwin", "sensor-1")
	assert.Equal(t, map[string]any{"site": "south"}, twin.Tags)
	assert.Equal(t, "1.1", twin.Properties.Reported["firmware"])
	require.NotEmpty(t, twin.ETag)

	stale := twin.ETag
	call(&twin, "updateTwin", "sensor-1", with{"tags": with{"site": "north"}, "properties": with{
		"desired": with{"target": 23},
	}}, stale)
	assert.Equal(t, map[string]any{"site": "north"}, twin.Tags)
	assert.Equal(t, 23.0, twin.Properties.Desired["target"])
	assert.Equal(t, 412, clientErr(t, try(
		"updateTwin", "sensor-1", with{"tags": with{"site": "east"}}, stale,
	)).Status)

	var delta map[string]any
	told := make(chan error, 1)
	go func() { told <- node.try("nextDesired", with{"name": "sensor-1"}, &delta) }()
	for waiting := true; waiting; { // as long as the device may not have subscribed yet
		select {
		case err := <-told:
			require.NoError(t, err)
			waiting = false
		case <-time.After(tick):
			call(
				nil, "updateTwin", "sensor-1",
				with{"properties": with{"desired": with{"target": 24}}}, "*",
			)
		}
	}
	assert.Contains(t, []any{23.0, 24.0}, delta["target"])

	var found []map[string]any
	node.must(t, "registryQuery", with{"connectionString": w.a.ConnectionString(), "args": []any{
		"SELECT * FROM devices", 10,
	}}, &found)
	require.Len(t, found, 1)
	assert.Equal(t, "sensor-1", found[0]["deviceId"])
}

func TestOfficialHubClientInvokesMethodsOfTheOfficialDevice(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	invoke := func(method string) (answer struct {
		Status  int
		Payload any
	}, err error) {
		err = node.try("invoke", with{
			"connectionString": w.a.ConnectionString(), "device": "sensor-1", "method": method,
			"payload": with{"delay": 5},
		}, &answer)
		return answer, err
	}
	device := w.device(t, "sensor-1", "mqtt")
	_, err := invoke("reboot")
	assert.Equal(t, 404, clientErr(t, err).Status, "the device is not connected")

	node.must(t, "connect", device, nil)
	node.must(
		t, "serve",
		with{"name": "sensor-1", "method": "reboot", "status": 200, "response": with{"in": 5}}, nil,
	)
	require.Eventually(t, func() bool { // from when the device has subscribed
		answer, err := invoke("reboot")
		return err == nil && assert.ObjectsAreEqual(200, answer.Status) &&
			assert.ObjectsAreEqual(map[string]any{"in": 5.0}, answer.Payload)
	}, patience, tick)
	_, err = invoke("unknown")
	assert.Equal(
		t, 504, clientErr(t, err).Status,
		"the client is silent about a method it has no handler for",
	)
}

func TestOfficialHubClientWithAWrongKeyIsRefused(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	require.NoError(t, w.a.Put(hubtest.Device{ID: "sensor-1"}))
	err := clientErr(t, node.try("registry", with{
		"connectionString": "HostName=" + hostA +
			";SharedAccessKeyName=iothubowner;SharedAccessKey=" + key("another"),
		"call": "get", "args": []any{"sensor-1"},
	}, nil))
	assert.Equal(t, 401, err.Status, "%v", err)
}

// The client reports that AMQP is not implemented, as it was told, and no time-out.
func TestOfficialHubClientIsToldThatAMQPIsNotSimulated(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	require.NoError(t, w.a.Put(hubtest.Device{ID: "sensor-1"}))
	err := clientErr(t, node.try("serviceSend", with{
		"connectionString": w.a.ConnectionString(), "device": "sensor-1", "body": "hello",
	}, nil))
	assert.Contains(t, err.Error(), "NotImplementedError: AMQP")
	attempts := w.a.Attempts()
	assert.Equal(t, "amqp", attempts[len(attempts)-1].Transport)
}
