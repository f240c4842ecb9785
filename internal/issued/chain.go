// SPDX-License-Identifier: Apache-2.0

package issued

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits on a chain: the official C client's on its length, and ours on the bytes of all texts.
const (
	maxCertificates = 6
	maxChain        = 64 << 10
)

// earlyBy is how much of a certificate's future is taken for a clock that is a little slow.
const earlyBy = 5 * time.Minute

// KeyPair checks the chain that was issued for a key, leaf first, and returns it ready for TLS with
// Leaf set. Each element is base64 of a certificate's DER, or of its PEM text as the service was
// seen to send it.
//
// A zero now leaves the dates alone. The leaf has to be of the key, with the name as its common
// name, letter case aside, valid at now, and for client authentication; each next certificate must
// have issued the one before it. A failure is one line that says what is wrong and what to do.
func KeyPair(
	chain []string, key crypto.Signer, name string, now time.Time,
) (tls.Certificate, error) {
	certificates, err := parse(chain)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := checkLeaf(certificates[0], key, name); err != nil {
		return tls.Certificate{}, err
	}
	pair := tls.Certificate{PrivateKey: key, Leaf: certificates[0]}
	for i, certificate := range certificates {
		where := place(i, len(certificates))
		if err := checkStrength(certificate); err != nil {
			return tls.Certificate{}, fmt.Errorf("%s %w", where, err)
		}
		if err := checkTime(certificate, now); err != nil {
			return tls.Certificate{}, fmt.Errorf("%s %w", where, err)
		}
		if i > 0 && !issued(certificate, certificates[i-1]) {
			return tls.Certificate{}, fmt.Errorf(
				"%s did not issue the one before it: the order is leaf, intermediate, root; "+
					"request another certificate", where,
			)
		}
		pair.Certificate = append(pair.Certificate, certificate.Raw)
	}
	return pair, nil
}

// parse decodes the elements.
func parse(chain []string) ([]*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, errors.New("it has no certificate: is there a certificate policy at the " +
			"enrollment?")
	}
	if len(chain) > maxCertificates {
		return nil, fmt.Errorf("it has %d certificates, at most %d are accepted: look at the "+
			"certificate policy of the enrollment", len(chain), maxCertificates)
	}
	size := 0
	for _, text := range chain {
		size += len(text)
	}
	if size > maxChain {
		return nil, fmt.Errorf("it has %d bytes, at most %d are accepted: look at the "+
			"certificate policy of the enrollment", size, maxChain)
	}
	var certificates []*x509.Certificate
	for i, text := range chain {
		certificate, err := parseOne(text)
		if err != nil {
			return nil, fmt.Errorf(
				"%s %w: request another certificate", place(i, len(chain)), err,
			)
		}
		certificates = append(certificates, certificate)
	}
	return certificates, nil
}

// parseOne never quotes what it cannot read.
func parseOne(text string) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(der) == 0 {
		return nil, errors.New("is not base64")
	}
	if trimmed := bytes.TrimSpace(der); bytes.HasPrefix(trimmed, []byte("-----BEGIN")) {
		block, rest := pem.Decode(trimmed)
		switch {
		case block == nil || block.Type != "CERTIFICATE":
			return nil, errors.New("is pem of something else than a certificate")
		case len(bytes.TrimSpace(rest)) > 0:
			return nil, errors.New("is pem of more than one certificate")
		}
		der = block.Bytes
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errors.New("is neither der nor pem of a certificate")
	}
	return certificate, nil
}

func place(i, n int) string { return fmt.Sprintf("certificate %d of %d", i+1, n) }

// checkLeaf checks that the certificate is for the device.
func checkLeaf(leaf *x509.Certificate, key crypto.Signer, name string) error {
	if key == nil {
		return errors.New("the key is missing: give the one that the request was made with")
	}
	// Every public key type of crypto/x509 has Equal.
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		return errors.New("the leaf is for another key: request a certificate with the key that " +
			"is in use")
	}
	common := leaf.Subject.CommonName
	// Of equal length they are equal in ASCII alone: the name is, and no letter outside ASCII that
	// folds into it has one byte.
	if len(common) != len(name) || !strings.EqualFold(common, name) {
		return fmt.Errorf("the leaf's common name %.64q is not %q: the request has to carry the "+
			"device's name", common, name)
	}
	if leaf.IsCA {
		return errors.New("the leaf is the certificate of an authority: request another " +
			"certificate")
	}
	// A certificate that names no use may be used for each (RFC 5280 §4.2.1.3, §4.2.1.12).
	client := len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) ||
		slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
	if !client || leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return errors.New("the leaf is not for client authentication: look at the certificate " +
			"policy of the enrollment")
	}
	return nil
}

// checkStrength refuses what no server would take, and what a device takes from no server.
func checkStrength(certificate *x509.Certificate) error {
	if key, ok := certificate.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minRSABits {
		return fmt.Errorf("has an rsa key of %d bits, at least %d are needed: use a longer key",
			key.N.BitLen(), minRSABits)
	}
	return nil
}

// ErrTime is in the tree of the error of a certificate that is not valid at the time: the clock may
// be wrong.
var ErrTime = errors.New("not valid at this time")

// timeError is ErrTime in words.
type timeError struct{ text string }

func (e *timeError) Error() string { return e.text }

func (e *timeError) Unwrap() error { return ErrTime }

func checkTime(certificate *x509.Certificate, now time.Time) error {
	from, until := certificate.NotBefore.UTC(), certificate.NotAfter.UTC()
	const advice = "check the clock, or request another certificate"
	switch {
	case now.IsZero():
	case now.Add(earlyBy).Before(from):
		return &timeError{fmt.Sprintf("is not valid before %s, and it is %s: %s",
			from.Format(time.RFC3339), now.UTC().Format(time.RFC3339), advice)}
	case now.After(until):
		return &timeError{fmt.Sprintf("expired at %s, and it is %s: %s",
			until.Format(time.RFC3339), now.UTC().Format(time.RFC3339), advice)}
	}
	return nil
}

// issued is whether a certificate is that of the issuer of another, and may issue it.
func issued(issuer, certificate *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, certificate.RawIssuer) &&
		certificate.CheckSignatureFrom(issuer) == nil
}
