package dpstest

import (
	"crypto/x509"
	"fmt"
)

// Enroll stores an individual enrollment, in place of an earlier one for the same registration ID. What it changes
// takes effect when the device registers the next time. The error names the field that is wrong.
func (s *Server) Enroll(e IndividualEnrollment) error {
	if !validID(e.RegistrationID) {
		return fmt.Errorf("dpstest: registrationId: %q is not a registration ID", e.RegistrationID)
	}
	attestation, err := e.Attestation.normalize(false)
	if err != nil {
		return fmt.Errorf("dpstest: enrollment %s: %w", e.RegistrationID, err)
	}
	if err := checkTerms(&e.ProvisioningStatus, e.AllocationPolicy, subset(e.IoTHubs, e.IoTHubHostName)); err != nil {
		return fmt.Errorf("dpstest: enrollment %s: %w", e.RegistrationID, err)
	}
	e.Attestation = attestation
	e.IoTHubs = append([]string(nil), e.IoTHubs...)
	e.RegistrationState = nil
	now := Timestamp{s.network.Now()}
	e.ETag, e.CreatedDateTimeUTC, e.LastUpdatedDateTimeUTC = newETag(), &now, &now

	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.individuals[foldID(e.RegistrationID)]; old != nil {
		e.CreatedDateTimeUTC = old.CreatedDateTimeUTC
	}
	s.individuals[foldID(e.RegistrationID)] = &e
	return nil
}

// EnrollGroup stores an enrollment group, in place of an earlier one of the same ID.
func (s *Server) EnrollGroup(g EnrollmentGroup) error {
	if !validID(g.EnrollmentGroupID) {
		return fmt.Errorf("dpstest: enrollmentGroupId: %q is not a group ID", g.EnrollmentGroupID)
	}
	attestation, err := g.Attestation.normalize(true)
	if err != nil {
		return fmt.Errorf("dpstest: enrollment group %s: %w", g.EnrollmentGroupID, err)
	}
	if err := checkTerms(&g.ProvisioningStatus, g.AllocationPolicy, subset(g.IoTHubs, g.IoTHubHostName)); err != nil {
		return fmt.Errorf("dpstest: enrollment group %s: %w", g.EnrollmentGroupID, err)
	}
	g.Attestation = attestation
	g.IoTHubs = append([]string(nil), g.IoTHubs...)
	now := Timestamp{s.network.Now()}
	g.ETag, g.CreatedDateTimeUTC, g.LastUpdatedDateTimeUTC = newETag(), &now, &now

	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.groups[foldID(g.EnrollmentGroupID)]; old != nil {
		g.CreatedDateTimeUTC = old.CreatedDateTimeUTC
	}
	s.groups[foldID(g.EnrollmentGroupID)] = &g
	return nil
}

func checkTerms(status *string, allocation string, hubs []string) error {
	switch *status {
	case "":
		*status = Enabled
	case Enabled, Disabled:
	default:
		return fmt.Errorf("provisioningStatus: %q is neither enabled nor disabled", *status)
	}
	switch allocation {
	case "", PolicyHashed, PolicyGeoLatency, PolicyCustom:
	case PolicyStatic:
		if len(hubs) != 1 {
			return fmt.Errorf("iotHubs: the static policy needs exactly one hub, not %d", len(hubs))
		}
	default:
		return fmt.Errorf("allocationPolicy: %q is not hashed, geoLatency, static or custom", allocation)
	}
	return nil
}

// Enrollment returns the individual enrollment for a registration ID, generated keys and registration record included.
func (s *Server) Enrollment(registrationID string) (IndividualEnrollment, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.individuals[foldID(registrationID)]
	if e == nil {
		return IndividualEnrollment{}, false
	}
	c := *e
	if r := s.records[foldID(registrationID)]; r != nil {
		record := r.record
		c.RegistrationState = &record
	}
	return c, true
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

// RemoveEnrollment deletes an individual enrollment and its registration record, and reports whether there was one.
// The device's identity at its hub stays, as it does at the service.
func (s *Server) RemoveEnrollment(registrationID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.individuals[foldID(registrationID)]
	delete(s.individuals, foldID(registrationID))
	if ok {
		delete(s.records, foldID(registrationID))
	}
	return ok
}

// RemoveGroup deletes an enrollment group and reports whether there was one. The registration records of its devices
// stay, as they do at the service.
func (s *Server) RemoveGroup(groupID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.groups[foldID(groupID)]
	delete(s.groups, foldID(groupID))
	return ok
}

// SetEnabled enables or disables the individual enrollment of a registration ID or, when there is none, the
// enrollment group of that ID. The device learns of it when it registers the next time: its hub identity is untouched.
func (s *Server) SetEnabled(id string, enabled bool) error {
	status := Enabled
	if !enabled {
		status = Disabled
	}
	now := Timestamp{s.network.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	// What is stored is never written to, since admitted requests read it without the lock.
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

// AddCA makes a verified CA certificate known by name, for groups whose attestation refers to CAs by name.
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

// DeleteRegistration deletes the registration record of a device and reports whether there was one. Its identity at
// the hub stays; its next registration is a first one.
func (s *Server) DeleteRegistration(registrationID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.records[foldID(registrationID)]
	delete(s.records, foldID(registrationID))
	return ok
}
