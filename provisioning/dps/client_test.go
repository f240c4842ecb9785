// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

const (
	clientID  = "sensor-042"
	clientHub = "hub-a.azure-devices.net"
)

// clientTransports are the transports by the name the simulator logs them under.
var clientTransports = []dps.Transport{dps.HTTPS, dps.MQTT, dps.MQTTWebSocket}

// clientNoProxy keeps a test independent of its environment.
func clientNoProxy(*http.Request) (*url.URL, error) { return nil, nil }

// clientWorld is a service with one enrolled device.
type clientWorld struct {
	*testing.T
	network *simnet.Network
	dps     *dpstest.Server
	hub     *hubtest.Hub
	client  *dps.Client
	start   time.Time
}

// newClientWorld must be called inside the bubble.
func newClientWorld(t *testing.T, transport dps.Transport, config dpstest.Config) *clientWorld {
	t.Helper()
	w := &clientWorld{T: t, network: simnet.New(), start: time.Now()}
	t.Cleanup(func() { assert.NoError(t, w.network.Close()) })
	if config.AssignTime == 0 {
		// A registration takes two polls.
		config.AssignTime = 2 * max(cmp.Or(config.RetryAfter, 3*time.Second), 3*time.Second)
	}
	w.dps = dpstest.New(w.network, config)
	w.hub = hubtest.NewHub(w.network, clientHub)
	w.dps.Link(w.hub)
	key := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	require.NoError(t, w.dps.Enroll(
		dpstest.IndividualEnrollment{RegistrationID: clientID, Attestation: dpstest.Keys(key, "")},
	))
	w.client = &dps.Client{
		IDScope:     w.dps.IDScope(),
		Attestation: dps.SymmetricKey{ID: clientID, Key: key},
		Transport:   transport,
		TLSConfig:   w.network.TLSConfig(),
		DialContext: w.network.DialContext,
		Proxy:       clientNoProxy,
	}
	return w
}

// clientBubble runs a test in a bubble.
func clientBubble(
	t *testing.T, transport dps.Transport, config dpstest.Config, test func(w *clientWorld),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newClientWorld(t, transport, config)) })
}

// clientEach runs a test in a bubble for each transport.
func clientEach(t *testing.T, config dpstest.Config, test func(w *clientWorld)) {
	t.Helper()
	for _, transport := range clientTransports {
		t.Run(transport.String(), func(t *testing.T) { clientBubble(t, transport, config, test) })
	}
}

// elapsed is virtual time since the start.
func (w *clientWorld) elapsed() time.Duration { return time.Since(w.start) }

// requests are the operations logged since the start, MQTT's connects left out.
func (w *clientWorld) requests() []dpstest.Op {
	ops := []dpstest.Op{}
	for _, r := range w.dps.Requests() {
		if r.Op != dpstest.Connect {
			ops = append(ops, r.Op)
		}
	}
	return ops
}

// register expects success.
func (w *clientWorld) register(r dps.Registration) dps.Assignment {
	w.Helper()
	assignment, err := w.client.Register(w.Context(), r)
	require.NoError(w, err)
	return assignment
}

// refused expects a failed registration.
func (w *clientWorld) refused(r dps.Registration) *dps.Error {
	w.Helper()
	assignment, err := w.client.Register(w.Context(), r)
	return w.failed(assignment, err)
}

// failed checks what holds for every failure.
func (w *clientWorld) failed(assignment dps.Assignment, err error) *dps.Error {
	w.Helper()
	require.Error(w, err)
	assert.Zero(w, assignment, "never a partial assignment")
	failure, ok := errors.AsType[*dps.Error](err)
	require.True(w, ok, "%T", err)
	assert.NotContains(w, err.Error(), "\n")
	assert.NotContains(w, err.Error(), "sig=")
	assert.Equal(w, dpstest.GlobalEndpoint, failure.Endpoint)
	return failure
}

