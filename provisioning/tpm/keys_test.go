// SPDX-License-Identifier: Apache-2.0

package tpm_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // that it is refused
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/tpm"
)

func TestAKeyInTheTPMSigns(t *testing.T) {
	m, way := newTPM(t)
	keys := tpm.Keys{TPM: way}
	key, reference, err := keys.Generate(t.Context())
	require.NoError(t, err)
	other, _, err := keys.Generate(t.Context())
	require.NoError(t, err)
	public := key.Public().(*ecdsa.PublicKey)
	assert.False(t, public.Equal(other.Public()))
	assert.Less(t, len(reference), 400)

	require.NoError(t, way.Close())
	m.Stop()
	m.Resume()
	loaded, err := keys.Load(t.Context(), reference)
	require.NoError(t, err)
	require.True(t, public.Equal(loaded.Public()))
	for range 20 { // numbers with a leading zero among them
		long, short := sha512.Sum512(nil), sha256.Sum256(nil)
		for _, digest := range [][]byte{short[:], long[:48], long[:]} {
			signature, err := loaded.Sign(rand.Reader, digest, nil)
			require.NoError(t, err)
			require.True(t, ecdsa.VerifyASN1(public, digest, signature))
		}
	}
	weak := sha1.Sum(nil) //nolint:gosec // that it is refused
	_, err = loaded.Sign(nil, weak[:], crypto.SHA1)
	oneLine(t, err, "use SHA-256")
	_, err = loaded.Sign(nil, make([]byte, 48), crypto.SHA256)
	require.Error(t, err)

	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "dev"}}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, loaded)
	require.NoError(t, err)
	request, err := x509.ParseCertificateRequest(csr)
	require.NoError(t, err)
	require.NoError(t, request.CheckSignature())

	require.NoError(t, keys.Delete(t.Context(), reference))
	for _, wrong := range [][]byte{nil, []byte("x"), reference[:len(reference)-1]} {
		_, err := keys.Load(t.Context(), wrong)
		oneLine(t, err, "no key of a TPM")
		oneLine(t, keys.Delete(t.Context(), wrong), "no key of a TPM")
	}
}
