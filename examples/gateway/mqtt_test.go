// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// connect connects a client that does not connect again by itself.
func connect(t *testing.T, p *process, password string) (mqtt.Client, error) {
	t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + p.broker()).
		SetClientID("bridge").SetUsername("bridge").SetPassword(password).
		SetAutoReconnect(false).SetConnectTimeout(patience).SetOrderMatters(true))
	token := c.Connect()
	require.True(t, token.WaitTimeout(patience))
	t.Cleanup(func() { c.Disconnect(0) })
	return c, token.Error()
}

func TestMessagesByMQTTAreAcknowledgedWhenTheyAreKept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.network.SetFault(hubA, simnet.Refused)
	p := launch(t, s.flags(s.list(t, "sensor-1", "sensor-2")))
	c, err := connect(t, p, "")
	require.NoError(t, err)
	// Many under way, of two devices: each device's are in order.
	sent := map[string][]string{}
	var tokens []mqtt.Token
	for i := range 200 {
		device, body := fmt.Sprintf("sensor-%d", 1+i%2), fmt.Sprint("message ", i)
		sent[device] = append(sent[device], body)
		tokens = append(tokens, c.Publish("devices/"+device+"/messages/events/", 1, false, body))
	}
	tokens = append(tokens, c.Publish(
		"devices/sensor-1/messages/alarms/$.ct=application%2Fjson&$.mid=m%201&Zone=a%26b",
		1, false, "{}"))
	for i, token := range tokens {
		require.True(t, token.WaitTimeout(patience), "message %d", i)
		require.NoError(t, token.Error())
	}
	p.signal(syscall.SIGKILL) // the acknowledgements were true
	p.wait()
	s.network.SetFault(hubA, simnet.Fault(0))
	p = launch(t, s.flags(s.list(t, "sensor-1", "sensor-2")))
	eventually(t, "all messages", func() bool { return len(s.hub.Messages()) >= len(tokens) })
	sent["sensor-1"] = append([]string{"{}"}, sent["sensor-1"]...)
	for device, bodies := range sent {
		assert.Equal(t, bodies, s.bodies(device))
	}
	for _, m := range s.hub.Messages() {
		if string(m.Body) == "{}" {
			assert.Equal(t, map[string]string{"Zone": "a&b"}, m.Properties)
			assert.Equal(t, "application/json", m.System["$.ct"])
			assert.Equal(t, "m 1", m.System["$.mid"])
		}
	}
	p.stop()
}

func TestAnMQTTClientWhoseMessageCannotBeTakenIsTurnedAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := launch(t, s.flags(s.list(t, "sensor-1")))
	from, good := 0, 0
	for name, c := range map[string]struct {
		topic, body string
		qos         byte
		says        string
	}{
		"no such device": {topic: "devices/sensor-9/messages/events/", says: "add it to the list"},
		"no such topic":  {topic: "telemetry", says: "there is no such topic"},
		"no such lane":   {topic: "devices/sensor-1/messages/other/", says: "no such topic"},
		"a bad bag": {
			topic: "devices/sensor-1/messages/events/%zz=1",
			says:  "percent-encoded",
		},
		"too large": {
			topic: "devices/sensor-1/messages/events/", body: strings.Repeat("x", 256<<10+1),
			says: "262144",
		},
		"too large a packet": {
			topic: "devices/sensor-1/messages/events/", body: strings.Repeat("x", 500<<10),
			says: "packet too large",
		},
		"QoS 2": {
			topic: "devices/sensor-1/messages/events/", qos: 2, says: "QoS 2 is not supported",
		},
	} {
		client, err := connect(t, p, "")
		require.NoError(t, err)
		// What comes before it is kept, and acknowledged before the connection ends.
		before := client.Publish("devices/sensor-1/messages/events/", 1, false, "good")
		client.Publish(c.topic, max(c.qos, 1), false, c.body)
		var r record
		r, from = p.await(name, from, says("mqtt client turned away"))
		assert.Contains(t, r.Cause, c.says, name)
		eventually(t, "the end of the connection", func() bool { return !client.IsConnected() })
		require.True(t, before.WaitTimeout(patience), name)
		require.NoError(t, before.Error(), name)
		good++
		client.Disconnect(0)
	}
	eventually(t, "the good ones", func() bool { return len(s.bodies("sensor-1")) >= good })
	assert.Len(t, s.hub.Messages(), good, "and no other")
	_, _, text := p.request("GET", "/metrics", "")
	for outcome, n := range map[string]int{"kept": good, "refused": good, "failed": 0} {
		assert.Contains(t, text, fmt.Sprintf(
			"rehome_gateway_messages_total{input=\"mqtt\",outcome=%q} %d\n", outcome, n))
	}
	client, err := connect(t, p, "")
	require.NoError(t, err)
	refused := client.Subscribe("devices/sensor-1/messages/devicebound/#", 1, nil)
	require.True(t, refused.WaitTimeout(patience))
	for _, code := range refused.(*mqtt.SubscribeToken).Result() {
		assert.Equal(t, byte(0x80), code, "nobody can subscribe")
	}
	assert.True(t, client.IsConnected())
	p.stop()
}

