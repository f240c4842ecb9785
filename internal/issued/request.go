// SPDX-License-Identifier: Apache-2.0

package issued

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
)

// maxRequest is the longest request, in bytes of its base64 text: a hub refuses what is above.
const maxRequest = 8 << 10

// minRSABits is the least length of an RSA key, of the device's own and in a chain.
const minRSABits = 2048

// NewRequest makes a PKCS #10 request in DER: the name as the common name and nothing else, as the
// official clients have it. It is signed by ECDSA with SHA-256, and with SHA-384 where the key is
// of P-384, or by RSA PKCS #1 v1.5 with SHA-256.
func NewRequest(key crypto.Signer, name string) ([]byte, error) {
	algorithm, err := signature(key)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name}, SignatureAlgorithm: algorithm,
	}, key)
}

// CheckKey reports why no certificate would be issued for a key.
func CheckKey(key crypto.Signer) error {
	_, err := signature(key)
	return err
}

// signature is how a key signs a request. The service was seen to issue for P-256, P-384 and RSA;
// its documentation names P-384 alone.
func signature(key crypto.Signer) (x509.SignatureAlgorithm, error) {
	if key == nil {
		return 0, errors.New("the key is missing: give a crypto.Signer")
	}
	const use = "use ecdsa p-256 or p-384, or rsa of 2048 bits or more"
	switch public := key.Public().(type) {
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			return x509.ECDSAWithSHA256, nil
		case elliptic.P384():
			return x509.ECDSAWithSHA384, nil
		}
		return 0, errors.New("the key is of an elliptic curve that no certificate is issued " +
			"for: " + use)
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSABits {
			return 0, fmt.Errorf("the key is an rsa key of %d bits: %s", bits, use)
		}
		return x509.SHA256WithRSA, nil
	}
	return 0, errors.New("the key is of a kind that no certificate is issued for: " + use)
}

// CheckRequest reports what is wrong with a request before it is sent. The service compares the
// common name letter by letter. An empty name is not compared.
func CheckRequest(der []byte, name string) error {
	if size := base64.StdEncoding.EncodedLen(len(der)); size > maxRequest {
		return fmt.Errorf(
			"it has %d bytes in base64, at most %d are accepted: leave extensions out", size,
			maxRequest,
		)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return errors.New("it is not a pkcs #10 request in der: give the bytes that " +
			"x509.CreateCertificateRequest returns, neither pem nor base64")
	}
	if request.CheckSignature() != nil {
		return errors.New("it is not signed by the key that it asks a certificate for: make " +
			"it anew")
	}
	if common := request.Subject.CommonName; name != "" && common != name {
		return fmt.Errorf("its common name %.64q is not the registration id %q: they must be equal",
			common, name)
	}
	return nil
}
