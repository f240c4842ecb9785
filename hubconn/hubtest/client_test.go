// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/sas"
)

const hubHost = "hub-a.azure-devices.net"

// anywhere runs a test on a network in memory, inside a bubble, and on one on sockets.
func anywhere(t *testing.T, f func(t *testing.T, n *simnet.Network)) {
	t.Run("memory", func(t *testing.T) { inMemory(t, f) })
	t.Run("sockets", func(t *testing.T) {
		n, err := simnet.Listen(simnet.ListenConfig{})
		require.NoError(t, err)
		defer func() { require.NoError(t, n.Close()) }()
		f(t, n)
	})
}

// inMemory runs a test that needs virtual time. The end of the bubble shows that nothing was left
// running.
func inMemory(t *testing.T, f func(t *testing.T, n *simnet.Network)) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		defer func() { require.NoError(t, n.Close()) }()
		f(t, n)
	})
}

// everywhere runs a test with one hub and its device "dev1", for each transport, in memory and on
// sockets.
func everywhere(t *testing.T, f func(t *testing.T, h *Hub, transport string)) {
	for _, transport := range []string{"mqtt", "ws"} {
		t.Run(transport, func(t *testing.T) {
			anywhere(t, func(t *testing.T, n *simnet.Network) {
				h := NewHub(n, hubHost)
				require.NoError(t, h.Put(Device{ID: "dev1"}))
				f(t, h, transport)
			})
		})
	}
}

// codeOf returns the code of a hub's refusal.
func codeOf(t *testing.T, err error) int {
	t.Helper()
	refusal, ok := errors.AsType[*Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, refusal.Code/1000, refusal.Status())
	require.NotContains(t, err.Error(), "\n")
	return refusal.Code
}

// client is a device that says exactly what a test tells it to.
type client struct {
	t  *testing.T
	n  *simnet.Network
	nc net.Conn
	ws *websocket.Conn // nil on port 8883

	// What it connects with; set before connect.
	host, id, username, password string
	cert                         *tls.Certificate
	keepAlive                    uint16
	will                         string // a topic
	clean                        bool   // CleanSession
	present                      bool   // SessionPresent, of the last CONNACK
}

// device returns a client for a device whose key the hub knows.
func device(t *testing.T, h *Hub, id string) *client {
	c := &client{t: t, n: h.network, host: h.Host(), id: id}
	c.username = h.Host() + "/" + id + "/?api-version=2021-04-12"
	if d, ok := h.Get(id); ok {
		c.password = token(t, h.Host()+"/devices/"+id, d.PrimaryKey, h.network.Now().Add(time.Hour))
	}
	parent, module := splitID(id)
	if m, ok := h.Module(parent, module); ok {
		c.password = token(
			t, h.Host()+"/devices/"+parent+"/modules/"+module, m.PrimaryKey,
			h.network.Now().Add(time.Hour),
		)
	}
	return c
}

// token signs a token with a base64 key.
func token(t *testing.T, resource, key string, expiry time.Time) string {
	raw, err := base64.StdEncoding.DecodeString(key)
	require.NoError(t, err)
	return sas.Token(resource, raw, expiry)
}

func (c *client) tls() *tls.Config {
	cfg := c.n.TLSConfig()
	cfg.ServerName = c.host
	if c.cert != nil {
		cfg.Certificates = []tls.Certificate{*c.cert}
	}
	return cfg
}

// dial opens a connection on "mqtt" or "ws". The response is that of a refused upgrade.
func (c *client) dial(transport string) (*http.Response, error) {
	if transport == "ws" {
		d := websocket.Dialer{
			NetDialContext: c.n.DialContext, TLSClientConfig: c.tls(),
			Subprotocols: []string{"mqtt"},
		}
		ws, response, err := d.Dial("wss://"+c.host+":443/$iothub/websocket", nil)
		if err != nil {
			return response, err
		}
		c.ws, c.nc = ws, ws.NetConn()
		return nil, nil
	}
	raw, err := c.n.DialContext(context.Background(), "tcp", c.host+":8883")
	if err != nil {
		return nil, err
	}
	tc := tls.Client(raw, c.tls())
	if err := tc.Handshake(); err != nil {
		_ = raw.Close()
		return nil, err
	}
	c.nc = tc
	return nil, nil
}

// connect dials and sends a CONNECT. It returns the CONNACK's return code.
func (c *client) connect(transport string) byte {
	c.t.Helper()
	c.start(transport)
	ack := c.receive().(*packets.ConnackPacket)
	c.present = ack.SessionPresent
	return ack.ReturnCode
}

// start dials and sends a CONNECT.
func (c *client) start(transport string) {
	c.t.Helper()
	_, err := c.dial(transport)
	require.NoError(c.t, err)
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.Keepalive = "MQTT", 4, c.keepAlive
	p.ClientIdentifier, p.CleanSession = c.id, c.clean
	p.UsernameFlag, p.Username = true, c.username
	p.PasswordFlag, p.Password = c.password != "", []byte(c.password)
	p.WillFlag, p.WillTopic, p.WillMessage = c.will != "", c.will, []byte("gone")
	c.send(p)
}

func (c *client) send(p packets.ControlPacket) {
	c.t.Helper()
	require.NoError(c.t, p.Write(c))
}

