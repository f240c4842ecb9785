// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

const (
	hubA   = "hub-a.azure-devices.net"
	hubB   = "hub-b.azure-devices.net"
	key    = "Y2FuYXJ5LWtleS1vZi1hLWtpdGNoZW4tMDAwMDAwMDE="
	little = `"limits":{"retryAfter":1}`
)

// trust returns a TLS configuration with the simulator's CA.
func (p *program) trust(t testing.TB) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(p.CA)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// dial leads the well-known ports to those of the simulator, as a hosts entry would.
func (p *program) dial(ctx context.Context, network, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	to := p.HTTPS
	if port == "8883" {
		to = p.MQTT
	}
	return new(net.Dialer).DialContext(ctx, network, to)
}

func (p *program) client(t *testing.T, id string) *dps.Client {
	t.Helper()
	return &dps.Client{
		IDScope: p.IDScope, Attestation: dps.SymmetricKey{ID: id, Key: key}, TLSConfig: p.trust(t),
		DialContext: p.dial,
	}
}

func (p *program) register(t *testing.T, id string) dps.Assignment {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	a, err := p.client(t, id).Register(ctx, dps.Registration{})
	require.NoError(t, err, p.stderr)
	return a
}

func (p *program) connect(t *testing.T, a dps.Assignment, id string) *hubconn.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	d := &hubconn.Dialer{TLSConfig: p.trust(t), DialContext: p.dial}
	c, err := d.Dial(ctx, a.Target(), dps.SymmetricKey{ID: id, Key: key})
	require.NoError(t, err, p.stderr)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestDevicesRegisterAndConnectAsTheConfigurationSays(t *testing.T) {
	t.Parallel()
	p := start(t, "-config", write(t, "simulator.json", `{
		"idScope": "0ne0000cafe",
		"hubs": [{"hostName":"`+hubA+`","allocationWeight":1}, {"hostName":"`+hubB+`","allocationWeight":1000}],
		"allocationPolicy": "geoLatency",
		"enrollments": [
			{"registrationId":"kitchen","attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"`+key+`"}},"iotHubs":["`+hubA+`"],"allocationPolicy":"static"},
			{"registrationId":"near","attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"`+key+`"}}},
			{"registrationId":"far","attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"`+key+`"}},"provisioningStatus":"enabled","etag":"x"}],
		"latency": {"*":{"`+hubA+`":100,"`+hubB+`":200.5}, "far":{"`+hubB+`":1}},
		`+little+`}`))
	defer p.stop(t)
	assert.Equal(t, "0ne0000cafe", p.IDScope)
	for id, hub := range map[string]string{"kitchen": hubA, "near": hubA, "far": hubB} {
		a := p.register(t, id)
		assert.Equal(t, hub, a.Hub, id)
		c := p.connect(t, a, id)
		assert.NoError(t, c.Send(t.Context(), hubconn.Message{Body: []byte("{}")}))
	}
}

func TestAHubOfTheFileMaySpeakMQTT5Alone(t *testing.T) {
	t.Parallel()
	p := start(t, "-config", write(t, "simulator.json", `{
		"hubs": [{"hostName":"`+hubA+`","connectionProfile":"mqttV5"}],
		"enrollments": [{"registrationId":"dev","attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"`+key+`"}}}],
		`+little+`}`))
	defer p.stop(t)
	a := p.register(t, "dev")
	d := &hubconn.Dialer{TLSConfig: p.trust(t), DialContext: p.dial}
	_, err := d.Dial(t.Context(), a.Target(), dps.SymmetricKey{ID: "dev", Key: key})
	assert.Equal(t, hubconn.Incompatible, hubconn.ClassOf(err), "%v", err)
}

func TestLocalhostAndAddressesMeanDPS(t *testing.T) {
	t.Parallel()
	p := start(t)
	defer p.stop(t)
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: p.trust(t), DialContext: p.dial},
	}
	defer client.CloseIdleConnections()
	for _, host := range []string{"localhost", "127.0.0.1", p.DPS} {
		response, err := client.Get("https://" + host + "/nothing")
		require.NoError(t, err, host)
		_ = response.Body.Close()
		assert.Equal(t, 404, response.StatusCode)
		assert.NotEmpty(t, response.Header.Get("Date"), host)
	}
}

