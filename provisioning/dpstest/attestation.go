// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"cmp"
	"crypto/rand"
	"crypto/sha1" // the service names certificates by their SHA-1 thumbprint
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
)

// Values of Attestation.Type.
const (
	// TypeSymmetricKey is attestation by a SAS token that is signed with a shared key.
	TypeSymmetricKey = "symmetricKey"
	// TypeX509 is attestation by a client certificate.
	TypeX509 = "x509"
	// TypeTPM is attestation by a trusted platform module, of individual enrollments and over HTTPS
	// alone.
	TypeTPM = "tpm"
	// TypeNone is what the service API calls no attestation. No enrollment can have it.
	TypeNone = "none"
)

// An Attestation says how a device proves who it is. Its JSON form is the service API's own.
type Attestation struct {
	// Type is "symmetricKey", "x509" or "tpm". Default: whichever member is set, else
	// "symmetricKey".
	Type string `json:"type"`
	// SymmetricKey is set for TypeSymmetricKey. Nil: its keys are generated.
	SymmetricKey *SymmetricKey `json:"symmetricKey,omitempty"`
	// X509 is set for TypeX509.
	X509 *X509 `json:"x509,omitempty"`
	// TPM is set for TypeTPM.
	TPM *TPM `json:"tpm,omitempty"`
}

// A SymmetricKey is a pair of keys, base64 of 16 to 64 bytes; either attests the device. In a group
// they are the keys devices' keys are derived from. Empty keys are generated.
type SymmetricKey struct {
	// PrimaryKey is base64 of 16 to 64 bytes. "": one is generated.
	PrimaryKey string `json:"primaryKey,omitempty"`
	// SecondaryKey counts as PrimaryKey does, so that keys can be changed one after the other.
	SecondaryKey string `json:"secondaryKey,omitempty"`
}

// X509 is the certificates that attest a device. Individual enrollments have ClientCertificates;
// groups have SigningCertificates or CAReferences.
type X509 struct {
	// ClientCertificates are the device's own certificates, of an individual enrollment.
	ClientCertificates *Certificates `json:"clientCertificates,omitempty"`
	// SigningCertificates are CA certificates, of a group: they must be in the chain of the
	// device's certificate.
	SigningCertificates *Certificates `json:"signingCertificates,omitempty"`
	// CAReferences are CA certificates by name, of a group. They go before SigningCertificates.
	CAReferences *CAReferences `json:"caReferences,omitempty"`
}

// Certificates is a pair of certificates; either counts.
type Certificates struct {
	// Primary is one of the two, and must be there.
	Primary *Certificate `json:"primary,omitempty"`
	// Secondary is the other; nil for none.
	Secondary *Certificate `json:"secondary,omitempty"`
}

// A Certificate is a certificate as base64 DER, or as PEM.
type Certificate struct {
	// Certificate is the base64 of its DER, its PEM, or the base64 of its PEM.
	Certificate string `json:"certificate,omitempty"`
	// Info describes the certificate. The server fills it in.
	Info *CertificateInfo `json:"info,omitempty"`
}

// CertificateInfo describes a certificate.
type CertificateInfo struct {
	// SubjectName is the distinguished name of the subject.
	SubjectName string `json:"subjectName"`
	// SHA1Thumbprint is the SHA-1 digest in upper-case hexadecimal.
	SHA1Thumbprint string `json:"sha1Thumbprint"`
	// SHA256Thumbprint is the SHA-256 digest in upper-case hexadecimal.
	SHA256Thumbprint string `json:"sha256Thumbprint"`
	// IssuerName is the distinguished name of the issuer.
	IssuerName string `json:"issuerName"`
	// NotBeforeUTC is the beginning of the certificate's validity.
	NotBeforeUTC Timestamp `json:"notBeforeUtc"`
	// NotAfterUTC is the end of the certificate's validity.
	NotAfterUTC Timestamp `json:"notAfterUtc"`
	// SerialNumber is in upper-case hexadecimal.
	SerialNumber string `json:"serialNumber"`
	// Version is that of X.509: 3 for all but old certificates.
	Version int `json:"version"`
}

// CAReferences names CA certificates known to the server, see [Server.AddCA].
type CAReferences struct {
	// Primary is the name of one of the two, and must be there.
	Primary string `json:"primary,omitempty"`
	// Secondary is the name of the other; "" for none.
	Secondary string `json:"secondary,omitempty"`
}

// TPM is the public part of a trusted platform module.
type TPM struct {
	// EndorsementKey is base64 of the public endorsement key (TPM2B_PUBLIC), and must be there. One
	// that is not RSA of the TCG's default template can be enrolled, and lets no device register.
	EndorsementKey string `json:"endorsementKey"`
	// StorageRootKey is base64 of the public storage root key; "" for none. It is not looked at: a
	// device tells its own when it registers.
	StorageRootKey string `json:"storageRootKey,omitempty"`
}

