// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/rehome-iot/rehome/provisioning/dps"
)

// credential is one of the ways to prove who the device is, by the flags it is made of.
type credential struct {
	flags []string
	make  func(*Settings) (dps.Attestation, error)
}

// The credentials that there may be one of each.
var (
	credentials = []credential{
		{flags: []string{"key"}, make: (*Settings).symmetricKey},
		{flags: []string{"group-key"}, make: (*Settings).derivedKey},
		{flags: []string{"cert", "cert-key"}, make: (*Settings).certificate},
	}
	secondCredentials = []credential{
		{flags: []string{"second-key"}, make: (*Settings).secondaryKey},
		{flags: []string{"second-cert", "second-cert-key"}, make: (*Settings).secondCertificate},
	}
)

// attestation makes the one credential that was given.
func (s *Settings) attestation() (dps.Attestation, error) {
	chosen, err := s.choose(credentials)
	if err == nil && chosen == nil {
		err = fmt.Errorf(
			"there is no credential: give -key (or %s), -group-key, or -cert and -cert-key",
			s.EnvName("key"),
		)
	}
	if err != nil {
		return nil, err
	}
	return chosen.make(s)
}

// secondAttestation makes the second credential, nil if none was given.
func (s *Settings) secondAttestation(first dps.Attestation) (dps.Attestation, error) {
	chosen, err := s.choose(secondCredentials)
	if err != nil || chosen == nil {
		return nil, err
	}
	second, err := chosen.make(s)
	if err != nil {
		return nil, err
	}
	if id := second.RegistrationID(); !strings.EqualFold(id, first.RegistrationID()) {
		return nil, s.Wrong(chosen.flags[0], fmt.Errorf(
			"is of %q, and the first credential of %q: both must be of one enrollment", id,
			first.RegistrationID(),
		))
	}
	return second, nil
}

// choose returns the one that was given, nil if none was. One given by flags goes before one in the
// environment.
func (s *Settings) choose(from []credential) (*credential, error) {
	var chosen []credential
	byFlag := false
	for _, c := range from {
		present, flagged := false, false
		for _, name := range c.flags {
			g, ok := s.given[name]
			present, flagged = present || ok, flagged || g.byFlag
		}
		switch {
		case !present, byFlag && !flagged:
			continue
		case flagged && !byFlag:
			chosen, byFlag = nil, true
		}
		chosen = append(chosen, c)
	}
	switch len(chosen) {
	case 0:
		return nil, nil
	case 1:
		return &chosen[0], nil
	}
	return nil, fmt.Errorf(
		"%s and %s are both given: keep one", s.originOf(chosen[0]), s.originOf(chosen[1]),
	)
}

func (s *Settings) originOf(c credential) string {
	for _, name := range c.flags {
		if g, ok := s.given[name]; ok {
			return g.origin
		}
	}
	return "-" + c.flags[0]
}

// id is the registration ID that a device with a key needs.
func (s *Settings) id() (string, error) {
	if s.RegistrationID == "" {
		return "", fmt.Errorf(
			"-registration-id is missing: give the id the device is enrolled with (or set %s)",
			s.EnvName("registration-id"),
		)
	}
	// Any valid group key will do, to hear about the ID alone.
	if _, err := dps.DeriveDeviceKey(strings.Repeat("A", 44), s.RegistrationID); err != nil {
		return "", s.Wrong("registration-id", err)
	}
	return s.RegistrationID, nil
}

func (s *Settings) symmetricKey() (dps.Attestation, error) { return s.keyOf("key", s.Key) }

func (s *Settings) secondaryKey() (dps.Attestation, error) {
	return s.keyOf("second-key", s.SecondKey)
}

func (s *Settings) keyOf(name, key string) (dps.Attestation, error) {
	id, err := s.id()
	if err != nil {
		return nil, err
	}
	k := dps.SymmetricKey{ID: id, Key: key}
	if err := k.Validate(); err != nil {
		return nil, s.wrongSecret(name, err)
	}
	return k, nil
}

func (s *Settings) derivedKey() (dps.Attestation, error) {
	key, err := s.DerivedKey()
	if err != nil {
		return nil, err
	}
	return dps.SymmetricKey{ID: s.RegistrationID, Key: key}, nil
}

// DerivedKey is the device's key, from that of its enrollment group.
func (s *Settings) DerivedKey() (string, error) {
	id, err := s.id()
	if err != nil {
		return "", err
	}
	key, err := dps.DeriveDeviceKey(s.GroupKey, id)
	if err != nil {
		return "", s.wrongSecret("group-key", err)
	}
	return key, nil
}

// wrongSecret repeats what the library says about a key: it never shows it.
func (s *Settings) wrongSecret(name string, err error) error {
	if failure, ok := errors.AsType[*dps.Error](err); ok && failure.Err != nil {
		err = failure.Err
	}
	return fmt.Errorf("%s: %w", s.origin(name), err)
}

func (s *Settings) certificate() (dps.Attestation, error) {
	return s.certificateIn("cert", s.Cert, "cert-key", s.CertKey)
}

func (s *Settings) secondCertificate() (dps.Attestation, error) {
	return s.certificateIn("second-cert", s.SecondCert, "second-cert-key", s.SecondCertKey)
}

// certificateIn is a certificate and its key in files, which are read again when they change.
func (s *Settings) certificateIn(
	certName, certFile, keyName, keyFile string,
) (dps.Attestation, error) {
	switch {
	case keyFile == "":
		return nil, fmt.Errorf(
			"%s needs -%s: the file of its private key", s.origin(certName), keyName,
		)
	case certFile == "":
		return nil, fmt.Errorf(
			"%s needs -%s: the file of its certificate", s.origin(keyName), certName,
		)
	}
	chain, err := s.read(certName, certFile)
	if err != nil {
		return nil, err
	}
	key, err := s.read(keyName, keyFile)
	if err != nil {
		return nil, err
	}
	// Each file alone first, so that the answer can name the one that is wrong.
	if leaf, err := firstCertificate(chain); err != nil {
		return nil, s.Wrong(certName, fmt.Errorf("%q %w", certFile, err))
	} else if s.RegistrationID != "" &&
		!strings.EqualFold(leaf.Subject.CommonName, s.RegistrationID) {
		return nil, s.Wrong("registration-id", fmt.Errorf(
			"%q is not the common name of the certificate, %q: they must be equal, or leave it out",
			s.RegistrationID, leaf.Subject.CommonName,
		))
	}
	if _, err := tls.X509KeyPair(chain, key); err != nil {
		return nil, s.Wrong(
			keyName,
			fmt.Errorf("%q is not the private key of the certificate, in pem and without a "+
				"password: give the pair made together", keyFile),
		)
	}
	x := &dps.X509Files{
		ID: s.RegistrationID, CertificateFile: certFile, KeyFile: keyFile, Interval: filesCheck,
	}
	if err := x.Validate(); err != nil {
		wrong := certName
		if strings.Contains(err.Error(), "key file") {
			wrong = keyName
		}
		return nil, s.Wrong(wrong, err)
	}
	return x, nil
}

// Roots are the authorities to trust: the system's, and those of -ca. Nil is the system's.
func (s *Settings) Roots() (*x509.CertPool, error) {
	if s.CA == "" {
		return nil, nil
	}
	data, err := s.read("ca", s.CA)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a small image may have none of its own
	}
	if !roots.AppendCertsFromPEM(data) {
		return nil, s.Wrong("ca", fmt.Errorf("%q has no certificate in it: it must be pem", s.CA))
	}
	return roots, nil
}
