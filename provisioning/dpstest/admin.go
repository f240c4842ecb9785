// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// A precondition is what must be true of an enrollment or a record for it to be changed: nil is
// always true. It returns the error code of a refusal, or 0.
type precondition func(exists bool, etag string) int

// refusedError is a change that a precondition refused.
type refusedError struct{ code int }

func (e *refusedError) Error() string {
	return strings.ToLower(strings.TrimSuffix(messages[e.code], "."))
}

func (p precondition) check(exists bool, etag string) error {
	if p == nil {
		return nil
	}
	if code := p(exists, etag); code != 0 {
		return &refusedError{code}
	}
	return nil
}

// Enroll stores an individual enrollment, in place of an earlier one for the same registration ID.
// What it changes takes effect when the device registers the next time. The error names the field
// that is wrong.
func (s *Server) Enroll(e IndividualEnrollment) error {
	_, err := s.enroll(e, nil)
	return err
}

func (s *Server) enroll(
	e IndividualEnrollment, allowed precondition,
) (IndividualEnrollment, error) {
	if !validID(e.RegistrationID) {
		return e, fmt.Errorf(
			"dpstest: registrationId: %q is not a registration ID", e.RegistrationID,
		)
	}
	attestation, err := e.Attestation.normalize(false)
	if err != nil {
		return e, fmt.Errorf("dpstest: enrollment %s: %w", e.RegistrationID, err)
	}
	if err := s.checkTerms(&e.ProvisioningStatus, e.terms()); err != nil {
		return e, fmt.Errorf("dpstest: enrollment %s: %w", e.RegistrationID, err)
	}
	e.Attestation = attestation
	e.IoTHubs = append([]string(nil), e.IoTHubs...)
	e.RegistrationState = nil
	now := Timestamp{s.network.Now()}
	e.CreatedDateTimeUTC, e.LastUpdatedDateTimeUTC = &now, &now

	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.individuals[foldID(e.RegistrationID)]
	if old != nil {
		e.CreatedDateTimeUTC, e.ETag = old.CreatedDateTimeUTC, old.ETag
	}
	if err := allowed.check(old != nil, e.ETag); err != nil {
		return e, err
	}
	e.ETag = newETag()
	s.individuals[foldID(e.RegistrationID)] = &e
	return s.withRecord(e), nil
}

// EnrollGroup stores an enrollment group, in place of an earlier one of the same ID.
func (s *Server) EnrollGroup(g EnrollmentGroup) error {
	_, err := s.enrollGroup(g, nil)
	return err
}

func (s *Server) enrollGroup(g EnrollmentGroup, allowed precondition) (EnrollmentGroup, error) {
	if !validID(g.EnrollmentGroupID) {
		return g, fmt.Errorf(
			"dpstest: enrollmentGroupId: %q is not a group ID", g.EnrollmentGroupID,
		)
	}
	attestation, err := g.Attestation.normalize(true)
	if err != nil {
		return g, fmt.Errorf("dpstest: enrollment group %s: %w", g.EnrollmentGroupID, err)
	}
	if err := s.checkTerms(&g.ProvisioningStatus, g.terms()); err != nil {
		return g, fmt.Errorf("dpstest: enrollment group %s: %w", g.EnrollmentGroupID, err)
	}
	g.Attestation = attestation
	g.IoTHubs = append([]string(nil), g.IoTHubs...)
	now := Timestamp{s.network.Now()}
	g.CreatedDateTimeUTC, g.LastUpdatedDateTimeUTC = &now, &now

	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.groups[foldID(g.EnrollmentGroupID)]
	if old != nil {
		g.CreatedDateTimeUTC, g.ETag = old.CreatedDateTimeUTC, old.ETag
	}
	if err := allowed.check(old != nil, g.ETag); err != nil {
		return g, err
	}
	g.ETag = newETag()
	s.groups[foldID(g.EnrollmentGroupID)] = &g
	return g, nil
}

// checkTerms checks what individual enrollments and groups have in common.
func (s *Server) checkTerms(status *string, t terms) error {
	if err := s.prepare(t.issues); err != nil {
		return err
	}
	switch *status {
	case "":
		*status = Enabled
	case Enabled, Disabled:
	default:
		return fmt.Errorf("provisioningStatus: %q is neither enabled nor disabled", *status)
	}
	switch t.allocation {
	case "", PolicyHashed, PolicyGeoLatency:
	case PolicyCustom:
		if s.cfg.Allocate != nil && t.webhook == nil {
			return nil
		}
		return t.webhook.check()
	case PolicyStatic:
		if len(t.hubs) != 1 {
			return fmt.Errorf(
				"iotHubs: the static policy needs exactly one hub, not %d", len(t.hubs),
			)
		}
	default:
		return fmt.Errorf(
			"allocationPolicy: %q is not hashed, geoLatency, static or custom", t.allocation,
		)
	}
	return nil
}

