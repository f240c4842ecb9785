package weakcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// Bits are the lengths of the RSA keys of a chain; where one is 0 the key is an ECDSA key.
type Bits struct{ Leaf, Intermediate, Root int }

// Weak are chains with one key that is too short each, by what the key is for.
var Weak = map[string]Bits{
	"leaf": {Leaf: 1024}, "intermediate": {Intermediate: 1024}, "root": {Root: 1024},
}

// Chain issues a certificate for the names of a server, valid for a day before and after now, and
// the pool with the root above it. Leaf and intermediate are in the certificate, as a server sends
// them.
func Chain(bits Bits, names ...string) (tls.Certificate, *x509.CertPool) {
	authority := func(name string, number int64) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: name},
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	rootKey, middleKey, leafKey := key(bits.Root), key(bits.Intermediate), key(bits.Leaf)
	root := authority("root", 1)
	root = sign(root, root, rootKey, rootKey)
	middle := sign(authority("intermediate", 2), root, middleKey, rootKey)
	leaf := sign(&x509.Certificate{
		SerialNumber: big.NewInt(3), DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, middle, leafKey, middleKey)
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return tls.Certificate{
		Certificate: [][]byte{leaf.Raw, middle.Raw}, PrivateKey: leafKey, Leaf: leaf,
	}, pool
}

// RSA keys take long to make, and a test may share one with the others.
var (
	mu      sync.Mutex
	rsaKeys = map[int]*rsa.PrivateKey{}
)

func key(bits int) crypto.Signer {
	if bits == 0 {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err) // crypto/rand does not fail
		}
		return k
	}
	mu.Lock()
	defer mu.Unlock()
	k := rsaKeys[bits]
	if k == nil {
		var err error
		if k, err = rsa.GenerateKey(rand.Reader, bits); err != nil {
			panic(fmt.Sprintf("weakcert: key of %d bits: %v", bits, err))
		}
		rsaKeys[bits] = k
	}
	return k
}

func sign(template, issuer *x509.Certificate, own, issuers crypto.Signer) *x509.Certificate {
	template.NotBefore = time.Now().Add(-24 * time.Hour)
	template.NotAfter = time.Now().Add(24 * time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, own.Public(), issuers)
	if err != nil {
		panic(fmt.Sprintf("weakcert: sign: %v", err))
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return certificate
}
