// SPDX-License-Identifier: Apache-2.0

package issued_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const device = "sensor-042"

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return key
}

// issuer is an authority that issues whatever it is told to.
type issuer struct {
	t           testing.TB
	certificate *x509.Certificate
	key         crypto.Signer
}

// newIssuer makes an intermediate authority and the root above it.
func newIssuer(t testing.TB) (intermediate, root *issuer) {
	root = &issuer{t: t, key: ecKey(t, elliptic.P384())}
	root.certificate = root.issue(authority("root"), root.key.Public())
	return root.authority(ecKey(t, elliptic.P384())), root
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
}

// authority makes one below.
func (i *issuer) authority(key crypto.Signer) *issuer {
	i.t.Helper()
	certificate := i.issue(authority("intermediate"), key.Public())
	return &issuer{t: i.t, certificate: certificate, key: key}
}

// leaf is the template of a device's certificate.
func leaf() *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: device}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// issue issues a certificate, valid for a day before and after now if the template does not say.
func (i *issuer) issue(template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	i.t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotBefore.IsZero() {
		template.NotBefore = now.Add(-24 * time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = now.Add(24 * time.Hour)
	}
	parent := i.certificate
	if parent == nil {
		parent = template // a root
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, i.key)
	require.NoError(i.t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(i.t, err)
	return certificate
}

// derOf and pemOf are a chain as the service writes it.
func derOf(certificates ...*x509.Certificate) (chain []string) {
	for _, c := range certificates {
		chain = append(chain, base64.StdEncoding.EncodeToString(c.Raw))
	}
	return chain
}

func pemOf(certificates ...*x509.Certificate) (chain []string) {
	for _, c := range certificates {
		chain = append(chain, base64.StdEncoding.EncodeToString(armour("CERTIFICATE", c.Raw)))
	}
	return chain
}

func armour(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
