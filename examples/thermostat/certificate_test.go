// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// lifetime is what -status tells of a certificate.
type lifetime struct {
	Credential  string
	Certificate *struct {
		ValidFrom, ValidUntil, NextRenewal time.Time
		Accepted                           bool
		LastFailure                        string
	}
}

// status looks into a store, with no program that uses it.
func (s *site) status(t *testing.T, args []string, code int) (got lifetime) {
	t.Helper()
	p := launch(t, append(args, "-status"))
	require.Equal(t, code, p.wait(patience), p.Stderr())
	require.NoError(t, json.Unmarshal([]byte(p.Stdout.String()), &got), p.Stdout.String())
	return got
}

// inUse is the log's line about the credential that a hub has accepted.
func inUse(credential string) func(record) bool {
	return func(r record) bool {
		return r.Msg == "credential in use" && r.Credential == credential
	}
}

func TestAnIssuedCertificateIsUsedReportedAndToldByStatus(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	policy := hubtest.CertificatePolicy{Namespace: "fleet", Authority: "ica", Name: "short"}
	require.NoError(t, s.dps.Issuer().SetPolicy(policy))
	require.NoError(t, s.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "board", Attestation: dpstest.Keys(canaryKey, ""), IoTHubs: []string{hubA},
		AllocationPolicy: dpstest.PolicyStatic, NamespaceName: policy.Namespace,
		CertificateAuthorityName: policy.Authority, CertificatePolicyName: policy.Name,
	}))
	args := append(s.keyFlags("board"), "-csr")
	before := s.status(t, args, 1)
	assert.Equal(t, "attestation", before.Credential)
	assert.Nil(t, before.Certificate)

	p := launch(t, args)
	p.await("the certificate is in use", 0, inUse("issued certificate"))
	eventually(t, "the twin shows how long it is valid", func() bool {
		return reported(s.a, "certificate") != nil
	})
	p.stop()
	device, _ := s.a.Get("board")
	assert.Empty(t, device.PrimaryKey, "the hub knows the device by its certificate alone")

	asked := s.dps.Count()
	got := s.status(t, args, 3)
	assert.Equal(t, "issued certificate", got.Credential)
	require.NotNil(t, got.Certificate)
	c := *got.Certificate
	assert.True(t, c.Accepted)
	assert.Empty(t, c.LastFailure)
	life := c.ValidUntil.Sub(c.ValidFrom)
	assert.True(t, c.NextRenewal.After(c.ValidFrom.Add(life*6/10-time.Second)), c)
	assert.True(t, c.NextRenewal.Before(c.ValidFrom.Add(life*8/10+time.Second)), c)
	told, _ := reported(s.a, "certificate").(map[string]any)
	assert.Equal(t, c.ValidUntil.Format(time.RFC3339), told["validUntil"])
	files, err := filepath.Glob(filepath.Join(s.dir, "store-board", "board*issued*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	stored, err := os.ReadFile(files[0])
	require.NoError(t, err)
	assert.NotContains(t, string(stored), `"pairs"`, "what is stored is encrypted")

	again := launch(t, args)
	again.await("the certificate is in use", 0, inUse("issued certificate"))
	again.stop()
	assert.Equal(t, asked, s.dps.Count(), "DPS is asked for nothing")
}

func TestAnEnrollmentWithoutAPolicyIsToldByStatus(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	args := append(s.keyFlags("board"), "-csr")
	p := launch(t, args)
	p.await("the key is in use", 0, inUse("attestation"))
	p.stop()
	got := s.status(t, args, 3)
	assert.Equal(t, "attestation", got.Credential)
	require.NotNil(t, got.Certificate)
	assert.Contains(t, got.Certificate.LastFailure, "no certificate policy")
}

func TestTheSecondCredentialServesWhereTheFirstIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	require.NoError(t, s.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "board", Attestation: dpstest.Keys(canaryNewKey, canaryGroupKey),
		IoTHubs: []string{hubA}, AllocationPolicy: dpstest.PolicyStatic,
	}))
	p := launch(t, s.keyFlags("board"), "THERMOSTAT_SECOND_KEY="+canaryGroupKey)
	p.await("the second key is in use", 0, inUse("second attestation"))
	eventually(t, "it sends", func() bool { return len(messages(s.a, "board")) > 0 })
	p.stop()
}

// trusts has DPS admit what its own authority has issued to devices.
func (s *site) trusts(t *testing.T) {
	t.Helper()
	require.NoError(t, s.dps.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "fleet", IoTHubs: []string{hubA}, AllocationPolicy: dpstest.PolicyStatic,
		Attestation: dpstest.SigningCertificates(s.network.CA().Certificate(), nil),
	}))
}

func TestRenewedFilesAreTakenUpWithoutARestart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trusts(t)
	cert, key := s.pemFiles(t, "board", s.network.CA().Device("board"), 0o600)
	args := append(
		s.flags(), "-cert", cert, "-cert-key", key, "-store", filepath.Join(s.dir, "store"),
	)
	p := launch(t, args)
	p.await("connected", 0, state("connected"))
	first, _ := s.a.Get("board")
	require.NoError(t, os.WriteFile(key, []byte("half of a key"), 0o600))
	p.await("a warning about the files", 0, func(r record) bool {
		return r.Level == "WARN" && strings.Contains(r.Msg, "certificate files not used")
	})
	require.True(t, s.a.Connected("board"))

	s.pemFiles(t, "board", s.network.CA().Device("board"), 0o600)
	p.await("the new pair is taken up", 0, func(r record) bool {
		return strings.Contains(r.Msg, "attestation changed")
	})
	eventually(t, "the hub knows the device by the new certificate", func() bool {
		now, _ := s.a.Get("board")
		return now.PrimaryThumbprint != first.PrimaryThumbprint
	})
	sent := len(messages(s.a, "board"))
	eventually(t, "it goes on sending", func() bool { return len(messages(s.a, "board")) > sent+5 })
	p.stop()

	got := s.status(t, args, 3)
	assert.Equal(t, "attestation", got.Credential)
	require.NotNil(t, got.Certificate)
	assert.True(t, got.Certificate.ValidUntil.After(time.Now()))
}

func TestAKeyFileForEverybodyIsRefused(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		return // has no such permissions
	}
	s := newSite(t)
	cert, key := s.pemFiles(t, "board", s.network.CA().Device("board"), 0o644)
	for flag, args := range map[string][]string{
		"-cert-key": {"-cert", cert, "-cert-key", key},
		"-second-cert-key": {
			"-registration-id", "board", "-key", canaryKey, "-second-cert", cert,
			"-second-cert-key", key,
		},
	} {
		p := launch(t, append(s.flags(), args...))
		assert.Equal(t, 2, p.wait(patience))
		assert.Contains(t, p.Stderr(), "thermostat: "+flag+": ")
		assert.Contains(t, p.Stderr(), key)
		assert.Contains(t, p.Stderr(), "chmod 600")
		assert.NotContains(t, p.Stderr(), "\n")
	}
}
