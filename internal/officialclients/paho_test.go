// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// newPaho starts Python with paho-mqtt: MQTT as it is, by the topics of Azure docs, "Communicate
// with an IoT hub using the MQTT protocol" and "Communicate with DPS using the MQTT protocol".
func newPaho(t *testing.T) *driver {
	t.Helper()
	need(t)
	if pythonWithPaho() == "" {
		lack(t, "paho-mqtt for Python", "python3-paho-mqtt")
	}
	return startDriver(
		t, []string{"PYTHONDONTWRITEBYTECODE=1"}, pythonWithPaho(), "-W", "ignore", "raw_mqtt.py",
	)
}

// connack is what a connection begins with.
type connack struct {
	RC             int
	SessionPresent bool
}

// received is a message as paho-mqtt hands it over.
type received struct {
	Topic, Payload string
	QoS            int
	Dup            bool
}

// session is a client of paho-mqtt and what a test does with it.
type session struct {
	paho *driver
	name string
}

func (s session) subscribe(t *testing.T, qos int, filters ...string) (granted []int) {
	t.Helper()
	s.paho.must(t, "subscribe", with{"name": s.name, "filters": filters, "qos": qos}, &granted)
	return granted
}

func (s session) publish(t *testing.T, topic, payload string) {
	t.Helper()
	s.paho.must(
		t, "publish", with{"name": s.name, "topic": topic, "payload": payload, "qos": 1}, nil,
	)
}

func (s session) next(t *testing.T) (m received) {
	t.Helper()
	s.paho.must(t, "next", with{"name": s.name}, &m)
	return m
}

func (s session) reconnect(t *testing.T, password string) (c connack) {
	t.Helper()
	s.paho.must(t, "reconnect", with{"name": s.name, "password": password}, &c)
	return c
}

// end has a connection end by one of the driver's commands: disconnect, drop or ended.
func (s session) end(t *testing.T, how string) (rc int) {
	t.Helper()
	s.paho.must(t, how, with{"name": s.name}, &rc)
	return rc
}

// open connects a device of hub A with a session that outlives its connections.
func (w *world) open(t *testing.T, paho *driver, name, id string, more with) (session, connack) {
	t.Helper()
	args := with{
		"name": name, "host": hostA, "clientId": id, "username": userName(hostA, id),
		"clean": false, "ca": file(t, "ca.pem", w.network.CA().PEM()),
	}
	for k, v := range more {
		args[k] = v
	}
	var c connack
	paho.must(t, "connect", args, &c)
	return session{paho, name}, c
}

// everyFilter is all that a device subscribes to.
func everyFilter(id string) []string {
	return []string{
		"devices/" + id + "/messages/devicebound/#", "$iothub/methods/POST/#", "$iothub/twin/res/#",
		"$iothub/twin/PATCH/properties/desired/#",
	}
}

var rebootRequest = regexp.MustCompile(`^\$iothub/methods/POST/reboot/\?\$rid=(\S+)$`)

// works lets a device that is connected, and subscribed some time ago, do all there is to do. What
// has waited for it comes first, in any order: a message to it, and a call that waits for a
// response.
func (s session) works(t *testing.T, w *world, id, round string) {
	t.Helper()
	answered := make(chan json.RawMessage, 1)
	go func() {
		status, response, err := w.a.Invoke(
			t.Context(), id, "reboot", with{"round": round},
			hubtest.InvokeOptions{ConnectTimeout: patience, ResponseTimeout: patience},
		)
		assert.NoError(t, err)
		assert.Equal(t, 200, status)
		answered <- response
	}()
	for range 2 {
		m := s.next(t)
		if rid := rebootRequest.FindStringSubmatch(m.Topic); rid != nil {
			assert.JSONEq(t, `{"round":"`+round+`"}`, m.Payload)
			s.publish(t, "$iothub/methods/res/200/?$rid="+rid[1], `{"round":"`+round+`"}`)
			assert.JSONEq(t, `{"round":"`+round+`"}`, string(<-answered))
			continue
		}
		assert.True(t, strings.HasPrefix(m.Topic, "devices/"+id+"/messages/devicebound/"), m.Topic)
		assert.Contains(t, m.Topic, "%24.mid="+round)
		assert.Equal(t, received{m.Topic, "message of " + round, 1, false}, m)
	}
	require.Eventually(t, func() bool {
		return len(w.a.C2DQueue(id)) == 0
	}, patience, tick, "the message is not settled")

	s.publish(t, "$iothub/twin/PATCH/properties/reported/?$rid=p", `{"round":"`+round+`"}`)
	m := s.next(t)
	assert.Regexp(t, `^\$iothub/twin/res/204/\?\$rid=p&\$version=\d+$`, m.Topic)
	s.publish(t, "$iothub/twin/GET/?$rid=g", "")
	m = s.next(t)
	assert.Equal(t, "$iothub/twin/res/200/?$rid=g", m.Topic)
	var twin struct{ Desired, Reported map[string]any }
	require.NoError(t, json.Unmarshal([]byte(m.Payload), &twin))
	assert.Equal(t, round, twin.Reported["round"])
	version, err := w.a.PatchDesired(id, map[string]any{"seen": round})
	require.NoError(t, err)
	m = s.next(t)
	text := strconv.FormatInt(version, 10)
	assert.Equal(t, "$iothub/twin/PATCH/properties/desired/?$version="+text, m.Topic)
	assert.JSONEq(t, `{"seen":"`+round+`","$version":`+text+`}`, m.Payload)
	s.publish(t, "devices/"+id+"/messages/events/round="+round, "{}")
	sent := w.a.Messages()
	require.NotEmpty(t, sent)
	assert.Equal(t, map[string]string{"round": round}, sent[len(sent)-1].Properties)
}

