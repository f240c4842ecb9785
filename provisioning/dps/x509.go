// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	stdx509 "crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// maxCommonName is the X.509 limit of a common name (RFC 5280, ub-common-name-length).
const maxCommonName = 64

// X509 attests with a TLS client certificate whose common name is the registration ID.
//
//	pair, err := tls.LoadX509KeyPair("device.pem", "device.key")
//	…
//	dps.X509{KeyPair: pair}
//
// It prints, logs and marshals without its key; see [SymmetricKey] for the limits of that.
type X509 struct {
	// ID is the registration ID. Empty: the leaf certificate's common name. When set it must equal
	// the common name, letter case aside.
	ID string

	// KeyPair holds the chain, leaf first, and the leaf's private key. The chain is sent as it
	// stands here: for an enrollment group it must reach from the leaf up to, not including, the
	// enrolled signer. PrivateKey may be any
	// [crypto.Signer]: a TPM or HSM key needs no adapter.
	KeyPair tls.Certificate
}

var _ Attestation = X509{}

// RegistrationID returns ID or else the leaf's common name; "" when there is no readable leaf.
func (x X509) RegistrationID() string {
	if x.ID != "" {
		return x.ID
	}
	leaf, err := x.leaf()
	if err != nil {
		return ""
	}
	return leaf.Subject.CommonName
}

// Validate checks that there is a certificate and a key, that they belong together, and that the
// common name is the registration ID. The dates of the certificate are the service's to judge: the
// device's clock may be wrong.
func (x X509) Validate() error {
	leaf, err := x.leaf()
	if err != nil {
		return invalid(err)
	}
	signer, err := x.signer()
	if err != nil {
		return invalid(err)
	}
	// Every public key type of crypto/x509 has Equal.
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return invalid(fmt.Errorf(
			"x509: certificates with %v keys are not supported: use ecdsa, rsa or ed25519",
			leaf.PublicKeyAlgorithm,
		))
	}
	if !public.Equal(signer.Public()) {
		return invalid(
			errors.New("x509: the private key does not belong to the leaf certificate: " +
				"give the pair made together, leaf first in the chain"),
		)
	}
	name := leaf.Subject.CommonName
	switch {
	case name == "":
		return invalid(errors.New(
			"x509: the leaf certificate has no common name: it must be the registration id",
		))
	case len(name) > maxCommonName:
		return invalid(fmt.Errorf(
			"x509: the common name has %d characters: at most %d are allowed", len(name),
			maxCommonName,
		))
	case x.ID != "" && !strings.EqualFold(x.ID, name):
		return invalid(fmt.Errorf(
			"x509: registration id %q is not the certificate's common name %q: they must be equal",
			x.ID, name,
		))
	}
	if err := checkRegistrationID("x509: registration id", x.RegistrationID()); err != nil {
		return invalid(err)
	}
	return nil
}

// Certificate returns a copy of the pair.
func (x X509) Certificate(context.Context) (*tls.Certificate, error) {
	if _, err := x.leaf(); err != nil {
		return nil, invalid(err)
	}
	pair := x.KeyPair
	return &pair, nil
}

// Token returns "": a certificate needs no token.
func (x X509) Token(context.Context, string, time.Time) (string, error) { return "", nil }

// Fingerprint is a digest of the leaf certificate, so it changes with each renewal even if the key
// stays: a hub knows a device by its certificate's thumbprint.
func (x X509) Fingerprint(context.Context) (string, error) {
	leaf, err := x.leaf()
	if err != nil {
		return "", invalid(err)
	}
	digest := sha256.Sum256(leaf.Raw)
	return hex.EncodeToString(digest[:16]), nil
}

// Seal signs the data with the private key: ECDSA or RSA PKCS #1 v1.5 over SHA-256, or Ed25519.
func (x X509) Seal(_ context.Context, data []byte) ([]byte, error) {
	signer, err := x.signer()
	if err != nil {
		return nil, invalid(err)
	}
	message, opts := append([]byte(sealLabel), data...), crypto.Hash(0)
	if _, ok := signer.Public().(ed25519.PublicKey); !ok {
		digest := sha256.Sum256(message)
		message, opts = digest[:], crypto.SHA256
	}
	seal, err := signer.Sign(rand.Reader, message, opts)
	if err != nil {
		return nil, &Error{Op: "seal", Err: err}
	}
	return seal, nil
}

// Verify checks a seal with the leaf's public key.
func (x X509) Verify(_ context.Context, data, seal []byte) error {
	leaf, err := x.leaf()
	if err != nil {
		return invalid(err)
	}
	message := append([]byte(sealLabel), data...)
	digest := sha256.Sum256(message)
	var ok bool
	switch public := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(public, digest[:], seal)
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], seal) == nil
	case ed25519.PublicKey:
		ok = ed25519.Verify(public, message, seal)
	}
	if !ok {
		return &Error{Op: "verify", Err: errSeal}
	}
	return nil
}

// leaf parses what will be sent: KeyPair.Leaf may be unset, and is the caller's to set.
func (x X509) leaf() (*stdx509.Certificate, error) {
	if len(x.KeyPair.Certificate) == 0 {
		return nil, errors.New(
			"x509: there is no certificate: set the key pair's chain, leaf first",
		)
	}
	leaf, err := stdx509.ParseCertificate(x.KeyPair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("x509: the leaf certificate cannot be read: %w", err)
	}
	return leaf, nil
}

func (x X509) signer() (crypto.Signer, error) {
	if x.KeyPair.PrivateKey == nil {
		return nil, errors.New("x509: the certificate has no private key: set the key pair's " +
			"private key to a crypto.Signer")
	}
	signer, ok := x.KeyPair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf(
			"x509: the private key, a %T, cannot sign: it must be a crypto.Signer",
			x.KeyPair.PrivateKey,
		)
	}
	return signer, nil
}

// String names the device and not the key.
func (x X509) String() string {
	return fmt.Sprintf("x509 certificate of %q (key redacted)", x.RegistrationID())
}

// GoString is String.
func (x X509) GoString() string { return x.String() }

// Format writes String for every verb: without it %+v would print the private key's numbers.
func (x X509) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, x.String()) }

// LogValue is String.
func (x X509) LogValue() slog.Value { return slog.StringValue(x.String()) }

// MarshalJSON writes the ID alone.
func (x X509) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct{ ID string }{x.RegistrationID()})
}
