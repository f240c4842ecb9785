// SPDX-License-Identifier: Apache-2.0

package dial_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/dial"
)

// chainOf is a chain of RSA keys of so many bits; 0 is an ECDSA key.
func chainOf(bits ...int) (chain []*x509.Certificate) {
	for _, n := range bits {
		c := &x509.Certificate{PublicKey: &ecdsa.PublicKey{Curve: elliptic.P256()}}
		if n > 0 {
			c.PublicKey = &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), uint(n-1)), E: 65537}
		}
		chain = append(chain, c)
	}
	return chain
}

func TestOneChainHasToBeOfKeysThatAreLongEnough(t *testing.T) {
	type chains = [][]*x509.Certificate
	for name, row := range map[string]struct {
		verified chains
		refusal  string
	}{
		"2048":               {chains{chainOf(2048, 2048, 2048)}, ""},
		"elliptic":           {chains{chainOf(0, 0)}, ""},
		"elliptic under RSA": {chains{chainOf(0, 4096)}, ""},
		"leaf":               {chains{chainOf(1024, 2048, 4096)}, "RSA key of 1024 bits"},
		"intermediate":       {chains{chainOf(0, 2047, 4096)}, "RSA key of 2047 bits"},
		"root":               {chains{chainOf(2048, 2048, 1024)}, "RSA key of 1024 bits"},
		"one way is good":    {chains{chainOf(2048, 1024), chainOf(2048, 2048)}, ""},
		"no way is good":     {chains{chainOf(2048, 1024), chainOf(2048, 1536)}, "RSA key of 1024"},
		"no way":             {nil, "no chain"},
	} {
		config, err := dial.Config(nil, nil, nil)
		require.NoError(t, err)
		err = config.VerifyConnection(tls.ConnectionState{VerifiedChains: row.verified})
		if row.refusal == "" {
			assert.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, row.refusal, name)
		assert.NotContains(t, err.Error(), "\n")
		_, ok := errors.AsType[*tls.CertificateVerificationError](err)
		assert.True(t, ok, "%s: it is a certificate that does not verify", name)
	}
}

func TestTheProgramsOwnCheckOfAConnectionCounts(t *testing.T) {
	own := errors.New("not pinned")
	asked := 0
	base := &tls.Config{VerifyConnection: func(tls.ConnectionState) error {
		asked++
		return own
	}}
	config, err := dial.Config(base, nil, nil)
	require.NoError(t, err)
	strong := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{chainOf(2048)}}
	assert.ErrorIs(t, config.VerifyConnection(strong), own)
	assert.Equal(t, 1, asked)
	weak := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{chainOf(1024)}}
	err = config.VerifyConnection(weak)
	assert.ErrorContains(t, err, "1024")
	assert.NotErrorIs(t, err, own)
}
