package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/rehome-iot/rehome/provisioning/dps"
)

// credential is one of the ways to prove who the device is, by the flags it is made of.
type credential struct {
	flags []string
	make  func(*settings) (dps.Attestation, error)
}

var credentials = []credential{
	{flags: []string{"key"}, make: (*settings).symmetricKey},
	{flags: []string{"group-key"}, make: (*settings).derivedKey},
	{flags: []string{"cert", "cert-key"}, make: (*settings).certificate},
}

// attestation makes the one credential that was given. One given by flags goes before one in the
// environment.
func (s *settings) attestation() (dps.Attestation, error) {
	var chosen []credential
	byFlag := false
	for _, c := range credentials {
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
		return nil, fmt.Errorf(
			"there is no credential: give -key (or %s), -group-key, or -cert and -cert-key",
			envName("key"),
		)
	case 1:
		return chosen[0].make(s)
	}
	return nil, fmt.Errorf(
		"%s and %s are both given: keep one", s.originOf(chosen[0]), s.originOf(chosen[1]),
	)
}

func (s *settings) originOf(c credential) string {
	for _, name := range c.flags {
		if g, ok := s.given[name]; ok {
			return g.origin
		}
	}
	return "-" + c.flags[0]
}

// id is the registration ID that a device with a key needs.
func (s *settings) id() (string, error) {
	if s.registrationID == "" {
		return "", fmt.Errorf(
			"-registration-id is missing: give the id the device is enrolled with (or set %s)",
			envName("registration-id"),
		)
	}
	// Any valid group key will do, to hear about the ID alone.
	if _, err := dps.DeriveDeviceKey(strings.Repeat("A", 44), s.registrationID); err != nil {
		return "", s.wrong("registration-id", err)
	}
	return s.registrationID, nil
}

func (s *settings) symmetricKey() (dps.Attestation, error) {
	id, err := s.id()
	if err != nil {
		return nil, err
	}
	k := dps.SymmetricKey{ID: id, Key: s.key}
	if err := k.Validate(); err != nil {
		return nil, s.wrongSecret("key", err)
	}
	return k, nil
}

func (s *settings) derivedKey() (dps.Attestation, error) {
	id, err := s.id()
	if err != nil {
		return nil, err
	}
	key, err := dps.DeriveDeviceKey(s.groupKey, id)
	if err != nil {
		return nil, s.wrongSecret("group-key", err)
	}
	return dps.SymmetricKey{ID: id, Key: key}, nil
}

// wrongSecret repeats what the library says about a key: it never shows it.
func (s *settings) wrongSecret(name string, err error) error {
	if failure, ok := errors.AsType[*dps.Error](err); ok && failure.Err != nil {
		err = failure.Err
	}
	return fmt.Errorf("%s: %w", s.origin(name), err)
}

func (s *settings) certificate() (dps.Attestation, error) {
	switch {
	case s.certKey == "":
		return nil, fmt.Errorf("%s needs -cert-key: the file of its private key", s.origin("cert"))
	case s.cert == "":
		return nil, fmt.Errorf("%s needs -cert: the file of its certificate", s.origin("cert-key"))
	}
	chain, err := s.read("cert", s.cert)
	if err != nil {
		return nil, err
	}
	key, err := s.read("cert-key", s.certKey)
	if err != nil {
		return nil, err
	}
	// Each file alone first, so that the answer can name the one that is wrong.
	if leaf, err := firstCertificate(chain); err != nil {
		return nil, s.wrong("cert", fmt.Errorf("%q %w", s.cert, err))
	} else if s.registrationID != "" &&
		!strings.EqualFold(leaf.Subject.CommonName, s.registrationID) {
		return nil, s.wrong("registration-id", fmt.Errorf(
			"%q is not the common name of the certificate, %q: they must be equal, or leave it out",
			s.registrationID, leaf.Subject.CommonName,
		))
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, s.wrong(
			"cert-key",
			fmt.Errorf("%q is not the private key of the certificate, in pem and without a "+
				"password: give the pair made together", s.certKey),
		)
	}
	x := dps.X509{ID: s.registrationID, KeyPair: pair}
	if err := x.Validate(); err != nil {
		return nil, s.wrong("cert", err)
	}
	s.warnAboutReaders()
	return x, nil
}

// warnAboutReaders: a key that everybody may read is a bad place for a key, and no reason for a
// device to stop.
func (s *settings) warnAboutReaders() {
	if runtime.GOOS == "windows" {
		return // has no such permissions
	}
	if info, err := os.Stat(s.certKey); err == nil && info.Mode().Perm()&0o004 != 0 {
		s.warnings = append(s.warnings, fmt.Sprintf(
			"%s: everybody on this machine can read %q: chmod 600 it", s.origin("cert-key"),
			s.certKey,
		))
	}
}

// roots are the authorities to trust: the system's, and those of -ca. Nil is the system's.
func (s *settings) roots() (*x509.CertPool, error) {
	if s.ca == "" {
		return nil, nil
	}
	data, err := s.read("ca", s.ca)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a small image may have none of its own
	}
	if !roots.AppendCertsFromPEM(data) {
		return nil, s.wrong("ca", fmt.Errorf("%q has no certificate in it: it must be pem", s.ca))
	}
	return roots, nil
}
