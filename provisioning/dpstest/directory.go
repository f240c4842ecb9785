// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"cmp"
	"maps"
	"slices"
)

// A HubLink is a linked hub and its share in the allocation.
type HubLink struct {
	// Host is the host name of the hub.
	Host string
	// Weight is 1 to 1000, see [Server.SetWeight].
	Weight int
}

// Links returns the hubs that are linked, in the order in which they were.
func (s *Server) Links() []HubLink {
	s.mu.Lock()
	defer s.mu.Unlock()
	links := make([]HubLink, len(s.hubs))
	for i, h := range s.hubs {
		links[i] = HubLink{Host: h.Host(), Weight: h.weight}
	}
	return links
}

// Enrollments returns all individual enrollments, sorted by registration ID, generated keys and
// registration records included.
func (s *Server) Enrollments() []IndividualEnrollment {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]IndividualEnrollment, 0, len(s.individuals))
	for _, id := range slices.Sorted(maps.Keys(s.individuals)) {
		all = append(all, s.withRecord(*s.individuals[id]))
	}
	return all
}

// Groups returns all enrollment groups, sorted by ID, generated keys included.
func (s *Server) Groups() []EnrollmentGroup {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]EnrollmentGroup, 0, len(s.groups))
	for _, id := range slices.Sorted(maps.Keys(s.groups)) {
		all = append(all, *s.groups[id])
	}
	return all
}

// A Placement is the registration record of a device, and what it rests on.
type Placement struct {
	Record
	// GroupID is the enrollment group the device registered under last, "" for an individual
	// enrollment.
	GroupID string
	// Hub is the host name of the hub the device lives at, also while the record, after a failed
	// registration, tells none; "" if it never had one.
	Hub string
	// Device is its device ID there.
	Device string
}

// Placements returns where all registered devices live, sorted by registration ID.
func (s *Server) Placements() []Placement {
	s.mu.Lock()
	all := make([]Placement, 0, len(s.records))
	for _, r := range s.records {
		all = append(all, Placement{
			Record: r.record, GroupID: r.terms.groupID, Hub: r.hub, Device: r.device,
		})
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b Placement) int {
		return cmp.Compare(foldID(a.RegistrationID), foldID(b.RegistrationID))
	})
	return all
}
