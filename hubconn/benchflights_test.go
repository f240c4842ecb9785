// SPDX-License-Identifier: Apache-2.0

//go:build unix

package hubconn_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/testdata/bench/target"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// mostBytesUp is what docs/benchmarks.md promises of a boot with the key exchanges named there.
const mostBytesUp = 700

// boots are how a program comes to its hub: each returns when it is connected, and closed again.
var boots = map[string]func(*testing.T, dialFunc, *tls.Config){
	"hubconn": func(t *testing.T, dial dialFunc, config *tls.Config) {
		dialer := &hubconn.Dialer{DialContext: dial, TLSConfig: config}
		hub := hubconn.Hub{Host: host, DeviceID: target.DeviceID}
		conn, err := dialer.Dial(t.Context(), hub, benchKey)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	},
	"provisioning": func(t *testing.T, dial dialFunc, config *tls.Config) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) { firstBoot(t, dir) })
		device := &provisioning.Device{
			IDScope:     target.IDScope,
			Attestation: dps.SymmetricKey{ID: target.DeviceID, Key: target.Key},
			Store:       cache.Dir(dir),
			DialContext: dial,
			TLSConfig:   config,
		}
		conn, err := device.Connect(t.Context())
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	},
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

func TestABootTakesTheRoundTripsOfTLSAndMQTTAndNoOther(t *testing.T) {
	server := startBenchServer(t)
	for name, boot := range boots {
		t.Run(name, func(t *testing.T) {
			var dials atomic.Int32
			boot(t, func(ctx context.Context, network, addr string) (net.Conn, error) {
				dials.Add(1)
				return server.dial(ctx, network, addr)
			}, server.tlsConfig())
			assert.EqualValues(t, 1, dials.Load(), "connections, to the hub or anybody else")
			assert.Equal(t, 3, server.connected(t).flights, "two of TLS 1.2 and one of MQTT")
		})
	}
	t.Run("resumed", func(t *testing.T) {
		config := server.tlsConfig()
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for _, flights := range []int{3, 2} {
			boots["hubconn"](t, server.dial, config)
			assert.Equal(t, flights, server.connected(t).flights)
		}
	})
}

func TestABootSendsFewBytesWithTheKeyExchangesOfTLS12(t *testing.T) {
	page, err := os.ReadFile("../docs/benchmarks.md")
	require.NoError(t, err)
	require.Equal(t, []tls.CurveID{tls.X25519, tls.CurveP256}, target.Curves12)
	require.Contains(t, string(page), "`[]tls.CurveID{tls.X25519, tls.CurveP256}`")
	server := startBenchServer(t)
	for name, boot := range boots {
		t.Run(name, func(t *testing.T) {
			config := server.tlsConfig()
			config.CurvePreferences = target.Curves12
			boot(t, server.dial, config)
			assert.LessOrEqual(t, server.connected(t).up, mostBytesUp)
		})
	}
}
