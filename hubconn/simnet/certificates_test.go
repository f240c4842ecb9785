// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCertificatesForStrangeNamesAreBounded(t *testing.T) {
	inMemory(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		n.SetDefault("a.example")
		failed := 0
		for i := range maxUnknownNames + 10 {
			raw, err := n.DialContext(t.Context(), "tcp", "localhost:8883")
			require.NoError(t, err)
			nc, err := shake(n, raw, "name-"+string(rune('a'+i/26))+string(rune('a'+i%26)))
			if err != nil {
				failed++
				continue
			}
			require.NoError(t, nc.Close())
		}
		assert.Equal(t, 10, failed)
		assert.LessOrEqual(t, len(n.certs), maxUnknownNames+1)
	})
}

func TestServicesFollowTheirOwnClock(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, offset := range []time.Duration{0, 26 * year, -5 * year, 10 * time.Minute} {
		anywhere(t, func(t *testing.T, n *Network) {
			n.Handle("a.example", echo("a"))
			cfg := n.TLSConfig() // trusts the CA before and after the clock is moved
			n.SetClockOffset(offset)
			cfg.Time = n.Now
			answer, _, err := get(t, n, cfg, "https://a.example/")
			require.NoError(t, err)
			date, err := http.ParseTime(answer.Header.Get("Date"))
			require.NoError(t, err)
			assert.WithinDuration(t, time.Now().Add(offset), date, time.Minute)
			if offset > year || offset < 0 {
				_, _, err := get(t, n, n.TLSConfig(), "https://a.example/")
				var invalid x509.CertificateInvalidError
				require.ErrorAs(t, err, &invalid)
				assert.Equal(t, x509.Expired, invalid.Reason)
			}
		})
	}
}

func TestCertificateOfEachKind(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		verify := func(kind CertificateKind) error {
			n.SetCertificate("a.example", kind)
			nc, err := open(n, "a.example")
			if err == nil {
				return nc.Close()
			}
			return err
		}
		require.NoError(t, verify(Valid))
		for _, kind := range []CertificateKind{Expired, NotYetValid} {
			var invalid x509.CertificateInvalidError
			require.ErrorAs(t, verify(kind), &invalid, kind)
			assert.Equal(t, x509.Expired, invalid.Reason)
		}
		var unknown x509.UnknownAuthorityError
		require.ErrorAs(t, verify(UnknownCA), &unknown)
		var name x509.HostnameError
		require.ErrorAs(t, verify(WrongName), &name)
		require.NoError(t, verify(Valid))
	})
}

func TestTLSVersionIsSettable(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		n.SetMaxTLSVersion(tls.VersionTLS13)
		answer, _, err := get(t, n, n.TLSConfig(), "https://a.example/")
		require.NoError(t, err)
		assert.Equal(t, uint16(tls.VersionTLS13), answer.TLS.Version)
	})
}
