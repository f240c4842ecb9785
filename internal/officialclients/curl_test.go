// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/textproto"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// curl is a device that has curl alone. Its commands are those of Azure docs, "How to use symmetric
// keys over HTTPS without an SDK" and "How to use X.509 certificates over HTTPS without an SDK"
// (DPS); what they do not show is in the reference of the REST API: "Device Registration Status
// Lookup", "Receive Device Bound Notification" and its neighbours.
type curl struct {
	w  *world
	ca string
}

func newCurl(t *testing.T, w *world) curl {
	t.Helper()
	needProgram(t, "curl", "curl")
	return curl{w, file(t, "ca.pem", w.network.CA().PEM())}
}

// answer is the last response that curl has printed.
type answer struct {
	status int
	header http.Header
	body   string
}

// do runs curl as the documentation does: with the headers of the response in its output.
func (c curl) do(t *testing.T, method, address string, args ...string) answer {
	t.Helper()
	args = append([]string{
		"-sS", "--max-time", strconv.Itoa(int(patience / time.Second)), "--cacert", c.ca,
		"-L", "-i", "-X", method,
		"-H", "Content-Type: application/json", "-H", "Content-Encoding:  utf-8",
	}, args...)
	command := exec.Command("curl", append(args, address)...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	require.NoError(t, err, "%s", &stderr)
	lines := textproto.NewReader(bufio.NewReader(bytes.NewReader(out)))
	status, err := lines.ReadLine()
	require.NoError(t, err)
	header, err := lines.ReadMIMEHeader()
	require.NoError(t, err)
	body, err := io.ReadAll(lines.R)
	require.NoError(t, err)
	fields := strings.Fields(status) // HTTP/1.1 202 Accepted
	require.GreaterOrEqual(t, len(fields), 2, status)
	code, err := strconv.Atoi(fields[1])
	require.NoError(t, err, status)
	return answer{code, http.Header(header), string(body)}
}

// registered is what DPS answers, as far as curl's user reads it.
type registered struct {
	OperationID       string `json:"operationId"`
	Status            string `json:"status"`
	RegistrationState state  `json:"registrationState"`
}

func (a answer) decode(t *testing.T, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.body), into), a.body)
}

// register registers, polls as often as it is told to, and looks the registration up at the end.
func (c curl) register(t *testing.T, id string, credential ...string) state {
	t.Helper()
	base := "https://" + c.w.dps.Endpoint() + "/" + c.w.dps.IDScope() + "/registrations/" + id
	const version = "?api-version=2021-06-01"
	body := append([]string{"-d", `{"registrationId": "` + id + `"}`}, credential...)
	a := c.do(t, "PUT", base+"/register"+version, body...)
	require.Equal(t, 202, a.status, a.body)
	assert.Equal(t, "application/json; charset=utf-8", a.header.Get("Content-Type"))
	assert.Equal(t, base+"/register", a.header.Get("Location"))
	assert.NotEmpty(t, a.header.Get("x-ms-request-id"))
	assert.Equal(
		t, "max-age=31536000; includeSubDomains", a.header.Get("Strict-Transport-Security"),
	)
	var r registered
	for a.decode(t, &r); r.Status == "assigning"; a.decode(t, &r) {
		require.NotEmpty(t, r.OperationID)
		seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
		require.NoError(t, err)
		time.Sleep(time.Duration(seconds) * time.Second)
		a = c.do(t, "GET", base+"/operations/"+r.OperationID+version, credential...)
		require.Contains(t, []int{200, 202}, a.status, a.body)
	}
	assert.Equal(t, 200, a.status)
	assert.Equal(t, "assigned", r.Status, a.body)
	assert.Equal(t, "assigned", r.RegistrationState.Status)
	assert.Equal(t, "initialAssignment", r.RegistrationState.Substatus)

	var found state
	a = c.do(t, "POST", base+version, body...)
	require.Equal(t, 200, a.status, a.body)
	a.decode(t, &found)
	assert.Equal(t, r.RegistrationState, found)
	return found
}

