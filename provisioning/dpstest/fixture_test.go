// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
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

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/sas"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const (
	hubA    = "hub-a.azure-devices.net"
	hubB    = "hub-b.azure-devices.net"
	scope   = "0ne00000001"
	version = "2021-06-01"
)

var (
	key1 = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	key2 = base64.StdEncoding.EncodeToString([]byte("fedcba9876543210fedcba9876543210"))
)

// world is a network with a provisioning service and two hubs, of which the first is linked.
type world struct {
	t    *testing.T
	net  *simnet.Network
	dps  *dpstest.Server
	a, b *hubtest.Hub
}

func newWorld(t *testing.T, cfg dpstest.Config) *world {
	return populate(t, simnet.New(), cfg)
}

func populate(t *testing.T, n *simnet.Network, cfg dpstest.Config) *world {
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	w := &world{
		t: t, net: n, a: hubtest.NewHub(n, hubA), b: hubtest.NewHub(n, hubB),
		dps: dpstest.New(n, cfg),
	}
	w.dps.Link(w.a)
	return w
}

// enroll stores an enrollment of a device with key1 or key2.
func (w *world) enroll(id string, change ...func(*dpstest.IndividualEnrollment)) {
	e := dpstest.IndividualEnrollment{RegistrationID: id, Attestation: dpstest.Keys(key1, key2)}
	for _, f := range change {
		f(&e)
	}
	require.NoError(w.t, w.dps.Enroll(e))
}

// inBubble runs a test inside a synctest bubble, on a network in memory.
func inBubble(t *testing.T, cfg dpstest.Config, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) { f(newWorld(t, cfg)) })
}

// onEach runs a test for each transport.
func onEach(t *testing.T, cfg dpstest.Config, f func(w *world, transport string)) {
	for _, transport := range []string{dpstest.HTTPS, dpstest.MQTT, dpstest.WebSocket} {
		t.Run(transport, func(t *testing.T) {
			inBubble(t, cfg, func(w *world) { f(w, transport) })
		})
	}
}

// token signs for a device, an hour from now.
func token(id, key string) string {
	raw, _ := base64.StdEncoding.DecodeString(key)
	return sas.Token(scope+"/registrations/"+id, raw, time.Now().Add(time.Hour)) +
		"&skn=registration"
}

// credential is how a device proves itself. The zero credential proves nothing.
type credential struct {
	token       string
	certificate *tls.Certificate
}

func byKey(id, key string) credential            { return credential{token: token(id, key)} }
func byCertificate(c tls.Certificate) credential { return credential{certificate: &c} }

// result is a response as a device sees it, the same over all transports.
type result struct {
	status     int
	retryAfter string
	raw        []byte
	header     http.Header // HTTPS only
	topic      string      // MQTT only
}

// body is every JSON member a device might look at.
type body struct {
	OperationID       string          `json:"operationId"`
	Status            string          `json:"status"`
	RegistrationState json.RawMessage `json:"registrationState"`

	RegistrationID         string          `json:"registrationId"`
	AssignedHub            string          `json:"assignedHub"`
	DeviceID               string          `json:"deviceId"`
	Substatus              string          `json:"substatus"`
	CreatedDateTimeUTC     string          `json:"createdDateTimeUtc"`
	LastUpdatedDateTimeUTC string          `json:"lastUpdatedDateTimeUtc"`
	ETag                   string          `json:"etag"`
	Payload                json.RawMessage `json:"payload"`

	ErrorCode    int    `json:"errorCode"`
	ErrorMessage string `json:"errorMessage"`
	Message      string `json:"message"`
	TrackingID   string `json:"trackingId"`
	TimestampUTC string `json:"timestampUtc"`
}

func (r result) decode(t *testing.T) body {
	t.Helper()
	var b body
	require.NoError(t, json.Unmarshal(r.raw, &b), "%s", r.raw)
	return b
}

// state decodes registrationState.
func (b body) state(t *testing.T) body {
	t.Helper()
	var s body
	require.NoError(t, json.Unmarshal(b.RegistrationState, &s), "%s", b.RegistrationState)
	return s
}

func members(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal(raw, &m), "%s", raw)
	return m
}

// device talks to the service over one of the transports.
type device interface {
	register(body string) result
	poll(operationID, body string) result
	close()
}

func (w *world) device(transport, id string, c credential) device {
	return w.deviceOf(transport, id, version, c)
}

