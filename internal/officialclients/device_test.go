package officialclients

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

var hubTransports = []string{"mqtt", "ws"}

// device is an identity at hub A and how the official client connects with it.
func (w *world) device(t *testing.T, id, transport string) with {
	t.Helper()
	require.NoError(t, w.a.Put(hubtest.Device{ID: id, PrimaryKey: key(id)}))
	return with{"name": id, "transport": transport, "connectionString": "HostName=" + hostA + ";DeviceId=" + id + ";SharedAccessKey=" + key(id)}
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
				"name": id, "body": `{"temperature":21.5}`, "messageId": "m-1", "properties": with{"alert": "too hot & humid", "näme": "größe"},
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
			own := hubtest.NewCA("Factory", w.network.Now()).Device(id)
			require.NoError(t, w.a.Put(hubtest.Device{ID: id, PrimaryThumbprint: hubtest.Thumbprint(own.Leaf)}))
			args := pemPair(t, own)
			args["name"], args["transport"] = id, transport
			args["connectionString"] = "HostName=" + hostA + ";DeviceId=" + id + ";x509=true"
			node.must(t, "connect", args, nil)
			node.must(t, "send", with{"name": id, "body": "{}"}, nil)
			assert.True(t, w.a.Connected(id))
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
			args["connectionString"] = "HostName=" + hostA + ";DeviceId=intruder;SharedAccessKey=" + key("another")
			err := clientErr(t, node.try("connect", args, nil))
			assert.Equal(t, "UnauthorizedError", err.Name, "%v", err)
		})
	}
}