// talk sends telemetry to a hub, and takes messages from it: one is completed, one given back and
// then rejected.
func (c curl) talk(t *testing.T, host, id string, credential ...string) {
	t.Helper()
	hub := map[string]*hubtest.Hub{hostA: c.w.a, hostB: c.w.b}[host]
	require.NotNil(t, hub, host)
	base := "https://" + host + "/devices/" + id + "/messages"
	const version = "?api-version=2020-03-13"
	a := c.do(t, "POST", base+"/events"+version, append([]string{
		"-d", `{"temperature": 30}`, "-H", "iothub-app-alert: hot & humid",
		"-H", "IoTHub-MessageId: m-1",
	}, credential...)...)
	require.Equal(t, 204, a.status, a.body)
	messages := hub.Messages()
	require.NotEmpty(t, messages)
	m := messages[len(messages)-1]
	assert.Equal(t, []string{id, "https"}, []string{m.DeviceID, m.Transport})
	assert.JSONEq(t, `{"temperature": 30}`, string(m.Body))
	assert.Equal(t, map[string]string{"alert": "hot & humid"}, m.Properties)
	assert.Equal(t, "m-1", m.System["$.mid"])

	receive := func() (answer, string) {
		a := c.do(t, "GET", base+"/devicebound"+version, credential...)
		return a, strings.Trim(a.header.Get("ETag"), `"`)
	}
	a, _ = receive()
	assert.Equal(t, 204, a.status, "the queue is empty")
	for _, body := range []string{"first", "second"} {
		require.NoError(t, hub.SendC2D(id, hubtest.C2D{
			Body: []byte(body), MessageID: body, Properties: map[string]string{"room": "hall"},
		}))
	}
	a, lock := receive()
	require.Equal(t, 200, a.status)
	assert.Equal(t, "first", a.body)
	assert.Equal(t, "first", a.header.Get("iothub-messageid"))
	assert.Equal(t, "hall", a.header.Get("iothub-app-room"))
	a = c.do(t, "DELETE", base+"/devicebound/"+lock+version, credential...)
	assert.Equal(t, 204, a.status, a.body)
	_, lock = receive()
	a = c.do(t, "POST", base+"/devicebound/"+lock+"/abandon"+version, append(
		[]string{"-d", ""}, credential...,
	)...)
	assert.Equal(t, 204, a.status, a.body)
	a, lock = receive()
	assert.Equal(t, "second", a.body)
	assert.Equal(t, "1", a.header.Get("iothub-deliverycount"))
	a = c.do(t, "DELETE", base+"/devicebound/"+lock+version+"&reject", credential...)
	assert.Equal(t, 204, a.status, a.body)
	var outcomes []hubtest.Outcome
	for _, s := range hub.SettledC2D() {
		if s.DeviceID == id {
			outcomes = append(outcomes, s.Outcome)
		}
	}
	assert.Equal(t, []hubtest.Outcome{hubtest.OutcomeSuccess, hubtest.OutcomeRejected}, outcomes)
}

func TestCurlRegistersAndTalksToItsHubWithAKey(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	c := newCurl(t, w)
	require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "individual", Attestation: dpstest.Keys(key("individual"), ""),
	}))
	require.NoError(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "keys", Attestation: dpstest.Keys(key("group"), ""),
	}))
	derived, err := dps.DeriveDeviceKey(key("group"), "of-a-group")
	require.NoError(t, err)
	for id, key := range map[string]string{"individual": key("individual"), "of-a-group": derived} {
		t.Run(id, func(t *testing.T) {
			s := c.register(t, id, "-H", "Authorization: "+w.token(
				t, key, w.dps.IDScope()+"/registrations/"+id, "registration",
			))
			assert.Equal(t, id, s.DeviceID)
			c.talk(
				t, s.AssignedHub, s.DeviceID, "-H",
				"Authorization: "+w.hubToken(t, s.AssignedHub, s.DeviceID, key),
			)
		})
	}
}

func TestCurlRegistersAndTalksToItsHubWithACertificate(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	c := newCurl(t, w)
	own := simnet.NewCA("Somebody", w.network.Now()).Device("my-x509-device")
	require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "my-x509-device", Attestation: dpstest.ClientCertificates(own.Leaf, nil),
	}))
	root := simnet.NewCA("Factory", w.network.Now())
	require.NoError(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "certificates",
		Attestation:       dpstest.SigningCertificates(root.Certificate(), nil),
	}))
	chain := root.Intermediate("Factory line 1").Device("device-01")
	for id, credential := range map[string]func(*testing.T) (cert, key string){
		"my-x509-device": func(t *testing.T) (string, string) { return pemFiles(t, own) },
		"device-01":      func(t *testing.T) (string, string) { return pemFiles(t, chain) },
	} {
		t.Run(id, func(t *testing.T) {
			cert, key := credential(t)
			s := c.register(t, id, "--cert", cert, "--key", key)
			c.talk(t, s.AssignedHub, s.DeviceID, "--cert", cert, "--key", key)
		})
	}
}

func TestCurlWithoutTheDevicesCredentialIsRefused(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	c := newCurl(t, w)
	require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "sensor-1", Attestation: dpstest.Keys(key("sensor-1"), ""),
	}))
	w.identity(t, "sensor-1")
	for address, token := range map[string]string{
		"https://" + w.dps.Endpoint() + "/" + w.dps.IDScope() +
			"/registrations/sensor-1/register?api-version=2021-06-01": w.token(
			t, key("another"), w.dps.IDScope()+"/registrations/sensor-1", "registration",
		),
		"https://" + hostA + "/devices/sensor-1/messages/events?api-version=2020-03-13": w.hubToken(
			t, hostA, "sensor-1", key("another"),
		),
	} {
		method := map[bool]string{true: "PUT", false: "POST"}[strings.Contains(address, "register")]
		for _, authorization := range []string{"Authorization: " + token, "X-Nothing: x"} {
			a := c.do(
				t, method, address, "-d", `{"registrationId": "sensor-1"}`, "-H", authorization,
			)
			assert.Equal(t, 401, a.status, "%s: %s", address, a.body)
		}
	}
	assert.Empty(t, w.a.Messages())
	_, registered := w.dps.Registration("sensor-1")
	assert.False(t, registered)
}
