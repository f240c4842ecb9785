// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/internal/sas"
)

// attested is what came of attesting a device: whose terms hold for it, and the credentials its
// identity at the hub gets. Its enrollment may still be disabled.
type attested struct {
	terms
	by       string         // attestation type
	identity hubtest.Device // credentials only

	// Of a device with a TPM: the challenge that is to be its answer, "" for none; and the key of
	// its identity at the hub, in base64, and wrapped for the TPM.
	challenge, hubKey, wrapped string
}

// attest checks the device that makes a call. On failure it returns the error code and message to
// answer with.
//
// An individual enrollment alone decides about its device. Otherwise a token is tried against the
// groups with keys, and a certificate against the groups with CAs (Azure docs: "How to disenroll or
// revoke device access").
func (s *Server) attest(c *call) (attested, int, string) {
	s.mu.Lock()
	individual := s.individuals[foldID(c.registrationID)]
	groups := make([]*EnrollmentGroup, 0, len(s.groups))
	for _, g := range s.groups {
		groups = append(groups, g)
	}
	s.mu.Unlock()
	// The order in which groups are searched is the server's own, but it must not change from call
	// to call.
	slices.SortFunc(groups, func(a, b *EnrollmentGroup) int {
		return strings.Compare(foldID(a.EnrollmentGroupID), foldID(b.EnrollmentGroupID))
	})

	switch {
	case individual != nil && individual.Attestation.Type == TypeSymmetricKey:
		return s.attestByKey(c, individual)
	case individual != nil && individual.Attestation.Type == TypeX509:
		return s.attestByCertificate(c, individual)
	case individual != nil:
		return s.attestByTPM(c, individual)
	case c.authorization != "":
		return s.attestByDerivedKey(c, groups)
	case len(c.chain) > 0:
		return s.attestByAuthority(c, groups)
	case c.tpm != nil:
		c.reason = "there is no enrollment of this registration ID"
		return attested{}, codeNoRegistration, ""
	}
	return s.unauthorized(c, "neither token nor client certificate")
}

// unauthorized is the response to a wrong or missing token, whose reason is for the log. The code
// differs by transport, as it was seen to.
func (s *Server) unauthorized(c *call, reason string) (attested, int, string) {
	c.reason = reason
	if c.transport == HTTPS {
		return attested{}, codeBadCertificate, "Unauthorized"
	}
	return attested{}, codeUnauthorized, "Unauthorized"
}

// token reads the call's token and checks all of it but the signature. It returns why it is no
// good.
func (s *Server) token(c *call) (signature *sas.Signature, problem string) {
	if c.authorization == "" {
		return nil, "there is no token, and the enrollment has a key"
	}
	signature, err := sas.Parse(c.authorization)
	if err != nil {
		return nil, err.Error()
	}
	// Escapes were undone by Parse, whatever their case, so only the resource itself is compared.
	if !strings.EqualFold(signature.Resource, c.scope+"/registrations/"+c.registrationID) {
		return nil, "the token is for another ID scope or registration ID"
	}
	if s.network.Now().After(signature.Expiry.Add(s.cfg.ClockSkew)) {
		return nil, "the token has expired: is the device's clock slow?"
	}
	return signature, ""
}

func (s *Server) attestByKey(c *call, e *IndividualEnrollment) (attested, int, string) {
	signature, problem := s.token(c)
	if signature == nil {
		return s.unauthorized(c, problem)
	}
	keys := e.Attestation.SymmetricKey
	if !verifies(signature, keys.PrimaryKey) && !verifies(signature, keys.SecondaryKey) {
		return s.unauthorized(
			c, "the token is signed with another key than the enrollment's primary and secondary",
		)
	}
	return attested{
		terms: e.terms(), by: TypeSymmetricKey,
		identity: hubtest.Device{PrimaryKey: keys.PrimaryKey, SecondaryKey: keys.SecondaryKey},
	}, 0, ""
}

func verifies(signature *sas.Signature, key string) bool {
	raw, err := base64.StdEncoding.DecodeString(key)
	return err == nil && signature.Verify(raw)
}

