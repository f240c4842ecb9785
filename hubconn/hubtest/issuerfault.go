// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A ChainFault is what is wrong with a certificate chain that an [Issuer] issues on demand. It is
// one of the constants, or "" for nothing. The hub and DPS know nothing of it: for them the device
// has been issued a certificate.
type ChainFault string

// What can be wrong with a chain.
const (
	// ChainMissing leaves the chain out of the response.
	ChainMissing ChainFault = "missing"
	// ChainOtherKey issues the certificate for a key that is not the one of the request.
	ChainOtherKey ChainFault = "otherKey"
	// ChainExpired issues a certificate whose time was over a minute ago.
	ChainExpired ChainFault = "expired"
	// ChainNotYetValid issues a certificate whose time begins in a day.
	ChainNotYetValid ChainFault = "notYetValid"
	// ChainGarbage has three elements that are base64, but of no certificate.
	ChainGarbage ChainFault = "garbage"
	// ChainNotBase64 has three elements that are not base64.
	ChainNotBase64 ChainFault = "notBase64"
	// ChainLong has seven certificates, where the official clients take six at most: the root comes
	// five times.
	ChainLong ChainFault = "sevenCertificates"
	// ChainHuge has a root of one megabyte, which is a certificate all the same.
	ChainHuge ChainFault = "oneMegabyte"
	// ChainDER writes each certificate as base64 of its DER, whatever the issuer's configuration.
	ChainDER ChainFault = "der"
	// ChainPEM writes each certificate as base64 of its PEM text, whatever the issuer's
	// configuration.
	ChainPEM ChainFault = "pem"
)

var chainFaults = []string{
	string(ChainMissing), string(ChainOtherKey), string(ChainExpired), string(ChainNotYetValid),
	string(ChainGarbage), string(ChainNotBase64), string(ChainLong), string(ChainHuge),
	string(ChainDER), string(ChainPEM),
}

// UnmarshalText reads the text of a fault. An unknown text is an error that lists the known ones.
func (f *ChainFault) UnmarshalText(text []byte) error {
	if len(text) > 0 && !slices.Contains(chainFaults, string(text)) {
		return fmt.Errorf("%q is unknown: use %s", text, strings.Join(chainFaults, ", "))
	}
	*f = ChainFault(text)
	return nil
}

// validity is the time of a certificate that is issued now under a policy. What the service does
// about clocks that differ is not published: it is backdated by five minutes.
func (f ChainFault) validity(now time.Time, d time.Duration) (from, to time.Time) {
	switch f {
	case ChainExpired:
		to = now.Add(-time.Minute)
		return to.Add(-d), to
	case ChainNotYetValid:
		from = now.AddDate(0, 0, 1)
		return from, from.Add(d)
	}
	return now.Add(-5 * time.Minute), now.Add(d)
}

// publicKey is the key that a certificate is issued for.
func (f ChainFault) publicKey(request *x509.CertificateRequest) (any, error) {
	if f != ChainOtherKey {
		return request.PublicKey, nil
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return other.Public(), nil
}

// chain makes the elements of a response from a certificate and the authority above it.
func (i *Issuer) chain(f ChainFault, leaf []byte, a *authority) ([]string, error) {
	root := a.root.Raw
	switch f {
	case ChainMissing:
		return nil, nil
	case ChainGarbage:
		text := base64.StdEncoding.EncodeToString([]byte("this is no certificate"))
		return []string{text, text, text}, nil
	case ChainNotBase64:
		return []string{"%", "%", "%"}, nil
	case ChainHuge:
		var err error
		if root, err = a.hugeRoot(i.network.Now()); err != nil {
			return nil, err
		}
	}
	ders := [][]byte{leaf, a.intermediate.Raw, root}
	if f == ChainLong {
		ders = append(ders, root, root, root, root)
	}
	chain := make([]string, len(ders))
	for n, der := range ders {
		chain[n] = encodeCertificate(der, f == ChainDER || i.cfg.DER && f != ChainPEM)
	}
	return chain, nil
}

// hugeRoot is the root with an extension of a megabyte, which nobody knows and nobody has to.
func (a *authority) hugeRoot(now time.Time) ([]byte, error) {
	root := caTemplate(a.root.Subject.CommonName, now, 2)
	root.ExtraExtensions = []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 25, 1}, Value: make([]byte, 1<<20)},
	}
	return x509.CreateCertificate(rand.Reader, root, root, a.rootKey.Public(), a.rootKey)
}