// send puts the message of a round into a device's queue.
func (w *world) send(t *testing.T, id, round string) {
	t.Helper()
	require.NoError(t, w.a.SendC2D(id, hubtest.C2D{
		Body: []byte("message of " + round), MessageID: round,
	}))
}

func TestPahoFindsItsSubscriptionsAgainInAPersistentSession(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	paho := newPaho(t)
	for _, way := range []string{"key", "certificate", "key-over-WebSocket"} {
		t.Run(way, func(t *testing.T) {
			id := "persistent-" + way
			password := func() string { return "" }
			args := with{}
			if way != "certificate" {
				w.identity(t, id)
				password = func() string { return w.hubToken(t, hostA, id, key(id)) }
				args["password"] = password()
			} else {
				args["cert"], args["key"] = pemFiles(t, w.certified(t, id))
			}
			if way == "key-over-WebSocket" {
				args["webSocket"] = "/$iothub/websocket"
			}
			s, c := w.open(t, paho, id, id, args)
			require.Equal(t, connack{}, c)
			assert.Equal(t, []int{1, 1, 1, 1}, s.subscribe(t, 1, everyFilter(id)...))
			w.send(t, id, "first")
			s.works(t, w, id, "first")

			for how, round := range map[string]string{
				"disconnect": "after-a-disconnect", "drop": "after-a-loss",
			} {
				rc := s.end(t, how)
				assert.Equal(t, how == "disconnect", rc == 0, rc)
				require.Eventually(t, func() bool { return !w.a.Connected(id) }, patience, tick)
				w.send(t, id, round)
				_, err := w.a.PatchDesired(id, map[string]any{"while": round})
				require.NoError(t, err, "the device is not told of it later: it asks for its twin")
				_, _, err = w.a.Invoke(t.Context(), id, "reboot", nil, hubtest.InvokeOptions{})
				require.ErrorContains(t, err, "404103")
				require.Equal(t, connack{0, true}, s.reconnect(t, password()))
				s.works(t, w, id, round)
			}
			s.end(t, "disconnect")
		})
	}
}

// A token is renewed by a new connection, as MQTT has no other way: before it expires, or after the
// hub has ended the connection because it did.
func TestPahoRenewsItsTokenByConnectingAgain(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	paho := newPaho(t)
	const id = "renewing"
	w.identity(t, id)
	old := w.hubToken(t, hostA, id, key(id))
	s, c := w.open(t, paho, "one", id, with{"password": old})
	require.Equal(t, connack{}, c)
	s.subscribe(t, 1, everyFilter(id)...)

	w.network.SetClockOffset(40 * time.Minute) // the token is good for an hour
	s.end(t, "disconnect")
	w.send(t, id, "before")
	require.Equal(t, connack{0, true}, s.reconnect(t, w.hubToken(t, hostA, id, key(id))))
	s.works(t, w, id, "before")

	w.network.SetClockOffset(3 * time.Hour)
	assert.NotZero(t, s.end(t, "ended"), "the hub has ended the connection")
	require.Equal(t, 5, s.reconnect(t, old).RC)
	w.send(t, id, "after")
	require.Equal(t, connack{0, true}, s.reconnect(t, w.hubToken(t, hostA, id, key(id))))
	s.works(t, w, id, "after")

	// A second client of the device takes over the connection, and the session with it.
	second, c := w.open(
		t, paho, "two", id, with{"password": w.hubToken(t, hostA, id, key(id))},
	)
	require.Equal(t, connack{0, true}, c)
	assert.NotZero(t, s.end(t, "ended"))
	w.send(t, id, "taken-over")
	second.works(t, w, id, "taken-over")

	// A clean session leaves nothing to a later one.
	_, c = w.open(t, paho, "three", id, with{
		"password": w.hubToken(t, hostA, id, key(id)), "clean": true,
	})
	require.Equal(t, connack{}, c)
	second.end(t, "ended")
	require.False(t, second.reconnect(t, w.hubToken(t, hostA, id, key(id))).SessionPresent)
}

