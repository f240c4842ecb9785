// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"crypto/tls"
	"crypto/x509"
	_ "embed" // for the certificates
	"errors"
	"sync"
	"sync/atomic"
)

// The authorities that the services' chains end at (Azure docs: "TLS support in IoT Hub", "TLS
// support in DPS").
var (
	//go:embed roots/digicert-global-root-g2.der
	digiCertG2 []byte
	//go:embed roots/digicert-global-root-g3.der
	digiCertG3 []byte
	//go:embed roots/microsoft-rsa-root-2017.der
	microsoftRSA []byte
	//go:embed roots/microsoft-ecc-root-2017.der
	microsoftECC []byte
)

// Roots are two pools of authorities: a small one that serves almost every connection, and the
// system's. A small board may have no certificate store, or one older than the roots that the
// services use today; and to load a store of 140 certificates costs it time and memory at each
// start. So a server is first verified by the small pool. Only where that does not know its
// authority is the connection opened a second time, with both pools; nothing has been sent over the
// first one then but the TLS hello. Once that has helped, both pools serve from the start.
//
// It is safe for concurrent use.
type Roots struct {
	builtIn func() *x509.CertPool
	both    func() *x509.CertPool // nil when the system's is empty
	wide    atomic.Bool           // the system's was needed
}

// Public has the authorities of Azure's public cloud built in: DigiCert Global Root G2 and G3,
// Microsoft RSA and ECC Root Certificate Authority 2017. Azure China's is DigiCert Global Root CA,
// which the system's store has.
var Public = NewRoots(x509.SystemCertPool, digiCertG2, digiCertG3, microsoftRSA, microsoftECC)

// NewRoots returns Roots of a system's pool, which is loaded when it is first needed, and of
// certificates that are built in.
func NewRoots(system func() (*x509.CertPool, error), builtIn ...[]byte) *Roots {
	return &Roots{
		builtIn: sync.OnceValue(func() *x509.CertPool {
			return with(x509.NewCertPool(), builtIn)
		}),
		both: sync.OnceValue(func() *x509.CertPool {
			pool, err := system()
			if err != nil || pool.Equal(x509.NewCertPool()) {
				return nil // it knows no authority more
			}
			return with(pool, builtIn)
		}),
	}
}

func with(pool *x509.CertPool, builtIn [][]byte) *x509.CertPool {
	for _, der := range builtIn {
		if certificate, err := x509.ParseCertificate(der); err == nil {
			pool.AddCert(certificate)
		}
	}
	return pool
}

// verify makes a connection, with config's roots set.
func (r *Roots) verify(
	config *tls.Config, handshake func(*tls.Config) (*tls.Conn, error),
) (*tls.Conn, error) {
	if r.wide.Load() {
		config.RootCAs = r.both()
		return handshake(config)
	}
	config.RootCAs = r.builtIn()
	nc, err := handshake(config)
	if !unknownAuthority(err) {
		return nc, err
	}
	both := r.both()
	if both == nil {
		return nil, err
	}
	config = config.Clone()
	config.RootCAs = both
	nc, err = handshake(config)
	if err == nil {
		r.wide.Store(true)
	}
	return nc, err
}

// unknownAuthority is whether another pool of authorities might verify what this one did not. That
// is not so where the server's own certificate has expired, or is another host's; one above it may
// be such that a chain to another authority does without it.
func unknownAuthority(err error) bool {
	failed, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok {
		return false
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](failed); ok {
		return true
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](failed)
	return ok && len(failed.UnverifiedCertificates) > 0 &&
		!failed.UnverifiedCertificates[0].Equal(invalid.Cert)
}