func TestLimitsOfTheFileAreKept(t *testing.T) {
	t.Parallel()
	p := start(t, "-config", write(t, "simulator.json", `{
		"enrollments": [{"registrationId":"kitchen","attestation":{"symmetricKey":{"primaryKey":"`+key+`"}}}],
		"limits": {"registrationsPerMinute":1,"retryAfter":1,"throttleRetryAfter":7}}`))
	defer p.stop(t)
	p.register(t, "kitchen")
	_, err := p.client(t, "kitchen").Register(t.Context(), dps.Registration{})
	var refused *dps.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, 429001, refused.Code)
	assert.Equal(t, 7*time.Second, refused.RetryAfter())
}

func TestScenarioMovesADeviceAndBreaksTheNetworkOnTime(t *testing.T) {
	t.Parallel()
	p := start(t, "-config", write(t, "simulator.json", `{
		"enrollments": [{"registrationId":"kitchen","attestation":{"symmetricKey":{"primaryKey":"`+key+`"}},"iotHubs":["`+hubA+`","`+hubB+`"]}],
		`+little+`}`), "-faults", write(t, "faults.json", `{"steps":[
		{"at":"0s","move":{"registrationId":"kitchen","hub":"`+hubA+`"}},
		{"at":"0s","dps":{"on":"register","status":503,"retryAfter":"2"}},
		{"at":"3s","moveNow":{"registrationId":"kitchen","hub":"`+hubB+`"}},
		{"at":"3s","network":{"host":"`+hubA+`","certificate":"expired"},"for":"100ms"}]}`))
	defer p.stop(t)
	_, err := p.client(t, "kitchen").Register(t.Context(), dps.Registration{})
	require.ErrorContains(t, err, "status 503")
	a := p.register(t, "kitchen")
	require.Equal(t, hubA, a.Hub)
	c := p.connect(t, a, "kitchen")
	select {
	case <-c.Context().Done(): // cut by the move
	case <-time.After(limit):
		t.Fatal("the device has not been moved")
	}
	assert.Equal(t, hubB, p.register(t, "kitchen").Hub)
	require.Eventually(t, func() bool {
		return len(p.scenario()) == 5
	}, limit, 20*time.Millisecond, "%s", p.stderr)
}

// scenario returns the log's lines about the scenario.
func (p *program) scenario() []string {
	var lines []string
	for line := range strings.Lines(p.stderr.String()) {
		if strings.Contains(line, "msg=scenario") {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestLogTellsWhoAsksAndWhoConnects(t *testing.T) {
	t.Parallel()
	p := start(t, "-config", write(t, "simulator.json", `{
		"enrollments": [{"registrationId":"kitchen","attestation":{"symmetricKey":{"primaryKey":"`+key+`"}}}],`+little+`}`))
	defer p.stop(t)
	p.connect(t, p.register(t, "kitchen"), "kitchen")
	_, err := p.client(t, "cellar").Register(t.Context(), dps.Registration{})
	require.Error(t, err)
	p.service(t, "", "GET", "/registrations/kitchen", "")
	hub := p.lookup(t, "kitchen").Hub
	p.service(t, hub, "PATCH", "/twins/kitchen", `{"tags":{"floor":1}}`)
	for _, line := range []string{
		`msg="dps register" transport=https registrationId=kitchen status=202`,
		`msg="dps poll" transport=https registrationId=kitchen status=200`,
		`msg="dps register" transport=https registrationId=cellar status=401`,
		`msg="device connected" hub=`,
		`msg="dps service" method=GET path=/registrations/kitchen status=200`,
		`msg="hub service" hub=` + hub + ` method=PATCH path=/twins/kitchen status=200`,
	} {
		require.Eventually(t, func() bool {
			return strings.Count(p.stderr.String(), line) == 1
		}, limit, 20*time.Millisecond, "%s\n%s", line, p.stderr)
	}
	assert.NotContains(t, p.stderr.String(), "SharedAccessSignature")
}

func TestSIGTERMEndsItWithDevicesConnected(t *testing.T) {
	t.Parallel()
	p := start(t, "-config", write(t, "simulator.json", `{
		"enrollments": [{"registrationId":"kitchen","attestation":{"symmetricKey":{"primaryKey":"`+key+`"}}}],`+little+`}`))
	c := p.connect(t, p.register(t, "kitchen"), "kitchen")
	half, err := net.Dial("tcp", p.HTTPS) // a handshake that never comes
	require.NoError(t, err)
	defer half.Close()
	begun := time.Now()
	p.stop(t)
	assert.Less(t, time.Since(begun), 20*time.Second) // a handshake may take 30 s
	<-c.Context().Done()
}

func TestExampleFilesOfTheReadmeAreTaken(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.json")
	require.NoError(t, err)
	require.Len(t, files, 2)
	p := start(t, "-config", "simulator.json", "-faults", "faults.json")
	p.stop(t)
}
