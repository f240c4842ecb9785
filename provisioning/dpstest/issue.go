// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/internal/uuid"
)

// certificatePolicy is how an enrollment names the policy under which certificates are issued.
type certificatePolicy struct{ namespace, authority, policy, single string }

// policy is the one that is meant; ok is false where none is.
func (p certificatePolicy) resolve() (policy hubtest.CertificatePolicy, ok bool, err error) {
	switch named := p.namespace != "" || p.authority != "" || p.policy != ""; {
	case named && (p.namespace == "" || p.authority == "" || p.policy == ""):
		return policy, false, errors.New("namespaceName, certificateAuthorityName, " +
			"certificatePolicyName: all three, or none")
	case named:
		return hubtest.CertificatePolicy{
			Namespace: p.namespace, Authority: p.authority, Name: p.policy,
		}, true, nil
	case p.single != "":
		return hubtest.CertificatePolicy{
			Namespace: "default", Authority: "default", Name: p.single,
		}, true, nil
	}
	return policy, false, nil
}

// prepare makes the policy of an enrollment that is stored, where the issuer has none of its name.
func (s *Server) prepare(p certificatePolicy) error {
	policy, ok, err := p.resolve()
	if err != nil || !ok {
		return err
	}
	if _, known := s.issuer.Policy(policy.ID()); known {
		return nil
	}
	if err := s.issuer.SetPolicy(policy); err != nil {
		return fmt.Errorf("certificate policy %s: %w", policy.ID(), err)
	}
	return nil
}

// Issuer returns what issues certificates to devices. Its policies and authorities are those that
// enrollments name; change them there, as in
// Issuer().SetPolicy(hubtest.CertificatePolicy{…, Validity: time.Hour}).
func (s *Server) Issuer() *hubtest.Issuer { return s.issuer }

// checkRequest checks the certificate signing request of a registration, as far as that is done
// before the registration begins. It returns what is wrong.
func (s *Server) checkRequest(c *call) string {
	if !c.asksForCertificate {
		return ""
	}
	err := s.issuer.CheckRequest(c.csr, c.registrationID)
	if e, ok := errors.AsType[*hubtest.Error](err); ok {
		return e.Message
	}
	return ""
}

// issue issues the certificate that a registration asks for, and lets the identity at the hub be
// one of certificates. Where the enrollment has no policy there is no certificate, and no error,
// and where the device asks for none it proves itself at the hub as it does here.
func (s *Server) issue(
	c *call, dev attested, to *hubtest.Hub, at place,
) (hubtest.Device, []string, error) {
	policy, ok, _ := dev.issues.resolve() // checked when the enrollment was stored
	if !ok || !c.asksForCertificate {
		return dev.identity, nil, nil
	}
	id := s.credentialID(to, at)
	if id == "" {
		id = uuid.New()
	}
	f := s.faults.next(occasion{
		op: Issue, registrationID: c.registrationID, transport: c.transport,
	})
	if f == nil {
		f = new(Fault)
	}
	if f.Code != 0 {
		return dev.identity, nil, &allocationError{
			f.Code, cmp.Or(f.Message, "The certificate was not issued."),
		}
	}
	chain, err := s.issuer.IssueFaulty(f.Chain, policy.ID(), id, c.csr, c.registrationID)
	if e, ok := errors.AsType[*hubtest.Error](err); ok {
		return dev.identity, nil, &allocationError{e.Code, e.Message}
	}
	return hubtest.Device{CertificatePolicy: policy.ID(), CredentialID: id}, chain, err
}

// credentialID is what binds certificates to a device's identity: it goes with the device from hub
// to hub. "" for a device that no certificate was issued to.
func (s *Server) credentialID(to *hubtest.Hub, at place) string {
	if link := s.linked(at.hub); link != nil {
		if old, ok := link.Get(at.device); ok && old.CredentialID != "" {
			return old.CredentialID
		}
	}
	known, _ := to.Get(at.device)
	return known.CredentialID
}
