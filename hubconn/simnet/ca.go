// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

const (
	// so that a clock a little behind does not reject a new certificate
	backdated = 24 * time.Hour
	leafLife  = 365 * 24 * time.Hour // of device and server certificates
	// A CA is valid for long on both sides of its making, so that a test may move the services'
	// clock by decades.
	caLife = 30 * leafLife
)

// CA is a certificate authority for tests: it signs the certificates of simulated hosts, and those
// of devices. Keys are ECDSA P-256. It is safe for concurrent use.
type CA struct {
	cert   *x509.Certificate
	key    crypto.Signer
	parent *CA // nil: self-signed
	now    time.Time
}

// NewCA makes a root. Certificates it issues are valid from a day before now for a year; its own
// certificate is valid for thirty years before and after, so that services whose clock is moved
// still show chains that verify.
func NewCA(name string, now time.Time) *CA {
	ca := &CA{key: newKey(), now: now}
	ca.cert = certify(caTemplate(name, now), nil, ca.key.Public(), ca.key)
	return ca
}

// Intermediate makes a CA signed by this one.
func (ca *CA) Intermediate(name string) *CA {
	sub := &CA{key: newKey(), now: ca.now, parent: ca}
	sub.cert = certify(caTemplate(name, ca.now), ca.cert, sub.key.Public(), ca.key)
	return sub
}

// LoadCA makes a CA of what PEM and KeyPEM returned; the validity of what it issues counts from
// now.
func LoadCA(certPEM, keyPEM []byte, now time.Time) (*CA, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("simnet: load CA: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("simnet: load CA: not the certificate and key of a CA")
	}
	return &CA{cert: pair.Leaf, key: key, now: now}, nil
}

// Device issues a client certificate. Its chain holds the leaf and the intermediates up to the
// root, without it, as a device sends it.
func (ca *CA) Device(commonName string) tls.Certificate {
	return ca.DeviceBetween(commonName, ca.now.Add(-backdated), ca.now.Add(leafLife))
}

// DeviceBetween issues a client certificate with the validity given, for tests of expired ones.
func (ca *CA) DeviceBetween(commonName string, notBefore, notAfter time.Time) tls.Certificate {
	key := newKey()
	return ca.chain(ca.issueDevice(commonName, key.Public(), notBefore, notAfter), key)
}

// DeviceFor issues a client certificate for a key that lives elsewhere, in a TPM or HSM.
func (ca *CA) DeviceFor(commonName string, key crypto.Signer) tls.Certificate {
	return ca.chain(
		ca.issueDevice(commonName, key.Public(), ca.now.Add(-backdated), ca.now.Add(leafLife)), key,
	)
}

func (ca *CA) issueDevice(
	commonName string, pub crypto.PublicKey, notBefore, notAfter time.Time,
) *x509.Certificate {
	return certify(&x509.Certificate{
		Subject: pkix.Name{CommonName: commonName}, NotBefore: notBefore, NotAfter: notAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.cert, pub, ca.key)
}

// Server issues a server certificate for host names and IP addresses.
func (ca *CA) Server(names ...string) tls.Certificate {
	return ca.serverBetween(ca.now.Add(-backdated), ca.now.Add(leafLife), names...)
}

func (ca *CA) serverBetween(notBefore, notAfter time.Time, names ...string) tls.Certificate {
	template := &x509.Certificate{
		NotBefore: notBefore, NotAfter: notAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if len(names) > 0 {
		template.Subject.CommonName = names[0]
	}
	key := newKey()
	return ca.chain(certify(template, ca.cert, key.Public(), ca.key), key)
}

// Certificate returns the CA's own certificate.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// Pool returns a new pool with the CA's certificate in it.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// PEM returns the CA's certificate.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// KeyPEM returns the CA's private key.
func (ca *CA) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return nil, fmt.Errorf("simnet: encode CA key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// chain puts the intermediates behind a leaf.
func (ca *CA) chain(leaf *x509.Certificate, key crypto.Signer) tls.Certificate {
	c := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for signer := ca; signer.parent != nil; signer = signer.parent {
		c.Certificate = append(c.Certificate, slices.Clone(signer.cert.Raw))
	}
	return c
}

func caTemplate(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-caLife),
		NotAfter: now.Add(caLife), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return key
}

// certify signs a template; without an issuer it is self-signed.
func certify(
	template, issuer *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer,
) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err)
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	if issuer == nil {
		issuer = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, pub, signer)
	if err != nil {
		panic(fmt.Sprintf("simnet: sign certificate of %q: %v", template.Subject.CommonName, err))
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}
