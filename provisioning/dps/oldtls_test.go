// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/memnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// TLS 1.0 and 1.1 were deprecated by RFC 8996. A program that asks for them does not get them.
func TestAServiceOfAnOlderTLSVersionIsToldNothing(t *testing.T) {
	ca := simnet.NewCA("Simulated Root", time.Now())
	for _, transport := range []dps.Transport{dps.HTTPS, dps.MQTT, dps.MQTTWebSocket} {
		for version, accepted := range map[uint16]bool{
			tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true,
		} {
			var reached atomic.Bool
			client := &dps.Client{
				IDScope: "0ne00000001", Transport: transport, Proxy: clientNoProxy,
				Attestation: dps.SymmetricKey{ID: "dev1", Key: clientCanary},
				TLSConfig:   &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS10},
				DialContext: func(context.Context, string, string) (net.Conn, error) {
					device, server := memnet.Pipe("device:1", "dps:443")
					go func() {
						reached.Store(tls.Server(server, &tls.Config{
							Certificates: []tls.Certificate{ca.Server(dps.DefaultEndpoint)},
							MinVersion:   tls.VersionTLS10, MaxVersion: version,
						}).Handshake() == nil)
						_ = server.Close()
					}()
					return device, nil
				},
			}
			_, err := client.Register(t.Context(), dps.Registration{})
			require.Error(t, err, "nobody answers")
			assert.Equal(t, accepted, reached.Load(), "%v %s", transport, tls.VersionName(version))
		}
	}
}
