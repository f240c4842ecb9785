// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"testing"
)

// Key makes a key on a curve.
func Key(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Request makes a request for a name, in base64 of its DER.
func Request(t testing.TB, name string, key crypto.Signer) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(
		rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key,
	)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// Chain reads a chain, whose elements are base64 of DER or of a PEM text, one certificate each.
func Chain(t testing.TB, encoded []string) []*x509.Certificate {
	t.Helper()
	var chain []*x509.Certificate
	for _, text := range encoded {
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if block, rest := pem.Decode(der); block != nil {
			if len(rest) > 0 {
				t.Fatalf("%d bytes after the certificate", len(rest))
			}
			der = block.Bytes
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	return chain
}
