// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/rehome-iot/rehome/internal/uuid"
)

// maxBulk is how many enrollments one bulk operation may hold.
const maxBulk = 10

// An enrollment is an individual enrollment or a group: the service API handles both alike.
type enrollment[T any] interface {
	*T
	id() *string
	etag() string
	attestation() *Attestation
	redacted() T
}

func (e *IndividualEnrollment) id() *string               { return &e.RegistrationID }
func (e *IndividualEnrollment) etag() string              { return e.ETag }
func (e *IndividualEnrollment) attestation() *Attestation { return &e.Attestation }

func (g *EnrollmentGroup) id() *string               { return &g.EnrollmentGroupID }
func (g *EnrollmentGroup) etag() string              { return g.ETag }
func (g *EnrollmentGroup) attestation() *Attestation { return &g.Attestation }

// A store holds the enrollments of one kind.
type store[T any] interface {
	get(id string) (T, bool)
	put(e T, allowed precondition) (T, error)
	remove(id string, allowed precondition) (bool, error)
	all() map[string]T
}

// individualStore and groupStore are the two stores of a server.
type (
	individualStore struct{ *Server }
	groupStore      struct{ *Server }
)

func (s individualStore) get(id string) (IndividualEnrollment, bool) { return s.Enrollment(id) }

func (s individualStore) put(
	e IndividualEnrollment, allowed precondition,
) (IndividualEnrollment, error) {
	return s.enroll(e, allowed)
}

func (s individualStore) remove(id string, allowed precondition) (bool, error) {
	return s.removeEnrollment(id, allowed)
}

func (s individualStore) all() map[string]IndividualEnrollment {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]IndividualEnrollment, len(s.individuals))
	for id, e := range s.individuals {
		all[id] = s.withRecord(*e)
	}
	return all
}

func (s groupStore) get(id string) (EnrollmentGroup, bool) { return s.Group(id) }

func (s groupStore) put(g EnrollmentGroup, allowed precondition) (EnrollmentGroup, error) {
	return s.enrollGroup(g, allowed)
}

func (s groupStore) remove(id string, allowed precondition) (bool, error) {
	return s.removeGroup(id, allowed)
}

func (s groupStore) all() map[string]EnrollmentGroup {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]EnrollmentGroup, len(s.groups))
	for id, g := range s.groups {
		all[id] = *g
	}
	return all
}

// A collection is the REST resource of one kind of enrollment.
type collection[T any, E enrollment[T]] struct {
	store[T]
	server     *Server
	item       string // x-ms-item-type of queries
	idMember   string // the member that holds the ID
	listMember string // the member of a bulk operation that holds the enrollments
}

func (s *Server) enrollmentCollection() collection[IndividualEnrollment, *IndividualEnrollment] {
	return collection[IndividualEnrollment, *IndividualEnrollment]{
		store: individualStore{s}, server: s,
		item: "Enrollment", idMember: "registrationId", listMember: "enrollments",
	}
}

func (s *Server) groupCollection() collection[EnrollmentGroup, *EnrollmentGroup] {
	return collection[EnrollmentGroup, *EnrollmentGroup]{
		store: groupStore{s}, server: s,
		item: "EnrollmentGroup", idMember: "enrollmentGroupId", listMember: "enrollmentGroups",
	}
}

// serve handles a request about enrollments of one kind:
//
//	PUT, GET, DELETE  /enrollments/{id}
//	POST              /enrollments/{id}/attestationmechanism
//	POST              /enrollments/query
//	POST              /enrollments (bulk)
func (l collection[T, E]) serve(c *call) response {
	path, method := c.service.path[1:], c.service.method
	switch {
	case len(path) == 0 && method == http.MethodPost:
		return l.serveBulk(c)
	case len(path) == 1 && method == http.MethodPost && strings.EqualFold(path[0], "query"):
		all := map[string]any{}
		for id, e := range l.all() {
			all[id] = E(&e).redacted()
		}
		return l.server.query(c, l.item, all)
	case len(path) == 2 && method == http.MethodPost && isMechanism(path):
		e, ok := l.get(path[0])
		if !ok {
			return l.notFound()
		}
		return succeed(200, E(&e).attestation())
	case len(path) == 1:
		return l.serveOne(c, path[0])
	case len(path) == 0 || len(path) == 2 && isMechanism(path):
		return l.server.refuseService(codeBadMethod, "")
	}
	return l.server.refuseService(codeNoInstance, "Resource not found.")
}

// isMechanism reports whether a path of two parts ends in that of the attestation mechanism.
func isMechanism(path []string) bool { return strings.EqualFold(path[1], "attestationmechanism") }