func (w *world) deviceOf(transport, id, version string, c credential) device {
	if transport == dpstest.HTTPS {
		return w.https(id, version, c)
	}
	m := w.mqtt(transport, id, userName(id, version), c)
	require.Equal(w.t, byte(0), m.connack.ReturnCode)
	require.Equal(w.t, []byte{1}, m.subscribe("$dps/registrations/res/#", 1))
	return m
}

// finish registers and polls, as a device does, until the response is no 202.
func (w *world) finish(d device, payload string) result {
	w.t.Helper()
	r := d.register(payload)
	op := ""
	for range 50 {
		if r.status != 202 {
			return r
		}
		if id := r.decode(w.t).OperationID; id != "" {
			op = id
		}
		time.Sleep(3 * time.Second)
		r = d.poll(op, "")
	}
	w.t.Fatal("the registration does not end")
	return r
}

// assigned registers over a connection of its own and returns the final state.
func (w *world) assigned(transport, id, version string, c credential) body {
	w.t.Helper()
	d := w.deviceOf(transport, id, version, c)
	defer d.close()
	r := w.finish(d, "")
	require.Equal(w.t, 200, r.status, "%s", r.raw)
	return r.decode(w.t).state(w.t)
}

// httpsDevice is a device over raw net/http.
type httpsDevice struct {
	w           *world
	id, version string
	auth        string
	client      *http.Client
}

func (w *world) https(id, version string, c credential) *httpsDevice {
	cfg := w.net.TLSConfig()
	if c.certificate != nil {
		cfg.Certificates = []tls.Certificate{*c.certificate}
	}
	return &httpsDevice{w: w, id: id, version: version, auth: c.token, client: &http.Client{
		Transport: &http.Transport{DialContext: w.net.DialContext, TLSClientConfig: cfg},
	}}
}

func (d *httpsDevice) close() { d.client.CloseIdleConnections() }

