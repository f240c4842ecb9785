// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// TLS 1.0 and 1.1 were deprecated by RFC 8996. A program that asks for them does not get them.
func TestAHubOfAnOlderTLSVersionIsToldNothing(t *testing.T) {
	ca := simnet.NewCA("Simulated Root", time.Now())
	for name, use := range sessionUses {
		for version, accepted := range map[uint16]bool{
			tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true,
		} {
			var reached atomic.Bool
			serve := func(nc net.Conn) {
				reached.Store(tls.Server(nc, &tls.Config{
					Certificates: []tls.Certificate{ca.Server(host)},
					MinVersion:   tls.VersionTLS10, MaxVersion: version,
				}).Handshake() == nil)
				_ = nc.Close()
			}
			assert.Error(t, use(t.Context(), &hubconn.Dialer{
				DialContext: inMemory(serve), Proxy: noProxy,
				TLSConfig: &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS10},
			}, hubconn.Hub{Host: host, DeviceID: "dev1"}, sasKey("0123456789abcdef")))
			assert.Equal(t, accepted, reached.Load(), "%s %s", name, tls.VersionName(version))
		}
	}
}