var (
	assigning = regexp.MustCompile(`^\$dps/registrations/res/202/\?\$rid=(\d+)&retry-after=(\d+)$`)
	done      = regexp.MustCompile(`^\$dps/registrations/res/200/\?\$rid=(\d+)$`)
)

func TestPahoRegistersAndConnectsToItsHub(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	paho := newPaho(t)
	for _, credential := range []string{"key", "certificate"} {
		t.Run(credential, func(t *testing.T) {
			id := "registering-" + credential
			resource := w.dps.IDScope() + "/registrations/" + id
			args, hubArgs, attestation := with{}, with{}, dpstest.Keys(key(id), "")
			if credential == "key" {
				args["password"] = w.token(t, key(id), resource, "registration")
			} else {
				own := simnet.NewCA("Somebody", w.network.Now()).Device(id)
				args["cert"], args["key"] = pemFiles(t, own)
				hubArgs["cert"], hubArgs["key"] = args["cert"], args["key"]
				attestation = dpstest.ClientCertificates(own.Leaf, nil)
			}
			require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
				RegistrationID: id, Attestation: attestation,
			}))
			args["host"] = w.dps.Endpoint()
			args["username"] = resource + "/api-version=2019-03-31"
			s, c := w.open(t, paho, id, id, args)
			require.Equal(t, connack{}, c)
			assert.Equal(
				t, []int{1}, s.subscribe(t, 2, "$dps/registrations/res/#"), "QoS 1 at most",
			)
			s.publish(
				t, "$dps/registrations/PUT/iotdps-register/?$rid=1",
				`{"registrationId":"`+id+`","payload":{"model":"T-800"}}`,
			)
			var r registered
			for rid := 1; ; rid++ {
				m := s.next(t)
				require.NoError(t, json.Unmarshal([]byte(m.Payload), &r), m.Payload)
				pending := assigning.FindStringSubmatch(m.Topic)
				if pending == nil {
					end := done.FindStringSubmatch(m.Topic)
					require.NotNil(t, end, m.Topic)
					assert.Equal(t, strconv.Itoa(rid), end[1])
					break
				}
				assert.Equal(t, "assigning", r.Status)
				assert.Equal(t, strconv.Itoa(rid), pending[1])
				seconds, err := strconv.Atoi(pending[2])
				require.NoError(t, err)
				time.Sleep(time.Duration(seconds) * time.Second)
				s.publish(
					t, "$dps/registrations/GET/iotdps-get-operationstatus/?$rid="+
						strconv.Itoa(rid+1)+"&operationId="+r.OperationID, "",
				)
			}
			assert.Equal(t, "assigned", r.Status)
			assert.Equal(t, "initialAssignment", r.RegistrationState.Substatus)
			s.end(t, "disconnect")
			again := s.reconnect(t, password(args))
			assert.Equal(t, connack{}, again, "DPS keeps no session")
			s.end(t, "disconnect")

			host, device := r.RegistrationState.AssignedHub, r.RegistrationState.DeviceID
			hubArgs["host"], hubArgs["username"] = host, userName(host, device)
			if credential == "key" {
				hubArgs["password"] = w.hubToken(t, host, device, key(id))
			}
			hub := map[string]*hubtest.Hub{hostA: w.a, hostB: w.b}[host]
			require.NotNil(t, hub, host)
			s, c = w.open(t, paho, device, device, hubArgs)
			require.Equal(t, connack{}, c)
			s.publish(t, "devices/"+device+"/messages/events/", "{}")
			assert.Equal(t, device, hub.Messages()[len(hub.Messages())-1].DeviceID)
			s.end(t, "disconnect")
		})
	}
}

// password is that of a client's arguments, "" with a certificate.
func password(args with) string {
	text, _ := args["password"].(string)
	return text
}