func (l collection[T, E]) notFound() response {
	return l.server.refuseService(codeNoRegistration, "Enrollment not found.")
}

// serveOne handles a request about one enrollment.
func (l collection[T, E]) serveOne(c *call, id string) response {
	switch c.service.method {
	case http.MethodGet:
		e, ok := l.get(id)
		if !ok {
			return l.notFound()
		}
		return succeed(200, E(&e).redacted())
	case http.MethodPut:
		var e T
		if problem := c.decode(&e); problem != "" {
			return l.server.refuseService(codeBadRequest, problem)
		}
		if written := E(&e).id(); *written == "" {
			*written = id
		} else if !strings.EqualFold(*written, id) {
			problem := l.idMember + " of URI and request body differ."
			return l.server.refuseService(codeBadRequest, problem)
		}
		stored, err := l.replace(e, l.server.replacing(c.service.header))
		if err != nil {
			return l.server.refuseChange(err)
		}
		return succeed(200, stored)
	case http.MethodDelete:
		ok, err := l.remove(id, matching(c.service.header.Get("If-Match")))
		switch {
		case err != nil:
			return l.server.refuseChange(err)
		case !ok:
			return l.notFound()
		}
		return response{status: 204, requestID: uuid.New()}
	}
	return l.server.refuseService(codeBadMethod, "")
}

// replace stores an enrollment. Secrets that it leaves out are those it had, for clients see none
// when they read one to change it. The attestation itself must be there: the service does not guess
// how a device is to prove who it is.
func (l collection[T, E]) replace(e T, allowed precondition) (T, error) {
	if *E(&e).attestation() == (Attestation{}) {
		return e, errors.New("attestation: missing")
	}
	if old, ok := l.get(*E(&e).id()); ok {
		attestation := E(&e).attestation()
		*attestation = attestation.withSecretsOf(*E(&old).attestation())
	}
	return l.put(e, allowed)
}

// bulkResult is the response to a bulk operation.
type bulkResult struct {
	IsSuccessful bool             `json:"isSuccessful"`
	Errors       []map[string]any `json:"errors"`
}

// serveBulk carries a bulk operation out, as far as it goes: what fails does not keep the rest from
// being done.
func (l collection[T, E]) serveBulk(c *call) response {
	var members map[string]json.RawMessage
	if problem := c.decode(&members); problem != "" {
		return l.server.refuseService(codeBadRequest, problem)
	}
	var mode string
	if err := json.Unmarshal(members["mode"], &mode); err != nil {
		return l.server.refuseService(codeBadRequest, "mode is missing.")
	}
	var list []T
	if err := json.Unmarshal(members[l.listMember], &list); err != nil {
		return l.server.refuseService(codeBadRequest, l.listMember+" is missing or not valid.")
	}
	if len(list) == 0 || len(list) > maxBulk {
		return l.server.refuseService(codeBadRequest, l.listMember+" must be 1 to 10.")
	}
	change := bulkModes[strings.ToLower(mode)]
	if change == nil {
		return l.server.refuseService(codeBadRequest,
			"mode must be create, update, updateIfMatchETag or delete.")
	}
	result := bulkResult{IsSuccessful: true, Errors: []map[string]any{}}
	for _, e := range list {
		var err error
		allowed, remove := change(E(&e).etag())
		if remove {
			var ok bool
			if ok, err = l.remove(*E(&e).id(), allowed); err == nil && !ok {
				err = &refusedError{codeNoRegistration}
			}
		} else {
			_, err = l.replace(e, allowed)
		}
		if err != nil {
			code, message := explain(err)
			result.IsSuccessful = false
			result.Errors = append(result.Errors, map[string]any{
				l.idMember: *E(&e).id(), "errorCode": code, "errorStatus": message,
			})
		}
	}
	return succeed(200, result)
}

// bulkModes says what each mode does to an enrollment that names an ETag.
var bulkModes = map[string]func(etag string) (allowed precondition, remove bool){
	"create": func(string) (precondition, bool) {
		return func(exists bool, _ string) int {
			if exists {
				return codeExists
			}
			return 0
		}, false
	},
	"update": func(string) (precondition, bool) {
		return func(exists bool, _ string) int {
			if !exists {
				return codeNoRegistration
			}
			return 0
		}, false
	},
	"updateifmatchetag": func(etag string) (precondition, bool) {
		return func(exists bool, current string) int {
			switch {
			case !exists:
				return codeNoRegistration
			case etag == "":
				return codePrecondition
			}
			return matching(etag)(exists, current)
		}, false
	},
	"delete": func(etag string) (precondition, bool) { return matching(etag), true },
}