func TestClientRefusesWrongSettingsBeforeAnyUseOfTheNetwork(t *testing.T) {
	key := dps.SymmetricKey{ID: clientID, Key: clientCanary}
	for want, client := range map[string]*dps.Client{
		"id scope is empty":      {Attestation: key},
		`id scope "0ne/1"`:       {IDScope: "0ne/1", Attestation: key},
		`id scope "0ne 1"`:       {IDScope: "0ne 1", Attestation: key},
		`id scope "0ne1ł"`:       {IDScope: "0ne1ł", Attestation: key},
		"attestation is missing": {IDScope: "0ne1"},
		"id is empty":            {IDScope: "0ne1", Attestation: dps.SymmetricKey{Key: clientCanary}},
		"transport 7":            {IDScope: "0ne1", Attestation: key, Transport: 7},
		`endpoint "https://`:     {IDScope: "0ne1", Attestation: key, Endpoint: "https://dps.example.net"},
		`endpoint "dps/x"`:       {IDScope: "0ne1", Attestation: key, Endpoint: "dps/x"},
		`endpoint "dps:0"`:       {IDScope: "0ne1", Attestation: key, Endpoint: "dps:0"},
		`endpoint "dps:"`:        {IDScope: "0ne1", Attestation: key, Endpoint: "dps:"},
		`endpoint "dps:99999"`:   {IDScope: "0ne1", Attestation: key, Endpoint: "dps:99999"},
		"api version":            {IDScope: "0ne1", Attestation: key, APIVersion: "2021&x"},
		"user agent":             {IDScope: "0ne1", Attestation: key, UserAgent: "a\r\nb"},
		"negative":               {IDScope: "0ne1", Attestation: key, RequestTimeout: -1},
	} {
		client.DialContext = nil // the network of a test that dials would be the real one
		err := client.Validate()
		require.ErrorContains(t, err, want)
		assert.Equal(t, retry.Stop, retry.Classify(err))
		assert.NotContains(t, err.Error(), "\n")
		assert.NotContains(t, err.Error(), clientCanary)

		_, registered := client.Register(t.Context(), dps.Registration{})
		assert.Equal(t, err, registered)
		_, looked := client.Lookup(t.Context())
		assert.Equal(t, err, looked)
		_, told := client.Time(t.Context())
		assert.Equal(t, err, told)
	}
	for _, endpoint := range []string{
		"", "dps.example.net", "dps.example.net:8443", "localhost:1", "127.0.0.1:4430", "[::1]:443",
	} {
		assert.NoError(t, (&dps.Client{
			IDScope: "0ne00000001", Attestation: key, Endpoint: endpoint,
		}).Validate(), endpoint)
	}
	insecure := &dps.Client{
		IDScope: "0ne1", Attestation: key, TLSConfig: &tls.Config{InsecureSkipVerify: true},
	} //nolint:gosec // it is refused
	require.ErrorContains(t, insecure.Validate(), "insecure")
}

func TestClientEndpointPortCountsForItsTransport(t *testing.T) {
	errDial := errors.New("dialled")
	for _, in := range []struct {
		transport dps.Transport
		endpoint  string
		register  string
		lookup    string
	}{
		{dps.HTTPS, "", "global.azure-devices-provisioning.net:443", "global.azure-devices-provisioning.net:443"},
		{dps.MQTT, "", "global.azure-devices-provisioning.net:8883", "global.azure-devices-provisioning.net:443"},
		{dps.MQTTWebSocket, "", "global.azure-devices-provisioning.net:443", "global.azure-devices-provisioning.net:443"},
		{dps.HTTPS, "dps.example.net:9", "dps.example.net:9", "dps.example.net:9"},
		{dps.MQTT, "dps.example.net:9", "dps.example.net:9", "dps.example.net:443"},
		{dps.MQTTWebSocket, "dps.example.net:9", "dps.example.net:9", "dps.example.net:9"},
	} {
		var dialled string
		client := &dps.Client{
			IDScope: "0ne00000001", Attestation: dps.SymmetricKey{ID: clientID, Key: clientCanary},
			Endpoint: in.endpoint, Transport: in.transport, Proxy: clientNoProxy,
			DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
				dialled = address
				return nil, errDial
			},
		}
		_, err := client.Register(t.Context(), dps.Registration{})
		require.ErrorIs(t, err, errDial)
		assert.Equal(t, retry.Wait, retry.Classify(err))
		assert.Equal(t, in.register, dialled)
		_, err = client.Lookup(t.Context())
		require.ErrorIs(t, err, errDial)
		assert.Equal(t, in.lookup, dialled)
		_, err = client.Time(t.Context())
		require.ErrorIs(t, err, errDial)
		assert.Equal(t, in.lookup, dialled)
	}
}

func TestClientWorksOverSocketsWithDefaults(t *testing.T) {
	for _, transport := range clientTransports {
		t.Run(transport.String(), func(t *testing.T) {
			t.Parallel()
			network, err := simnet.Listen(simnet.ListenConfig{})
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, network.Close()) })
			service := dpstest.New(network, dpstest.Config{RetryAfter: time.Second})
			service.Link(hubtest.NewHub(network, clientHub))
			require.NoError(t, service.Enroll(dpstest.IndividualEnrollment{
				RegistrationID: clientID, Attestation: dpstest.Keys(clientCanary, ""),
			}))
			client := &dps.Client{
				IDScope:     service.IDScope(),
				Attestation: dps.SymmetricKey{ID: clientID, Key: clientCanary},
				Endpoint:    network.HTTPSAddr(), Transport: transport,
				TLSConfig: network.TLSConfig(),
			}
			if transport == dps.MQTT {
				client.Endpoint = network.MQTTAddr()
			}
			assignment, err := client.Register(t.Context(), dps.Registration{})
			require.NoError(t, err)
			assert.Equal(t, clientHub, assignment.Hub)
			assert.Equal(t, clientID, assignment.DeviceID)
		})
	}
}
