// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// clientSigner is a key that can be used and not read, as one in a TPM or HSM.
type clientSigner struct{ key crypto.Signer }

func (s clientSigner) Public() crypto.PublicKey { return s.key.Public() }
func (s clientSigner) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.key.Sign(r, digest, opts)
}

// clientKeys makes one key of each kind, once: an RSA key takes time.
var clientKeys = sync.OnceValue(func() map[string]crypto.Signer {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsa2048, _ := rsa.GenerateKey(rand.Reader, 2048)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{
		"ecdsa p-256": p256, "ecdsa p-384": p384, "rsa 2048": rsa2048, "ed25519": ed,
	}
})

// clientPair is a self-signed certificate.
func clientPair(t *testing.T, commonName string, key crypto.Signer) tls.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestX509TakesItsIDFromTheCommonName(t *testing.T) {
	key := clientKeys()["ecdsa p-256"]
	attestation := dps.X509{KeyPair: clientPair(t, "sensor-042", key)}
	require.NoError(t, attestation.Validate())
	assert.Equal(t, "sensor-042", attestation.RegistrationID())

	attestation = dps.X509{ID: "Sensor-042", KeyPair: clientPair(t, "sensor-042", key)}
	require.NoError(t, attestation.Validate(), "the service ignores the case of registration ids")
	assert.Equal(t, "Sensor-042", attestation.RegistrationID())
}

func TestX509RefusesWhatDoesNotFitTogether(t *testing.T) {
	key, other := clientKeys()["ecdsa p-256"], clientKeys()["ecdsa p-384"]
	pair := clientPair(t, "sensor-042", key)
	for want, attestation := range map[string]dps.X509{
		"there is no certificate": {},
		"cannot be read":          {KeyPair: tls.Certificate{Certificate: [][]byte{[]byte("junk")}, PrivateKey: key}},
		"has no private key":      {KeyPair: tls.Certificate{Certificate: pair.Certificate}},
		"cannot sign":             {KeyPair: tls.Certificate{Certificate: pair.Certificate, PrivateKey: "a string"}},
		"does not belong":         {KeyPair: tls.Certificate{Certificate: pair.Certificate, PrivateKey: other}},
		"no common name":          {KeyPair: clientPair(t, "", key)},
		"70 characters":           {KeyPair: clientPair(t, strings.Repeat("x", 70), key)},
		"not the certificate's":   {ID: "another", KeyPair: pair},
		"illegal character":       {KeyPair: clientPair(t, "sensor 042", key)},
		`ends in '.'`:             {KeyPair: clientPair(t, "sensor.", key)},
	} {
		err := attestation.Validate()
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "\n")
		assert.Equal(t, retry.Stop, retry.Classify(err))
	}
}

func TestX509WorksWithAnySigner(t *testing.T) {
	for name, key := range clientKeys() {
		pair := clientPair(t, "sensor", clientSigner{key})
		attestation := dps.X509{KeyPair: pair}
		require.NoError(t, attestation.Validate(), name)

		seal, err := attestation.Seal(t.Context(), []byte("entry"))
		require.NoError(t, err, name)
		require.NoError(t, attestation.Verify(t.Context(), []byte("entry"), seal), name)
		require.Error(t, attestation.Verify(t.Context(), []byte("entrx"), seal), name)
		require.Error(t, attestation.Verify(t.Context(), []byte("entry"), nil), name)

		renewed := dps.X509{KeyPair: clientPair(t, "sensor", key)}
		require.NoError(
			t, renewed.Verify(t.Context(), []byte("entry"), seal),
			"%s: a renewed certificate of the same key", name,
		)
		before, err := attestation.Fingerprint(t.Context())
		require.NoError(t, err)
		after, err := renewed.Fingerprint(t.Context())
		require.NoError(t, err)
		assert.NotEqual(t, before, after, "%s: a hub knows the certificate, not the key", name)
	}
}

func TestX509HandsOutTheChainAsGiven(t *testing.T) {
	pair := clientPair(t, "sensor", clientKeys()["ecdsa p-256"])
	pair.Certificate = append(pair.Certificate, []byte("intermediate"))
	certificate, err := dps.X509{KeyPair: pair}.Certificate(t.Context())
	require.NoError(t, err)
	assert.Equal(t, pair.Certificate, certificate.Certificate)

	token, err := dps.X509{KeyPair: pair}.Token(t.Context(), "r", time.Now())
	require.NoError(t, err)
	assert.Empty(t, token)
}

func TestX509IsPrintedWithoutItsKey(t *testing.T) {
	key, ok := clientKeys()["ecdsa p-256"].(*ecdsa.PrivateKey)
	require.True(t, ok)
	secret, err := key.Bytes()
	require.NoError(t, err)
	number := new(big.Int).SetBytes(secret).String()
	attestation := dps.X509{KeyPair: clientPair(t, "sensor", key)}
	client := dps.Client{IDScope: "0ne00000001", Attestation: attestation}
	for _, value := range []any{
		attestation, &attestation, client, &client, []any{attestation},
		struct{ A dps.X509 }{attestation},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
			out := fmt.Sprintf(verb, value)
			assert.NotContains(t, out, number, verb)
			assert.NotContains(t, out, fmt.Sprintf("%x", secret), verb)
			assert.NotContains(t, out, "PrivateKey", verb)
		}
		encoded, _ := json.Marshal(value)
		assert.NotContains(t, string(encoded), number)
	}
	assert.Contains(t, fmt.Sprint(attestation), "sensor")
}
