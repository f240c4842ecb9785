// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// handshakeAt connects to a port of a host and completes the TLS handshake.
func handshakeAt(n *Network, host string, port Port) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	nc, err := n.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer nc.Close()
	config := n.TLSConfig()
	config.ServerName = host
	return tls.Client(nc, config).HandshakeContext(ctx)
}

func TestOnePortOfAHostIsClosedAlone(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		for port, other := range map[Port]Port{PortHTTPS: PortMQTT, PortMQTT: PortHTTPS} {
			for f, want := range map[Fault]error{
				Refused: syscall.ECONNREFUSED, ResetOnAccept: syscall.ECONNRESET,
				NameNotFound: syscall.ECONNREFUSED, NameFailure: syscall.ECONNREFUSED,
			} {
				n.SetPortFault("a.example", port, f)
				assert.ErrorIs(t, handshakeAt(n, "a.example", port), want, "%v %v", port, f)
				assert.NoError(t, handshakeAt(n, "a.example", other), "%v %v", other, f)
			}
			n.SetFault("a.example", Refused)
			n.SetPortFault("a.example", port, None)
			assert.ErrorIs(
				t, handshakeAt(n, "a.example", port), syscall.ECONNREFUSED, "the host's goes first",
			)
			n.SetFault("a.example", None)
			assert.NoError(t, handshakeAt(n, "a.example", port))
		}
		n.SetPortFault("a.example", 22, Blackhole)
		assert.NoError(t, handshakeAt(n, "a.example", PortMQTT))
		assert.Equal(t, 11, n.PortDials("a.example", PortMQTT))
		assert.Equal(t, 10, n.PortDials("a.example", PortHTTPS))
		assert.Equal(t, 21, n.Dials("a.example"))
		assert.Zero(t, n.PortDials("a.example", 22))
	})
}

func TestABlackholeOfOnePortIsLifted(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		n.SetPortFault("a.example", PortMQTT, Blackhole)
		assert.NoError(t, handshakeAt(n, "a.example", PortHTTPS))
		time.AfterFunc(100*time.Millisecond, func() { n.SetPortFault("a.example", PortMQTT, None) })
		assert.NoError(t, handshakeAt(n, "a.example", PortMQTT))
	})
}

func TestOnePortShowsAnotherCertificate(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		n.SetPortCertificate("a.example", PortHTTPS, UnknownCA)
		n.SetPortCertificate("a.example", 22, UnknownCA)
		var failed *tls.CertificateVerificationError
		require.ErrorAs(t, handshakeAt(n, "a.example", PortHTTPS), &failed)
		require.NoError(t, handshakeAt(n, "a.example", PortMQTT))
		n.SetCertificate("a.example", WrongName)
		require.ErrorAs(t, handshakeAt(n, "a.example", PortMQTT), &failed)
		n.SetCertificate("a.example", Valid)
		n.SetPortCertificate("a.example", PortHTTPS, Valid)
		require.NoError(t, handshakeAt(n, "a.example", PortHTTPS))
	})
}

func TestPortFaultsAreMetByAnotherProcess(t *testing.T) {
	n, err := Listen(ListenConfig{})
	require.NoError(t, err)
	defer n.Close()
	n.Handle("a.example", echo("a"))
	n.SetPortFault("a.example", PortMQTT, Refused)
	handshake := func(address string) error {
		nc, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer nc.Close()
		config := n.TLSConfig()
		config.ServerName = "a.example"
		tc := tls.Client(nc, config)
		if err := tc.Handshake(); err != nil {
			return err
		}
		_, err = io.WriteString(tc, "x")
		return err
	}
	require.ErrorIs(t, handshake(n.MQTTAddr()), syscall.ECONNRESET)
	require.NoError(t, handshake(n.HTTPSAddr()))
	require.Equal(t, 1, n.PortDials("a.example", PortMQTT))
	require.Equal(t, 1, n.PortDials("a.example", PortHTTPS))
}