// do sends a request and returns the response, or the error.
func (d *httpsDevice) do(ctx context.Context, method, path, body string) (result, error) {
	address := "https://" + dpstest.GlobalEndpoint + path
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	require.NoError(d.w.t, err)
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	if d.auth != "" {
		req.Header.Set("Authorization", d.auth)
	}
	res, err := d.client.Do(req)
	if err != nil {
		return result{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	return result{
		status: res.StatusCode, retryAfter: res.Header.Get("Retry-After"), raw: raw,
		header: res.Header,
	}, err
}

func (d *httpsDevice) must(method, path, body string) result {
	d.w.t.Helper()
	r, err := d.do(context.Background(), method, path, body)
	require.NoError(d.w.t, err)
	return r
}

func (d *httpsDevice) path() string {
	return "/" + scope + "/registrations/" + url.PathEscape(d.id)
}

func (d *httpsDevice) query() string { return "?api-version=" + d.version }

func (d *httpsDevice) register(body string) result {
	d.w.t.Helper()
	return d.must("PUT", d.path()+"/register"+d.query(), body)
}

func (d *httpsDevice) poll(op, body string) result {
	d.w.t.Helper()
	return d.must("GET", d.path()+"/operations/"+url.PathEscape(op)+d.query(), body)
}

func (d *httpsDevice) lookup(body string) result {
	d.w.t.Helper()
	return d.must("POST", d.path()+d.query(), body)
}

// mqttDevice is a device over MQTT packets that are written and read one by one.
type mqttDevice struct {
	w       *world
	nc      net.Conn
	stream  io.ReadWriter
	connack *packets.ConnackPacket
	next    uint16
}

func userName(id, version string) string {
	return scope + "/registrations/" + id + "/api-version=" + version + "&ClientVersion=test%2F1.0"
}

// dialMQTT opens a connection without saying anything.
func (w *world) dialMQTT(transport string, c credential) (*mqttDevice, error) {
	cfg := w.net.TLSConfig()
	if c.certificate != nil {
		cfg.Certificates = []tls.Certificate{*c.certificate}
	}
	if transport == dpstest.WebSocket {
		dialer := websocket.Dialer{
			NetDialContext: w.net.DialContext, TLSClientConfig: cfg, Subprotocols: []string{"mqtt"},
		}
		ws, res, err := dialer.Dial("wss://"+dpstest.GlobalEndpoint+"/$iothub/websocket", nil)
		if err != nil {
			return nil, err
		}
		require.Equal(w.t, http.StatusSwitchingProtocols, res.StatusCode)
		return &mqttDevice{w: w, nc: ws.NetConn(), stream: &frames{ws: ws}}, nil
	}
	raw, err := w.net.DialContext(context.Background(), "tcp", dpstest.GlobalEndpoint+":8883")
	if err != nil {
		return nil, err
	}
	cfg.ServerName = dpstest.GlobalEndpoint
	tc := tls.Client(raw, cfg)
	if err := tc.Handshake(); err != nil {
		return nil, err
	}
	return &mqttDevice{w: w, nc: tc, stream: tc}, nil
}

// frames makes a stream of WebSocket frames.
type frames struct {
	ws   *websocket.Conn
	rest bytes.Buffer
}

func (f *frames) Read(b []byte) (int, error) {
	for f.rest.Len() == 0 {
		_, data, err := f.ws.ReadMessage()
		if err != nil {
			return 0, err
		}
		f.rest.Write(data)
	}
	return f.rest.Read(b)
}

func (f *frames) Write(b []byte) (int, error) {
	return len(b), f.ws.WriteMessage(websocket.BinaryMessage, b)
}

// mqtt connects a device; the CONNACK may be a refusal.
func (w *world) mqtt(transport, id, user string, c credential) *mqttDevice {
	w.t.Helper()
	d, err := w.dialMQTT(transport, c)
	require.NoError(w.t, err)
	d.connect(id, user, c.token)
	cp, err := packets.ReadPacket(d.stream)
	require.NoError(w.t, err)
	require.IsType(w.t, &packets.ConnackPacket{}, cp)
	d.connack = cp.(*packets.ConnackPacket)
	return d
}

func (d *mqttDevice) connect(id, user, password string) {
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.CleanSession, p.ClientIdentifier = "MQTT", 4, true, id
	p.Username, p.UsernameFlag = user, true
	p.Password, p.PasswordFlag = []byte(password), password != ""
	require.NoError(d.w.t, p.Write(d.stream))
}

func (d *mqttDevice) close() { _ = d.nc.Close() }

// read returns the next packet, acknowledging a message at QoS 1.
func (d *mqttDevice) read() packets.ControlPacket {
	d.w.t.Helper()
	cp, err := packets.ReadPacket(d.stream)
	require.NoError(d.w.t, err)
	if p, ok := cp.(*packets.PublishPacket); ok && p.Qos == 1 {
		ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		ack.MessageID = p.MessageID
		require.NoError(d.w.t, ack.Write(d.stream))
	}
	return cp
}

// ended reads to the end of the connection, and fails the test if anything is said before.
func (d *mqttDevice) ended() {
	d.w.t.Helper()
	cp, err := packets.ReadPacket(d.stream)
	require.Error(d.w.t, err, "%v", cp)
}

func (d *mqttDevice) subscribe(filter string, qos byte) []byte {
	d.w.t.Helper()
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	d.next++
	p.MessageID, p.Topics, p.Qoss = d.next, []string{filter}, []byte{qos}
	require.NoError(d.w.t, p.Write(d.stream))
	ack := d.read()
	require.IsType(d.w.t, &packets.SubackPacket{}, ack)
	return ack.(*packets.SubackPacket).ReturnCodes
}

func (d *mqttDevice) publish(topic, body string, qos byte) {
	d.w.t.Helper()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Qos = topic, []byte(body), qos
	if qos > 0 {
		d.next++
		p.MessageID = d.next
	}
	require.NoError(d.w.t, p.Write(d.stream))
}

// response reads one message and takes its topic apart.
func (d *mqttDevice) response() result {
	d.w.t.Helper()
	cp := d.read()
	require.IsType(d.w.t, &packets.PublishPacket{}, cp)
	p := cp.(*packets.PublishPacket)
	r := result{topic: p.TopicName, raw: p.Payload}
	rest, ok := strings.CutPrefix(p.TopicName, "$dps/registrations/res/")
	require.True(d.w.t, ok, p.TopicName)
	status, query, ok := strings.Cut(rest, "/?")
	require.True(d.w.t, ok, p.TopicName)
	require.NoError(d.w.t, json.Unmarshal([]byte(status), &r.status))
	values, err := url.ParseQuery(query)
	require.NoError(d.w.t, err)
	r.retryAfter = values.Get("retry-after")
	return r
}

// request publishes at QoS 1 and returns the response, which must come after the acknowledgement.
func (d *mqttDevice) request(topic, body string) result {
	d.w.t.Helper()
	d.publish(topic, body, 1)
	require.IsType(d.w.t, &packets.PubackPacket{}, d.read(), "the acknowledgement comes first")
	return d.response()
}

func (d *mqttDevice) register(body string) result {
	d.w.t.Helper()
	return d.request("$dps/registrations/PUT/iotdps-register/?$rid=7", body)
}

func (d *mqttDevice) poll(op, body string) result {
	d.w.t.Helper()
	return d.request(
		"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=8&operationId="+op, body,
	)
}