// Write puts a packet into a frame, on a WebSocket.
func (c *client) Write(b []byte) (int, error) {
	if c.ws != nil {
		return len(b), c.ws.WriteMessage(websocket.BinaryMessage, b)
	}
	return c.nc.Write(b)
}

func (c *client) read() (packets.ControlPacket, error) {
	if c.ws == nil {
		return packets.ReadPacket(c.nc)
	}
	_, frame, err := c.ws.NextReader()
	if err != nil {
		return nil, err
	}
	return packets.ReadPacket(frame)
}

func (c *client) receive() packets.ControlPacket {
	c.t.Helper()
	p, err := c.read()
	require.NoError(c.t, err)
	return p
}

// ended waits for the end of the connection, without another packet, and returns it.
func (c *client) ended() error {
	c.t.Helper()
	p, err := c.read()
	require.Error(c.t, err, "%v", p)
	c.close()
	return err
}

// silent asserts that nothing comes for so long, the end included. The connection is of no use
// afterwards on a WebSocket.
func (c *client) silent(d time.Duration) {
	c.t.Helper()
	require.NoError(c.t, c.nc.SetReadDeadline(time.Now().Add(d)))
	_, err := c.read()
	var timeout net.Error
	require.ErrorAs(c.t, err, &timeout)
	require.True(c.t, timeout.Timeout(), "%v", err)
	require.NoError(c.t, c.nc.SetReadDeadline(time.Time{}))
}

func (c *client) close() { _ = c.nc.Close() }

func (c *client) publish(topic string, qos byte, id uint16, payload string) {
	c.t.Helper()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Qos, p.MessageID, p.Payload = topic, qos, id, []byte(payload)
	c.send(p)
}

// deliver publishes and waits for the PUBACK.
func (c *client) deliver(payload string) {
	c.t.Helper()
	c.publish("devices/"+c.id+"/messages/events/", 1, 1, payload)
	require.IsType(c.t, &packets.PubackPacket{}, c.receive())
}

// subscribe returns the codes of the SUBACK.
func (c *client) subscribe(filters ...string) []byte { return c.subscribeAt(0, filters...) }

func (c *client) subscribeAt(qos byte, filters ...string) []byte {
	c.t.Helper()
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID, p.Topics, p.Qoss = 1, filters, bytes.Repeat([]byte{qos}, len(filters))
	c.send(p)
	return c.receive().(*packets.SubackPacket).ReturnCodes
}

func (c *client) unsubscribe(filters ...string) {
	c.t.Helper()
	p := packets.NewControlPacket(packets.Unsubscribe).(*packets.UnsubscribePacket)
	p.MessageID, p.Topics = 1, filters
	c.send(p)
	require.IsType(c.t, &packets.UnsubackPacket{}, c.receive())
}

// message waits for a message from the hub; it is not acknowledged.
func (c *client) message() *packets.PublishPacket {
	c.t.Helper()
	p := c.receive()
	require.IsType(c.t, &packets.PublishPacket{}, p)
	return p.(*packets.PublishPacket)
}

// ack acknowledges a message.
func (c *client) ack(m *packets.PublishPacket) {
	c.t.Helper()
	p := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
	p.MessageID = m.MessageID
	c.send(p)
}

// request publishes at QoS 0 and waits for a message: topic and payload.
func (c *client) request(topic, payload string) (string, string) {
	c.t.Helper()
	c.publish(topic, 0, 0, payload)
	m := c.message()
	return m.TopicName, string(m.Payload)
}

// leave disconnects in order.
func (c *client) leave() {
	c.t.Helper()
	c.send(packets.NewControlPacket(packets.Disconnect))
	c.ended()
}

// https makes one request of the device API: "POST /messages/events", below the device's own path.
func (c *client) https(
	request string, header map[string]string, body string,
) (*http.Response, string) {
	c.t.Helper()
	response, text, err := c.tryHTTPS(request, header, body)
	require.NoError(c.t, err)
	return response, text
}

func (c *client) tryHTTPS(
	request string, header map[string]string, body string,
) (*http.Response, string, error) {
	c.t.Helper()
	method, path, _ := strings.Cut(request, " ")
	if !strings.HasPrefix(path, "https:") {
		device, module := splitID(c.id)
		identity := "/devices/" + url.PathEscape(device)
		if module != "" {
			identity += "/modules/" + url.PathEscape(module)
		}
		separator := "?"
		if strings.Contains(path, "?") {
			separator = "&"
		}
		path = "https://" + c.host + identity + path + separator + "api-version=2021-04-12"
	}
	r, err := http.NewRequest(method, path, strings.NewReader(body))
	require.NoError(c.t, err)
	for name, value := range header {
		r.Header[name] = []string{value}
	}
	if c.password != "" && strings.Contains(path, c.host) {
		r.Header.Set("Authorization", c.password)
	}
	cfg := c.tls()
	cfg.ServerName = ""
	tr := &http.Transport{
		DialContext: c.n.DialContext, TLSClientConfig: cfg, DisableKeepAlives: true,
	}
	defer tr.CloseIdleConnections()
	response, err := tr.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response, string(text), err
}

// get makes one HTTPS request to a host.
func get(
	t *testing.T, n *simnet.Network, cfg *tls.Config, url string,
) (*http.Response, string, error) {
	tr := &http.Transport{DialContext: n.DialContext, TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	response, err := (&http.Client{Transport: tr}).Get(url)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response, string(body), nil
}