// Keys is the attestation by symmetric key. An empty key is generated when the enrollment is
// stored; read it back with [Server.Enrollment] or [Server.Group].
func Keys(primary, secondary string) Attestation {
	return Attestation{Type: TypeSymmetricKey, SymmetricKey: &SymmetricKey{
		PrimaryKey: primary, SecondaryKey: secondary,
	}}
}

// ClientCertificates is the attestation of an individual enrollment by the device's own
// certificate, which may be self-signed. The second certificate may be nil.
func ClientCertificates(primary, secondary *x509.Certificate) Attestation {
	return Attestation{
		Type: TypeX509, X509: &X509{ClientCertificates: certificatePair(primary, secondary)},
	}
}

// SigningCertificates is the attestation of a group by a root or intermediate CA. The second
// certificate may be nil.
func SigningCertificates(primary, secondary *x509.Certificate) Attestation {
	return Attestation{
		Type: TypeX509, X509: &X509{SigningCertificates: certificatePair(primary, secondary)},
	}
}

func certificatePair(primary, secondary *x509.Certificate) *Certificates {
	one := func(c *x509.Certificate) *Certificate {
		if c == nil {
			return nil
		}
		return &Certificate{Certificate: base64.StdEncoding.EncodeToString(c.Raw)}
	}
	return &Certificates{Primary: one(primary), Secondary: one(secondary)}
}

// normalize checks an attestation, completes it, and returns a copy that shares nothing with the
// caller's.
func (a Attestation) normalize(group bool) (Attestation, error) {
	if a.Type == "" {
		switch {
		case a.X509 != nil:
			a.Type = TypeX509
		case a.TPM != nil:
			a.Type = TypeTPM
		default:
			a.Type = TypeSymmetricKey
		}
	}
	switch a.Type {
	case TypeSymmetricKey:
		var keys SymmetricKey
		if a.SymmetricKey != nil {
			keys = *a.SymmetricKey
		}
		for name, key := range map[string]*string{
			"primaryKey": &keys.PrimaryKey, "secondaryKey": &keys.SecondaryKey,
		} {
			if *key == "" {
				*key = newKey()
				continue
			}
			raw, err := base64.StdEncoding.DecodeString(*key)
			if err != nil {
				return a, fmt.Errorf("attestation.symmetricKey.%s: not base64", name)
			}
			if len(raw) < 16 || len(raw) > 64 {
				return a, fmt.Errorf(
					"attestation.symmetricKey.%s: %d bytes, want 16 to 64", name, len(raw),
				)
			}
		}
		a.SymmetricKey = &keys
		a.X509, a.TPM = nil, nil
	case TypeX509:
		x, err := a.X509.normalize(group)
		if err != nil {
			return a, err
		}
		a.X509 = x
		a.SymmetricKey, a.TPM = nil, nil
	case TypeTPM:
		if group {
			return a, fmt.Errorf("attestation.type: a group cannot be attested by tpm")
		}
		if a.TPM == nil || a.TPM.EndorsementKey == "" {
			return a, fmt.Errorf("attestation.tpm.endorsementKey: missing")
		}
		tpm := *a.TPM
		a.TPM = &tpm
		a.SymmetricKey, a.X509 = nil, nil
	default:
		return a, fmt.Errorf("attestation.type: %q is not symmetricKey, x509 or tpm", a.Type)
	}
	return a, nil
}

func (x *X509) normalize(group bool) (*X509, error) {
	if x == nil {
		return nil, fmt.Errorf("attestation.x509: missing")
	}
	if !group {
		if x.ClientCertificates == nil || x.ClientCertificates.Primary == nil {
			return nil, fmt.Errorf("attestation.x509.clientCertificates.primary: missing")
		}
		pair, err := x.ClientCertificates.normalize("attestation.x509.clientCertificates")
		return &X509{ClientCertificates: pair}, err
	}
	if x.CAReferences != nil && x.CAReferences.Primary != "" {
		refs := *x.CAReferences
		return &X509{CAReferences: &refs}, nil
	}
	if x.SigningCertificates == nil || x.SigningCertificates.Primary == nil {
		return nil, fmt.Errorf("attestation.x509.signingCertificates.primary: missing")
	}
	pair, err := x.SigningCertificates.normalize("attestation.x509.signingCertificates")
	return &X509{SigningCertificates: pair}, err
}

func (c *Certificates) normalize(field string) (*Certificates, error) {
	one := func(name string, c *Certificate) (*Certificate, error) {
		if c == nil || c.Certificate == "" {
			return nil, nil
		}
		parsed, err := parseCertificate(c.Certificate)
		if err != nil {
			return nil, fmt.Errorf("%s.%s.certificate: %w", field, name, err)
		}
		info := describe(parsed)
		return &Certificate{
			Certificate: base64.StdEncoding.EncodeToString(parsed.Raw), Info: &info,
		}, nil
	}
	var pair Certificates
	var err error
	if pair.Primary, err = one("primary", c.Primary); err != nil {
		return nil, err
	}
	if pair.Secondary, err = one("secondary", c.Secondary); err != nil {
		return nil, err
	}
	if pair.Primary == nil {
		return nil, fmt.Errorf("%s.primary: missing", field)
	}
	return &pair, nil
}