// Messages that come together may be more than a device has room for: they are taken in parts.
func TestMoreMessagesThanADeviceHasRoomForAreTakenWhileTheHubTakesThem(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := launch(t, append(s.flags(s.list(t, "sensor-1")), "-keep-bytes", "320K"))
	p.ready()
	c, err := connect(t, p, "")
	require.NoError(t, err)
	body := strings.Repeat("x", 100<<10)
	var tokens []mqtt.Token
	for range 12 {
		tokens = append(tokens, c.Publish("devices/sensor-1/messages/events/", 1, false, body))
	}
	for i, token := range tokens {
		require.True(t, token.WaitTimeout(patience), "message %d", i)
		require.NoError(t, token.Error(), "message %d", i)
	}
	p.stop()
}

func TestTheTokenIsAskedForByBothInputsAndNotByProbes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := launch(t, s.flags(s.list(t, "sensor-1")), "GATEWAY_TOKEN="+canaryToken)
	for path, want := range map[string]int{
		"/": 401, "/metrics": 401, "/v1/devices": 401, "/v1/devices/sensor-1": 401, "/healthz": 200,
	} {
		status, header, _ := p.request("GET", path, "")
		assert.Equal(t, want, status, path)
		if want == 401 {
			assert.Contains(t, header.Get("WWW-Authenticate"), "Basic", "for a browser")
		}
	}
	status, _, _ := p.request("POST", "/v1/devices/sensor-1/messages", "a")
	assert.Equal(t, http.StatusUnauthorized, status)
	_, err := connect(t, p, "guess")
	assert.Error(t, err)
	turned, _ := p.await("who it was", 0, says("mqtt client turned away"))
	assert.Equal(t, "its password is not the token", turned.Cause)
	assert.NotContains(t, p.Stderr(), "guess")

	p.token = canaryToken
	p.post("sensor-1", "by http")
	c, err := connect(t, p, canaryToken)
	require.NoError(t, err)
	token := c.Publish("devices/sensor-1/messages/events/", 1, false, "by mqtt")
	require.True(t, token.WaitTimeout(patience))
	require.NoError(t, token.Error())
	r, err := http.NewRequest("GET", p.url("/"), nil)
	require.NoError(t, err)
	r.SetBasicAuth("", canaryToken)
	response, err := (&http.Client{Timeout: patience}).Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, http.StatusOK, response.StatusCode)
	eventually(t, "both", func() bool { return len(s.bodies("sensor-1")) == 2 })
	p.stop()
}

// A name that somebody's name server leads to this machine is not the gateway's: a page of a
// browser here could read by it.
func TestForeignNamesAreRefusedWhereThereIsNoToken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := launch(t, s.flags(s.list(t, "sensor-1")))
	for host, want := range map[string]int{"localhost:80": 200, "[::1]": 200, "a.example": 403} {
		r, err := http.NewRequest("GET", p.url("/v1/devices"), nil)
		require.NoError(t, err)
		r.Host = host
		response, err := (&http.Client{Timeout: patience}).Do(r)
		require.NoError(t, err)
		response.Body.Close()
		assert.Equal(t, want, response.StatusCode, host)
	}
	p.stop()
}
