// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// minRSABits is the shortest RSA key in a server's chain that is trusted: the least that public
// authorities have been allowed to certify since 2014 (CA/Browser Forum, Baseline Requirements
// §6.1.5). crypto/x509 by itself accepts 1024 bits.
const minRSABits = 2048

// Config is a copy of a program's TLS configuration, nil for none, with what holds for every
// connection of the device, whatever runs over it: TLS 1.2 at least, no ALPN, no RSA key of less
// than 2048 bits in the server's chain, and sessions that are resumed by the identity alone that
// they were made with (see scoped). InsecureSkipVerify is an error.
//
// The certificate is the device's, nil for none. It is shown whatever authorities the server lists:
// the services know enrolled leaf certificates that no authority signed. A front end may request it
// only once it has seen the path, by TLS 1.2 renegotiation.
//
// sessions are kept where the program's own configuration has no cache for them; nil keeps none.
func Config(
	base *tls.Config, certificate *tls.Certificate, sessions tls.ClientSessionCache,
) (*tls.Config, error) {
	config := &tls.Config{}
	if base != nil {
		config = base.Clone()
	}
	if config.InsecureSkipVerify {
		return nil, errors.New("InsecureSkipVerify is refused: " +
			"put the server's authority into TLSConfig.RootCAs")
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	config.NextProtos = nil
	if certificate != nil {
		config.Certificates = nil
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return certificate, nil
		}
	}
	identified := len(config.Certificates) > 0 || config.GetClientCertificate != nil
	if identified {
		config.Renegotiation = tls.RenegotiateOnceAsClient
	}
	if config.ClientSessionCache == nil {
		config.ClientSessionCache = sessions
	}
	if config.ClientSessionCache != nil {
		config.ClientSessionCache = scopeOf(config.ClientSessionCache, certificate, identified)
	}
	own := config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if err := verifyKeys(state); err != nil {
			return err
		}
		if own != nil {
			return own(state)
		}
		return nil
	}
	return config, nil
}

// verifyKeys wants one verified chain, root included, whose RSA keys are all long enough: who can
// break any key of a chain can be the server. Its error is that of a certificate that does not
// verify, and comes before the client has sent anything but its hello.
func verifyKeys(state tls.ConnectionState) error {
	failed := errors.New("no chain of the server's certificate was verified")
	for i, chain := range state.VerifiedChains {
		bits := shortestRSAKey(chain)
		if bits >= minRSABits {
			return nil
		}
		if i == 0 {
			failed = fmt.Errorf(
				"its chain has an RSA key of %d bits, and %d are the least that is trusted",
				bits, minRSABits,
			)
		}
	}
	return &tls.CertificateVerificationError{
		UnverifiedCertificates: state.PeerCertificates, Err: failed,
	}
}

// shortestRSAKey is the length of the shortest RSA key of a chain in bits, minRSABits where it has
// none.
func shortestRSAKey(chain []*x509.Certificate) int {
	shortest := minRSABits
	for _, certificate := range chain {
		if key, ok := certificate.PublicKey.(*rsa.PublicKey); ok {
			shortest = min(shortest, key.N.BitLen())
		}
	}
	return shortest
}
