// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestARequestIsOneOfItsKeyAndName(t *testing.T) {
	key := Key(t, elliptic.P384())
	der, err := base64.StdEncoding.DecodeString(Request(t, "dev1", key))
	require.NoError(t, err)
	request, err := x509.ParseCertificateRequest(der)
	require.NoError(t, err)
	require.NoError(t, request.CheckSignature())
	assert.Equal(t, "dev1", request.Subject.CommonName)
	assert.True(t, key.PublicKey.Equal(request.PublicKey))
}

func TestAChainIsReadFromDERAndFromPEM(t *testing.T) {
	key := Key(t, elliptic.P256())
	template := &x509.Certificate{SerialNumber: big.NewInt(7)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	chain := Chain(t, []string{
		base64.StdEncoding.EncodeToString(der), base64.StdEncoding.EncodeToString(text),
	})
	require.Len(t, chain, 2)
	assert.Equal(t, chain[0], chain[1])
	assert.Equal(t, int64(7), chain[0].SerialNumber.Int64())
}
