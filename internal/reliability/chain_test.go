// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// draft is a server's chain before it is signed. It is good, until a kind of certificate spoils it.
type draft struct {
	host               string
	root, middle, leaf x509.Certificate
	bits               struct{ root, middle, leaf int } // of RSA keys; 0: an elliptic one

	selfSigned bool                    // the leaf has no authority
	unknown    bool                    // the client trusts another root
	broken     bool                    // the leaf's signature
	sent       func(c *draftSent)      // what is shown after the leaf, nil: the intermediate
	signature  x509.SignatureAlgorithm // of the leaf
}

// draftSent is what may be shown after the leaf.
type draftSent struct{ middle, root, chain [][]byte }

// newDraft is a chain of a root, an intermediate and a leaf, all valid for a day before and after.
func newDraft(host string) *draft {
	now := time.Now()
	authority := func(name string, number int64) x509.Certificate {
		return x509.Certificate{
			SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: name},
			NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(24 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	d := &draft{host: host, root: authority("root", 1), middle: authority("intermediate", 2)}
	d.leaf = x509.Certificate{
		SerialNumber: big.NewInt(3), DNSNames: []string{host},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	return d
}

// sign issues the chain, and the pool with the root above it.
func (d *draft) sign(t *testing.T) (tls.Certificate, *x509.CertPool) {
	rootKey, middleKey, leafKey := key(t, d.bits.root), key(t, d.bits.middle), key(t, d.bits.leaf)
	root := issue(t, &d.root, &d.root, rootKey, rootKey)
	middle := issue(t, &d.middle, root, middleKey, rootKey)
	d.leaf.SignatureAlgorithm = d.signature
	issuer, by := middle, middleKey
	if d.selfSigned {
		issuer, by = &d.leaf, leafKey
	}
	leaf := issue(t, &d.leaf, issuer, leafKey, by).Raw
	if d.broken {
		leaf[len(leaf)-1] ^= 1
	}
	show := &draftSent{middle: [][]byte{middle.Raw}, root: [][]byte{root.Raw}}
	show.chain = show.middle
	if d.sent != nil {
		d.sent(show)
	}
	pool := x509.NewCertPool()
	if d.unknown {
		otherKey := key(t, 0)
		root = issue(t, &d.root, &d.root, otherKey, otherKey) // of the same name
	}
	pool.AddCert(root)
	return tls.Certificate{
		Certificate: append([][]byte{leaf}, show.chain...), PrivateKey: leafKey,
	}, pool
}

func issue(
	t *testing.T, template, issuer *x509.Certificate, own, issuers crypto.Signer,
) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, own.Public(), issuers)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return certificate
}

// RSA keys take long to make, and chains may share one.
var (
	keys    sync.Mutex
	rsaKeys = map[int]*rsa.PrivateKey{}
)

func key(t *testing.T, bits int) crypto.Signer {
	if bits == 0 {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		return k
	}
	keys.Lock()
	defer keys.Unlock()
	if rsaKeys[bits] == nil {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		require.NoError(t, err)
		rsaKeys[bits] = k
	}
	return rsaKeys[bits]
}