// all returns the pair's certificates, parsed. They were checked when the enrollment was stored.
func (c *Certificates) all() []*x509.Certificate {
	if c == nil {
		return nil
	}
	var parsed []*x509.Certificate
	for _, one := range []*Certificate{c.Primary, c.Secondary} {
		if one == nil {
			continue
		}
		if p, err := parseCertificate(one.Certificate); err == nil {
			parsed = append(parsed, p)
		}
	}
	return parsed
}

// parseCertificate reads PEM, base64 DER, or PEM that was base64-encoded once more, as the service
// API accepts them.
func parseCertificate(text string) (*x509.Certificate, error) {
	for range 2 {
		if block, _ := pem.Decode([]byte(text)); block != nil {
			return x509.ParseCertificate(block.Bytes)
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("neither PEM nor base64")
		}
		if c, err := x509.ParseCertificate(raw); err == nil {
			return c, nil
		}
		text = string(raw)
	}
	return nil, fmt.Errorf("not a certificate")
}

func describe(c *x509.Certificate) CertificateInfo {
	sha256Sum := sha256.Sum256(c.Raw)
	return CertificateInfo{
		SubjectName:      c.Subject.String(),
		SHA1Thumbprint:   thumbprint(c),
		SHA256Thumbprint: strings.ToUpper(hex.EncodeToString(sha256Sum[:])),
		IssuerName:       c.Issuer.String(),
		NotBeforeUTC:     Timestamp{c.NotBefore},
		NotAfterUTC:      Timestamp{c.NotAfter},
		SerialNumber:     strings.ToUpper(c.SerialNumber.Text(16)),
		Version:          c.Version,
	}
}

// thumbprint is how the hub's registry names a certificate: SHA-1, upper-case hex.
func thumbprint(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// newKey makes a key as the service does: 64 random bytes.
func newKey() string {
	raw := make([]byte, 64)
	_, _ = rand.Read(raw) // never fails
	return base64.StdEncoding.EncodeToString(raw)
}

// redacted is an attestation without its keys and certificates, as everybody sees it but those who
// read the attestation mechanism.
func (a Attestation) redacted() Attestation {
	a.SymmetricKey = nil
	if a.X509 != nil {
		a.X509 = &X509{
			ClientCertificates:  a.X509.ClientCertificates.redacted(),
			SigningCertificates: a.X509.SigningCertificates.redacted(),
			CAReferences:        a.X509.CAReferences,
		}
	}
	return a
}

func (c *Certificates) redacted() *Certificates {
	if c == nil {
		return nil
	}
	one := func(c *Certificate) *Certificate {
		if c == nil {
			return nil
		}
		return &Certificate{Info: c.Info}
	}
	return &Certificates{Primary: one(c.Primary), Secondary: one(c.Secondary)}
}

// redacted is an enrollment without its keys and certificates.
func (e *IndividualEnrollment) redacted() IndividualEnrollment {
	c := *e
	c.Attestation = e.Attestation.redacted()
	return c
}

func (g *EnrollmentGroup) redacted() EnrollmentGroup {
	c := *g
	c.Attestation = g.Attestation.redacted()
	return c
}

// withSecretsOf completes an attestation that was read without its secrets and is now written back:
// keys and certificates that it leaves out are those of the attestation it replaces.
func (a Attestation) withSecretsOf(old Attestation) Attestation {
	switch {
	case a.Type == TypeSymmetricKey && old.Type == TypeSymmetricKey:
		var keys SymmetricKey
		if a.SymmetricKey != nil {
			keys = *a.SymmetricKey
		}
		keys.PrimaryKey = cmp.Or(keys.PrimaryKey, old.SymmetricKey.PrimaryKey)
		keys.SecondaryKey = cmp.Or(keys.SecondaryKey, old.SymmetricKey.SecondaryKey)
		a.SymmetricKey = &keys
	case a.Type == TypeX509 && old.Type == TypeX509 && a.X509 != nil:
		x := *a.X509
		x.ClientCertificates = x.ClientCertificates.withSecretsOf(old.X509.ClientCertificates)
		x.SigningCertificates = x.SigningCertificates.withSecretsOf(old.X509.SigningCertificates)
		a.X509 = &x
	}
	return a
}

func (c *Certificates) withSecretsOf(old *Certificates) *Certificates {
	if c == nil || old == nil {
		return c
	}
	one := func(c, old *Certificate) *Certificate {
		if c != nil && c.Certificate == "" && c.Info != nil && old != nil &&
			c.Info.SHA256Thumbprint == old.Info.SHA256Thumbprint {
			return old
		}
		return c
	}
	return &Certificates{
		Primary: one(c.Primary, old.Primary), Secondary: one(c.Secondary, old.Secondary),
	}
}
