// SPDX-License-Identifier: Apache-2.0

package simdial_test

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simdial"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

const key = "Y2FuYXJ5LWtleS1vZi1hLXNlbnNvci0wMDAwMDAwMDE="

// ready starts a network on sockets and returns its ready line.
func ready(t *testing.T) (network *simnet.Network, line map[string]string) {
	t.Helper()
	network, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, network.Close()) })
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, network.CA().PEM(), 0o600))
	return network, map[string]string{
		"https": network.HTTPSAddr(), "mqtt": network.MQTTAddr(), "ca": ca,
		"feedKey": "canary-feed",
	}
}

func encode(t *testing.T, line map[string]string) string {
	t.Helper()
	text, err := json.Marshal(line)
	require.NoError(t, err)
	return string(text)
}

func TestWithoutTheVariableNothingChanges(t *testing.T) {
	for _, value := range []string{"", " \n"} {
		t.Setenv(simdial.Variable, value)
		s, err := simdial.FromEnv()
		require.NoError(t, err)
		assert.Nil(t, s.DialContext)
		assert.Nil(t, s.TLSConfig)
	}
}

func TestTheVariableLeadsBothPortsToTheSimulator(t *testing.T) {
	network, line := ready(t)
	hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
	require.NoError(t, hub.Put(hubtest.Device{ID: "sensor-042", PrimaryKey: key}))
	file := filepath.Join(t.TempDir(), "ready.json")
	require.NoError(t, os.WriteFile(file, []byte(encode(t, line)+"\nmore\n"), 0o600))
	for name, value := range map[string]string{
		"the line": encode(t, line), "a file with it": file, "and spaces": " " + file + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(simdial.Variable, value)
			sim, err := simdial.FromEnv()
			require.NoError(t, err)
			for _, transport := range []hubconn.Transport{hubconn.MQTT, hubconn.MQTTWebSocket} {
				d := hubconn.Dialer{
					DialContext: sim.DialContext, TLSConfig: sim.TLSConfig, Transport: transport,
				}
				c, err := d.Dial(
					t.Context(), hubconn.Hub{Host: hub.Host(), DeviceID: "sensor-042"},
					dps.SymmetricKey{ID: "sensor-042", Key: key},
				)
				require.NoError(t, err, transport)
				require.NoError(t, c.Send(t.Context(), hubconn.Message{Body: []byte("hello")}))
				require.NoError(t, c.Close())
			}
		})
	}
	assert.Len(t, hub.Messages(), 6)
}

func TestOtherPortsAreLeftAlone(t *testing.T) {
	_, line := ready(t)
	sim, err := simdial.Parse([]byte(encode(t, line)))
	require.NoError(t, err)
	elsewhere, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer elsewhere.Close()
	c, err := sim.DialContext(t.Context(), "tcp", elsewhere.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	assert.Equal(t, elsewhere.Addr().String(), c.RemoteAddr().String())
}

func TestAListenerOnEveryAddressIsReachedOnThisMachine(t *testing.T) {
	network, line := ready(t)
	_, port, err := net.SplitHostPort(network.HTTPSAddr())
	require.NoError(t, err)
	for _, host := range []string{"0.0.0.0", "::", ""} {
		line["https"] = net.JoinHostPort(host, port)
		sim, err := simdial.Parse([]byte(encode(t, line)))
		require.NoError(t, err)
		c, err := sim.DialContext(t.Context(), "tcp", "hub-a.azure-devices.net:443")
		require.NoError(t, err, host)
		_ = c.Close()
	}
}

func TestNoOtherAuthorityIsTrusted(t *testing.T) {
	network, _ := ready(t)
	hubtest.NewHub(network, "hub-a.azure-devices.net")
	_, other := ready(t)
	other["https"] = network.HTTPSAddr()
	sim, err := simdial.Parse([]byte(encode(t, other)))
	require.NoError(t, err)
	c, err := sim.DialContext(t.Context(), "tcp", "hub-a.azure-devices.net:443")
	require.NoError(t, err)
	defer c.Close()
	cfg := sim.TLSConfig.Clone()
	cfg.ServerName = "hub-a.azure-devices.net"
	assert.ErrorContains(t, tls.Client(c, cfg).HandshakeContext(t.Context()), "unknown authority")
}

func TestAWrongVariableIsOneClearLine(t *testing.T) {
	_, line := ready(t)
	with := func(member, value string) string {
		changed := map[string]string{}
		for k, v := range line {
			changed[k] = v
		}
		changed[member] = value
		return encode(t, changed)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for name, c := range map[string]struct {
		value string
		says  []string
	}{
		"no such file":    {"/nowhere/ready.json", []string{"/nowhere/ready.json", "name a file"}},
		"an address":      {"localhost:8443", []string{"localhost:8443", "name a file"}},
		"an empty file":   {empty, []string{"ready line", "copy what the simulator prints"}},
		"half a line":     {`{"https":"canary-feed`, []string{"ready line", "copy what"}},
		"no address":      {with("https", ""), []string{`"https"`, "host:port"}},
		"no port":         {with("mqtt", "localhost"), []string{`"mqtt"`, "host:port"}},
		"no authority":    {with("ca", "/nowhere/ca.pem"), []string{"/nowhere/ca.pem", "start the simulator"}},
		"empty authority": {with("ca", empty), []string{empty, "pem"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(simdial.Variable, c.value)
			_, err := simdial.FromEnv()
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "\n")
			assert.NotContains(t, err.Error(), "canary-feed", "a key of the ready line")
			for _, says := range append(c.says, "simdial: REHOME_SIMULATOR: ", "unset it") {
				assert.Contains(t, err.Error(), says)
			}
			assert.LessOrEqual(t, strings.Count(err.Error(), "unset"), 1)
		})
	}
}
