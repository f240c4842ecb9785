// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// freePort returns a port that nobody has, most likely.
func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestClientsOfAMQPAreToldThatItIsNotSimulated(t *testing.T) {
	told := func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		raw, err := n.DialContext(t.Context(), "tcp", hubHost+":5671")
		require.NoError(t, err)
		cfg := n.TLSConfig()
		cfg.ServerName = hubHost
		nc := tls.Client(raw, cfg)
		_, err = io.WriteString(nc, "AMQP\x00\x01\x00\x00")
		require.NoError(t, err)
		heard := make([]byte, 200)
		got, err := io.ReadAtLeast(nc, heard, 120)
		require.NoError(t, err)
		assert.Contains(t, string(heard[:got]), "amqp:not-implemented")
		assert.Contains(t, string(heard[:got]), "AMQP is not simulated: connect by MQTT")
		require.NoError(t, nc.Close())
		a := last(t, h)
		assert.Equal(t, "amqp", a.Transport)
		assert.Contains(t, a.Reason, "AMQP is not simulated")
		assert.True(t, a.Answered)
		assert.False(t, a.Accepted())
		assert.Equal(t, 1, n.PortDials(hubHost, simnet.PortAMQP))

		d := websocket.Dialer{
			NetDialContext: n.DialContext, TLSClientConfig: cfg,
			Subprotocols: []string{"AMQPWSB10"},
		}
		_, response, err := d.Dial("wss://"+hubHost+"/$iothub/websocket", nil)
		require.Error(t, err)
		assert.Equal(t, http.StatusNotImplemented, response.StatusCode)
		body, _ := io.ReadAll(response.Body)
		assert.Contains(t, string(body), "AMQP is not simulated")
		a = last(t, h)
		assert.Equal(t, "amqp-ws", a.Transport)
		assert.Equal(t, 501, a.Status)
		assert.False(t, a.Accepted())

		// Storage has none of it.
		raw, err = n.DialContext(t.Context(), "tcp", h.BlobHost()+":5671")
		require.NoError(t, err)
		cfg = n.TLSConfig()
		cfg.ServerName = h.BlobHost()
		nc = tls.Client(raw, cfg)
		require.NoError(t, nc.Handshake())
		_, err = nc.Read(heard)
		assert.ErrorIs(t, err, io.EOF)
	}
	t.Run("memory", func(t *testing.T) { inMemory(t, told) })
	t.Run("sockets", func(t *testing.T) {
		n, err := simnet.Listen(simnet.ListenConfig{AMQPPort: freePort(t)})
		require.NoError(t, err)
		defer n.Close()
		told(t, n)
		_, err = simnet.Listen(simnet.ListenConfig{
			AMQPPort: raddr(t, n.AMQPAddr()).Port,
		})
		assert.ErrorContains(t, err, "listen for AMQP")
	})
}

func raddr(t *testing.T, address string) *net.TCPAddr {
	a, err := net.ResolveTCPAddr("tcp", address)
	require.NoError(t, err)
	return a
}

func TestWithoutAPortForItAMQPIsRefused(t *testing.T) {
	n, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	defer n.Close()
	NewHub(n, hubHost)
	assert.Empty(t, n.AMQPAddr())
	_, err = n.DialContext(t.Context(), "tcp", hubHost+":5671")
	assert.ErrorContains(t, err, "refused")
}