func (d *CustomAllocationDefinition) check() error {
	if d == nil || d.WebhookURL == "" {
		return errors.New("customAllocationDefinition.webhookUrl: the custom policy needs one")
	}
	u, err := url.Parse(d.WebhookURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		// its query may hold a key
		return errors.New("customAllocationDefinition.webhookUrl: not an http or https URL")
	}
	if d.APIVersion < "2018-09-01-preview" {
		return fmt.Errorf(
			"customAllocationDefinition.apiVersion: %q is older than 2018-09-01-preview",
			d.APIVersion,
		)
	}
	return nil
}

// Enrollment returns the individual enrollment for a registration ID, generated keys and
// registration record included.
func (s *Server) Enrollment(registrationID string) (IndividualEnrollment, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.individuals[foldID(registrationID)]
	if e == nil {
		return IndividualEnrollment{}, false
	}
	return s.withRecord(*e), true
}

// withRecord adds the registration record to an enrollment. The caller holds the lock.
func (s *Server) withRecord(e IndividualEnrollment) IndividualEnrollment {
	if r := s.records[foldID(e.RegistrationID)]; r != nil {
		record := r.record
		e.RegistrationState = &record
	}
	return e
}

// Group returns an enrollment group, generated keys included.
func (s *Server) Group(groupID string) (EnrollmentGroup, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[foldID(groupID)]
	if g == nil {
		return EnrollmentGroup{}, false
	}
	return *g, true
}

// RemoveEnrollment deletes an individual enrollment and its registration record, and reports
// whether there was one. The device's identity at its hub stays, as it does at the service.
func (s *Server) RemoveEnrollment(registrationID string) bool {
	ok, _ := s.removeEnrollment(registrationID, nil)
	return ok
}

func (s *Server) removeEnrollment(registrationID string, allowed precondition) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.individuals[foldID(registrationID)]
	if e == nil {
		return false, nil
	}
	if err := allowed.check(true, e.ETag); err != nil {
		return true, err
	}
	delete(s.individuals, foldID(registrationID))
	if r := s.records[foldID(registrationID)]; r != nil {
		delete(s.records, foldID(registrationID))
		s.recordDeletion(r)
	}
	return true, nil
}

// RemoveGroup deletes an enrollment group and reports whether there was one. The registration
// records of its devices stay, as they do at the service.
func (s *Server) RemoveGroup(groupID string) bool {
	ok, _ := s.removeGroup(groupID, nil)
	return ok
}

func (s *Server) removeGroup(groupID string, allowed precondition) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[foldID(groupID)]
	if g == nil {
		return false, nil
	}
	if err := allowed.check(true, g.ETag); err != nil {
		return true, err
	}
	delete(s.groups, foldID(groupID))
	return true, nil
}

// SetEnabled enables or disables the individual enrollment of a registration ID or, when there is
// none, the enrollment group of that ID. The device learns of it when it registers the next time:
// its hub identity is untouched.
func (s *Server) SetEnabled(id string, enabled bool) error {
	status := Enabled
	if !enabled {
		status = Disabled
	}
	now := Timestamp{s.network.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	// What is stored is never written to, since requests under way read it without the lock.
	if e := s.individuals[foldID(id)]; e != nil {
		c := *e
		c.ProvisioningStatus, c.ETag, c.LastUpdatedDateTimeUTC = status, newETag(), &now
		s.individuals[foldID(id)] = &c
		return nil
	}
	if g := s.groups[foldID(id)]; g != nil {
		c := *g
		c.ProvisioningStatus, c.ETag, c.LastUpdatedDateTimeUTC = status, newETag(), &now
		s.groups[foldID(id)] = &c
		return nil
	}
	return fmt.Errorf("dpstest: no enrollment and no enrollment group is called %s", id)
}

// AddCA makes a verified CA certificate known by name, for groups whose attestation refers to CAs
// by name.
func (s *Server) AddCA(name string, c *x509.Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authorities[name] = c
}

// Registration returns the registration record of a device, and whether it has one.
func (s *Server) Registration(registrationID string) (Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[foldID(registrationID)]
	if r == nil {
		return Record{}, false
	}
	return r.record, true
}

// DeleteRegistration deletes the registration record of a device and reports whether there was one.
// Its identity at the hub stays; its next registration is a first one.
func (s *Server) DeleteRegistration(registrationID string) bool {
	ok, _ := s.deleteRegistration(registrationID, nil)
	return ok
}

func (s *Server) deleteRegistration(registrationID string, allowed precondition) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[foldID(registrationID)]
	if r == nil {
		return false, nil
	}
	if err := allowed.check(true, r.record.ETag); err != nil {
		return true, err
	}
	delete(s.records, foldID(registrationID))
	s.recordDeletion(r)
	return true, nil
}