// attestByDerivedKey finds the group from whose key the device's is derived. The ID enters the
// derivation as the device writes it or in lower case: clients differ, and the service does not
// say.
func (s *Server) attestByDerivedKey(c *call, groups []*EnrollmentGroup) (attested, int, string) {
	signature, problem := s.token(c)
	if signature == nil {
		return s.unauthorized(c, problem)
	}
	reason := "there is no enrollment of this registration ID, and the token is signed with no " +
		"key that is derived from it and an enrollment group's"
	for _, g := range groups {
		if g.Attestation.Type != TypeSymmetricKey {
			continue
		}
		keys := g.Attestation.SymmetricKey
		if verifies(signature, keys.PrimaryKey) || verifies(signature, keys.SecondaryKey) {
			reason = "the token is signed with the enrollment group's own key: a device needs " +
				"the one that is derived from it and the registration ID"
		}
		for _, id := range []string{c.registrationID, foldID(c.registrationID)} {
			primary, secondary := deriveKey(keys.PrimaryKey, id), deriveKey(keys.SecondaryKey, id)
			if verifies(signature, primary) || verifies(signature, secondary) {
				return attested{
					terms: g.terms(), by: TypeSymmetricKey,
					identity: hubtest.Device{PrimaryKey: primary, SecondaryKey: secondary},
				}, 0, ""
			}
		}
	}
	if s.cfg.UnknownEnrollmentCode != 0 {
		c.reason = reason
		return attested{}, s.cfg.UnknownEnrollmentCode, ""
	}
	return s.unauthorized(c, reason)
}

func deriveKey(groupKey, registrationID string) string {
	raw, err := base64.StdEncoding.DecodeString(groupKey)
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(sas.DeriveKey(raw, registrationID))
}

func (s *Server) attestByCertificate(c *call, e *IndividualEnrollment) (attested, int, string) {
	if len(c.chain) == 0 {
		return c.badCertificate("there is no client certificate, and the enrollment has one")
	}
	if !named(c.chain[0], c.registrationID) {
		return c.badCertificate(otherName)
	}
	leaf, now := c.chain[0], s.network.Now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return c.badCertificate("the certificate has expired, or is not valid yet")
	}
	for _, enrolled := range e.Attestation.X509.ClientCertificates.all() {
		if bytes.Equal(enrolled.Raw, leaf.Raw) {
			return attested{terms: e.terms(), by: TypeX509, identity: hubtest.Device{
				PrimaryThumbprint: thumbprint(leaf),
			}}, 0, ""
		}
	}
	return c.badCertificate("the certificate is another than the enrollment's")
}

const otherName = "the certificate's common name is not the registration ID"

// badCertificate is the response to a certificate that does not fit, whose reason is for the log.
func (c *call) badCertificate(reason string) (attested, int, string) {
	c.reason = reason
	return attested{}, codeBadCertificate, ""
}

// attestByAuthority finds the group whose CA is nearest to the device's certificate. The enrolled
// CA itself need not be in the chain the device sent, but everything below it must be.
func (s *Server) attestByAuthority(c *call, groups []*EnrollmentGroup) (attested, int, string) {
	leaf := c.chain[0]
	if !named(leaf, c.registrationID) {
		return c.badCertificate(otherName)
	}
	var nearest *EnrollmentGroup
	length := 0
	for _, g := range groups {
		for _, ca := range s.signers(g) {
			if n := chainLength(c.chain, ca, s.network.Now()); n > 0 &&
				(nearest == nil || n < length) {
				nearest, length = g, n
			}
		}
	}
	if nearest == nil {
		return c.badCertificate("there is no enrollment of this registration ID, and the chain " +
			"leads to no enrollment group's authority, or is not valid now")
	}
	// Even under a group's CA, the hub knows the device by the thumbprint of its own certificate.
	return attested{terms: nearest.terms(), by: TypeX509, identity: hubtest.Device{
		PrimaryThumbprint: thumbprint(leaf),
	}}, 0, ""
}

// signers returns the CA certificates of a group.
func (s *Server) signers(g *EnrollmentGroup) []*x509.Certificate {
	if g.Attestation.Type != TypeX509 {
		return nil
	}
	refs := g.Attestation.X509.CAReferences
	if refs == nil {
		return g.Attestation.X509.SigningCertificates.all()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*x509.Certificate
	for _, name := range []string{refs.Primary, refs.Secondary} {
		if ca := s.authorities[name]; ca != nil {
			found = append(found, ca)
		}
	}
	return found
}

// chainLength returns how many certificates lead from the leaf to ca, both included, or 0 if none
// do.
func chainLength(sent []*x509.Certificate, ca *x509.Certificate, now time.Time) int {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(ca)
	for _, c := range sent[1:] {
		intermediates.AddCert(c)
	}
	chains, err := sent[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return 0
	}
	length := len(chains[0])
	for _, chain := range chains[1:] {
		length = min(length, len(chain))
	}
	return length
}

// named says whether a certificate's common name is the registration ID.
func named(leaf *x509.Certificate, registrationID string) bool {
	return strings.EqualFold(leaf.Subject.CommonName, registrationID)
}
