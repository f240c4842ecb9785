// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"net/http"
	"strings"

	"github.com/rehome-iot/rehome/internal/uuid"
)

// serveRecords answers a request about registration records:
//
//	GET, DELETE  /registrations/{registrationId}
//	POST         /registrations/{enrollmentGroupId}/query
func (s *Server) serveRecords(c *call) response {
	path, method := c.service.path[1:], c.service.method
	switch {
	case len(path) == 2 && strings.EqualFold(path[1], "query"):
		if method != http.MethodPost {
			return s.refuseService(codeBadMethod, "")
		}
		if _, ok := s.Group(path[0]); !ok && !s.orphaned(path[0]) {
			return s.refuseService(codeNoRegistration, "Enrollment group not found.")
		}
		return s.query(c, "DeviceRegistration", s.recordsOf(path[0]))
	case len(path) != 1:
		return s.refuseService(codeNoInstance, "Resource not found.")
	}
	switch method {
	case http.MethodGet:
		record, ok := s.Registration(path[0])
		if !ok {
			return s.refuseService(codeNoRegistration, "")
		}
		return succeed(200, record)
	case http.MethodDelete:
		ok, err := s.deleteRegistration(path[0], matching(c.service.header.Get("If-Match")))
		switch {
		case err != nil:
			return s.refuseChange(err)
		case !ok:
			return s.refuseService(codeNoRegistration, "")
		}
		return response{status: 204, requestID: uuid.New()}
	}
	return s.refuseService(codeBadMethod, "")
}

// recordsOf returns the registration records of an enrollment group's devices, by registration ID.
func (s *Server) recordsOf(groupID string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string]any{}
	for id, r := range s.records {
		if r.terms.groupID != "" && strings.EqualFold(r.terms.groupID, groupID) {
			found[id] = r.record
		}
	}
	return found
}

// orphaned says whether a group that was removed has left records.
func (s *Server) orphaned(groupID string) bool { return len(s.recordsOf(groupID)) > 0 }
