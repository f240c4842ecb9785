package hubconn_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/weakcert"
)

// eavesdropper serves TLS with a certificate, and counts what it is told.
type eavesdropper struct {
	certificate tls.Certificate
	version     uint16
	heard       atomic.Int64
}

func (e *eavesdropper) serve(nc net.Conn) {
	tc := tls.Server(nc, &tls.Config{
		Certificates: []tls.Certificate{e.certificate}, ClientAuth: tls.RequestClientCert,
		MaxVersion: e.version,
	})
	if tc.Handshake() != nil {
		return
	}
	n, _ := tc.Read(make([]byte, 1024))
	e.heard.Add(int64(n))
}

func TestAHubWhoseChainHasAShortKeyIsUntrustedAndToldNothing(t *testing.T) {
	uses := map[string]func(*stage) error{
		"dial": func(s *stage) error { _, err := s.dial(); return err },
		"post": func(s *stage) error {
			return s.dialer.Post(s.Context(), s.at, s.key, hubconn.Message{})
		},
		"receive": func(s *stage) error {
			_, err := s.dialer.Receive(s.Context(), s.at, s.key)
			return err
		},
	}
	for name, bits := range weakcert.Weak {
		for use, call := range uses {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				play(t, func(s *stage) {
					e := &eavesdropper{version: version}
					e.certificate, s.dialer.TLSConfig.RootCAs = weakcert.Chain(bits, host)
					s.dialer.DialContext = inMemory(e.serve)
					err := call(s)
					failure := s.is(err, hubconn.Untrusted)
					assert.ErrorContains(s, failure, "RSA key of 1024 bits", "%s: %s", use, name)
					synctest.Wait()
					assert.Zero(s, e.heard.Load(), "%s: %s", use, name)
				})
			}
		}
	}
}

func TestAHubWithAnRSAKeyOfTheLeastLengthIsTold(t *testing.T) {
	play(t, func(s *stage) {
		e := &eavesdropper{version: tls.VersionTLS12}
		e.certificate, s.dialer.TLSConfig.RootCAs = weakcert.Chain(weakcert.Bits{Leaf: 2048}, host)
		s.dialer.DialContext = inMemory(e.serve)
		s.fails(hubconn.Unreachable)
		assert.NotZero(s, e.heard.Load())
	})
}

func TestNothingIsUploadedWhereTheStorageAccountsChainHasAShortKey(t *testing.T) {
	for name, bits := range weakcert.Weak {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, simnet.New(), hubconn.MQTT)
			certificate, pool := weakcert.Chain(bits, s.hub.BlobHost())
			pool.AddCert(s.network.CA().Certificate())
			s.dialer.TLSConfig.RootCAs = pool
			e := &eavesdropper{version: tls.VersionTLS12, certificate: certificate}
			storage := inMemory(e.serve)
			s.dialer.DialContext = func(
				ctx context.Context, network, address string,
			) (net.Conn, error) {
				if address == s.hub.BlobHost()+":443" {
					return storage(ctx, network, address)
				}
				return s.network.DialContext(ctx, network, address)
			}
			conn := s.connect()
			err := s.upload(conn, []byte("secret"), hubconn.UploadOptions{})
			assert.ErrorContains(t, s.is(err, hubconn.Untrusted), "1024 bits", name)
			synctest.Wait()
			assert.Zero(t, e.heard.Load(), name)
			require.NoError(t, conn.Context().Err(), "the connection to the hub is another")
		})
	}
}
