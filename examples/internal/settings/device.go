// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// Device turns the settings into a device. Whatever is wrong with them is found here, before any
// use of the network.
func (s *Settings) Device(log *slog.Logger) (*provisioning.Device, error) {
	if s.IDScope == "" {
		return nil, fmt.Errorf("-id-scope is missing: give the id scope of the dps instance, "+
			"from its overview page (or set %s)", s.EnvName("id-scope"))
	}
	attestation, err := s.attestation()
	if err != nil {
		return nil, err
	}
	second, err := s.secondAttestation(attestation)
	if err != nil {
		return nil, err
	}
	roots, err := s.Roots()
	if err != nil {
		return nil, err
	}
	dev := &provisioning.Device{
		IDScope: s.IDScope, Attestation: attestation, SecondAttestation: second,
		Endpoint: s.Endpoint, Transport: s.Transport, Stagger: s.Stagger,
		DialContext: s.Redirects.DialContext,
		TLSConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		Hub:         hubconn.Dialer{Transport: s.HubTransport}, Logger: log,
	}
	if s.CSR {
		dev.Issuance = &provisioning.Issuance{ReportValidity: true}
	}
	if s.Store != "" {
		dev.Store = cache.Dir(s.Store)
	}
	return dev, s.check(dev)
}

// check asks the library about the settings, one at a time, so that the answer can name the flag.
func (s *Settings) check(dev *provisioning.Device) error {
	client := dps.Client{IDScope: s.IDScope, Attestation: dev.Attestation}
	if err := client.Validate(); err != nil {
		return s.Wrong("id-scope", err)
	}
	client.Endpoint, client.Transport = s.Endpoint, s.Transport
	if err := client.Validate(); err != nil {
		return s.Wrong("endpoint", err)
	}
	if err := s.checkModule(); err != nil {
		return err
	}
	return s.checkStore()
}

// checkStore finds a store that can never work. One that is read-only or full is no reason to stop:
// the device goes on, and says so.
func (s *Settings) checkStore() error {
	if s.Store == "" {
		missing := "-store is missing: nothing is remembered, and every start asks dps"
		if s.CSR {
			missing += " for a certificate"
		}
		s.Warnings = append(s.Warnings, missing)
		return nil
	}
	info, err := os.Stat(s.Store)
	switch {
	case err == nil && !info.IsDir():
		return s.Wrong("store", fmt.Errorf("%q is a file: name a directory", s.Store))
	case errors.Is(err, os.ErrNotExist):
		parent, err := os.Stat(filepath.Dir(filepath.Clean(s.Store)))
		if err != nil || !parent.IsDir() {
			return s.Wrong("store", fmt.Errorf(
				"%q cannot be made: the directory it should be in does not exist", s.Store,
			))
		}
	case errors.Is(err, os.ErrPermission):
		program, _, _ := strings.Cut(s.program, " ")
		return s.Wrong("store", fmt.Errorf(
			"%q cannot be opened by this user: give it to the user that runs %s", s.Store, program,
		))
	}
	return nil
}
