// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// issuerConfig is how certificates are issued.
type issuerConfig struct {
	DER            bool `json:"der"`            // elements of a chain, in place of PEM texts
	DocumentedKeys bool `json:"documentedKeys"` // P-384 alone
}

// policyNames are the names that enrollments use.
type policyNames struct {
	NamespaceName            string `json:"namespaceName"`
	CertificateAuthorityName string `json:"certificateAuthorityName"`
	CertificatePolicyName    string `json:"certificatePolicyName"`
}

// certificatePolicy is one that is more than its names.
type certificatePolicy struct {
	policyNames
	Validity simnet.Duration `json:"validity"` // 0: 30 days
}

// authorityNames name the authority of a policy, or of several.
type authorityNames struct {
	NamespaceName            string `json:"namespaceName"`
	CertificateAuthorityName string `json:"certificateAuthorityName"`
}

func (p policyNames) policy() hubtest.CertificatePolicy {
	return hubtest.CertificatePolicy{
		Namespace: p.NamespaceName, Authority: p.CertificateAuthorityName,
		Name: p.CertificatePolicyName,
	}
}

// setPolicies makes the certificate policies of the configuration, which go before restored ones.
func (s *simulator) setPolicies() error {
	for i, p := range s.config.CertificatePolicies {
		policy := p.policy()
		policy.Validity = time.Duration(p.Validity)
		if err := s.dps.Issuer().SetPolicy(policy); err != nil {
			return fmt.Errorf(
				"%s: certificatePolicies[%d]: %s", s.config.file, i,
				strings.TrimPrefix(err.Error(), "hubtest: "),
			)
		}
	}
	return nil
}

// checkCertificates finds what is wrong in the steps about certificates; hub checks the name of
// one.
func (s *step) checkCertificates(hub func(field, name string) error) error {
	switch {
	case s.RevokeDevice != nil:
		if s.RevokeDevice.DeviceID == "" {
			return errors.New("revokeDevice.deviceId: is missing: it is whose certificates end")
		}
		return hub("revokeDevice.hub", s.RevokeDevice.Hub)
	case s.SyncCredentials != "":
		return hub("syncCredentials", s.SyncCredentials)
	case s.RevokeAuthority != nil:
		if a := s.RevokeAuthority; a.NamespaceName == "" || a.CertificateAuthorityName == "" {
			return errors.New("revokeAuthority.namespaceName: name it and certificateAuthorityName")
		}
	case s.DeletePolicy != nil:
		if p := s.DeletePolicy; p.NamespaceName == "" || p.CertificateAuthorityName == "" ||
			p.CertificatePolicyName == "" {
			return errors.New("deletePolicy.namespaceName: name it, certificateAuthorityName and " +
				"certificatePolicyName")
		}
	}
	return nil
}

// certify fills in what one of these steps does.
func (s *simulator) certify(st *step, m *moment) {
	switch {
	case st.RevokeDevice != nil:
		at := st.RevokeDevice
		m.what = "revoke the certificates of " + at.DeviceID + " at " + at.Hub
		m.do = func() error {
			if !s.hub(at.Hub).RevokeCredentials(at.DeviceID) {
				return fmt.Errorf("there is no device %s at %s", at.DeviceID, at.Hub)
			}
			return nil
		}
	case st.RevokeAuthority != nil:
		a := st.RevokeAuthority
		name := a.NamespaceName + "/" + a.CertificateAuthorityName
		m.what = "revoke certificate authority " + name
		m.do = func() error {
			if !s.dps.Issuer().Revoke(a.NamespaceName, a.CertificateAuthorityName) {
				return fmt.Errorf("there is no certificate authority %s", name)
			}
			return nil
		}
	case st.DeletePolicy != nil:
		id := st.DeletePolicy.policy().ID()
		m.what = "delete certificate policy " + id
		m.do = func() error {
			if !s.dps.Issuer().DeletePolicy(id) {
				return fmt.Errorf("there is no certificate policy %s", id)
			}
			return nil
		}
	case st.SyncCredentials != "":
		m.what = "sync the certificate authorities of " + st.SyncCredentials
		m.do = func() error { s.hub(st.SyncCredentials).SyncCredentials(); return nil }
	}
}

// checkChain finds a fault of a chain that would never strike.
func (s *step) checkChain() error {
	switch {
	case s.DPS != nil && s.DPS.Chain != "" && s.DPS.On != "" && s.DPS.On != dpstest.Issue:
		return fmt.Errorf("dps.chain: there is one on issue alone, not on %s", s.DPS.On)
	case s.Hub != nil && s.Hub.Chain != "" && s.Hub.On != hubtest.IssueEnd:
		return fmt.Errorf("hub.chain: there is one on issueEnd alone, not on %s", s.Hub.On)
	case s.Hub != nil && s.Hub.RetryAfter != "" &&
		(s.Hub.On == hubtest.IssueStart || s.Hub.On == hubtest.IssueEnd):
		if n, err := strconv.Atoi(s.Hub.RetryAfter); err != nil || n < 1 {
			return fmt.Errorf(
				"hub.retryAfter: %q is not a whole number of seconds, as \"30\"", s.Hub.RetryAfter,
			)
		}
	}
	return nil
}
