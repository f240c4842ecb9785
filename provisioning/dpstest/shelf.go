package dpstest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// maxBulk is how many enrollments one bulk operation may hold.
const maxBulk = 10

// A shelf is one kind of enrollment as the service API handles it: individual enrollments and groups are handled alike.
type shelf[T any] struct {
	item  string // x-ms-item-type of queries
	name  string // the member that holds the ID
	plain string // the member of a bulk operation that holds the enrollments
	id    func(*T) *string
	read  func(s *Server, id string) (T, bool)
	write func(s *Server, e T, allowed precondition) (T, error)
	drop  func(s *Server, id string, allowed precondition) (bool, error)
	blank func(*T) T
	proof func(*T) *Attestation
	etag  func(*T) string
	all   func(s *Server) map[string]T
}

var individualShelf = shelf[IndividualEnrollment]{
	item: "enrollment", name: "registrationId", plain: "enrollments",
	id:    func(e *IndividualEnrollment) *string { return &e.RegistrationID },
	read:  (*Server).Enrollment,
	write: (*Server).enroll,
	drop:  (*Server).removeEnrollment,
	blank: (*IndividualEnrollment).blank,
	proof: func(e *IndividualEnrollment) *Attestation { return &e.Attestation },
	etag:  func(e *IndividualEnrollment) string { return e.ETag },
	all: func(s *Server) map[string]IndividualEnrollment {
		s.mu.Lock()
		defer s.mu.Unlock()
		all := make(map[string]IndividualEnrollment, len(s.individuals))
		for id, e := range s.individuals {
			all[id] = s.withRecord(*e)
		}
		return all
	},
}

var groupShelf = shelf[EnrollmentGroup]{
	item: "enrollmentGroup", name: "enrollmentGroupId", plain: "enrollmentGroups",
	id:    func(g *EnrollmentGroup) *string { return &g.EnrollmentGroupID },
	read:  (*Server).Group,
	write: (*Server).enrollGroup,
	drop:  (*Server).removeGroup,
	blank: (*EnrollmentGroup).blank,
	proof: func(g *EnrollmentGroup) *Attestation { return &g.Attestation },
	etag:  func(g *EnrollmentGroup) string { return g.ETag },
	all: func(s *Server) map[string]EnrollmentGroup {
		s.mu.Lock()
		defer s.mu.Unlock()
		all := make(map[string]EnrollmentGroup, len(s.groups))
		for id, g := range s.groups {
			all[id] = *g
		}
		return all
	},
}

// serveShelf answers a request about enrollments of one kind:
//
//	PUT, GET, DELETE  /enrollments/{id}
//	POST              /enrollments/{id}/attestationmechanism
//	POST              /enrollments/query
//	POST              /enrollments (bulk)
func serveShelf[T any](s *Server, c *call, f shelf[T]) answer {
	path, method := c.service.path[1:], c.service.method
	switch {
	case len(path) == 0 && method == http.MethodPost:
		return serveBulk(s, c, f)
	case len(path) == 1 && method == http.MethodPost && strings.EqualFold(path[0], "query"):
		all := map[string]any{}
		for id, e := range f.all(s) {
			all[id] = f.blank(&e)
		}
		return s.query(c, f.item, all)
	case len(path) == 2 && method == http.MethodPost && strings.EqualFold(path[1], "attestationmechanism"):
		e, ok := f.read(s, path[0])
		if !ok {
			return s.refuseService(codeNoRegistration, "Enrollment not found.")
		}
		return succeed(200, f.proof(&e))
	case len(path) == 1:
		return serveEnrollment(s, c, f, path[0])
	case len(path) == 0 || len(path) == 2 && strings.EqualFold(path[1], "attestationmechanism"):
		return s.refuseService(codeBadMethod, "")
	}
	return s.refuseService(codeNoInstance, "Resource not found.")
}

func serveEnrollment[T any](s *Server, c *call, f shelf[T], id string) answer {
	switch c.service.method {
	case http.MethodGet:
		e, ok := f.read(s, id)
		if !ok {
			return s.refuseService(codeNoRegistration, "Enrollment not found.")
		}
		return succeed(200, f.blank(&e))
	case http.MethodPut:
		var e T
		if problem := c.decode(&e); problem != "" {
			return s.refuseService(codeBadRequest, problem)
		}
		if written := f.id(&e); *written == "" {
			*written = id
		} else if !strings.EqualFold(*written, id) {
			return s.refuseService(codeBadRequest, f.name+" of URI and request body differ.")
		}
		stored, err := put(s, f, e, s.replacing(c.service.header))
		if err != nil {
			return s.refuseChange(err)
		}
		return succeed(200, stored)
	case http.MethodDelete:
		ok, err := f.drop(s, id, matching(c.service.header.Get("If-Match")))
		switch {
		case err != nil:
			return s.refuseChange(err)
		case !ok:
			return s.refuseService(codeNoRegistration, "Enrollment not found.")
		}
		return answer{status: 204, requestID: newGUID()}
	}
	return s.refuseService(codeBadMethod, "")
}

// put stores an enrollment. Secrets that it does not tell are those it had, for clients see none when they read one to change it.
func put[T any](s *Server, f shelf[T], e T, allowed precondition) (T, error) {
	if old, ok := f.read(s, *f.id(&e)); ok {
		*f.proof(&e) = f.proof(&e).keep(*f.proof(&old))
	}
	return f.write(s, e, allowed)
}

// bulkResult is the answer to a bulk operation.
type bulkResult struct {
	IsSuccessful bool             `json:"isSuccessful"`
	Errors       []map[string]any `json:"errors"`
}

// serveBulk carries a bulk operation out, as far as it goes: what fails does not keep the rest from being done.
func serveBulk[T any](s *Server, c *call, f shelf[T]) answer {
	var members map[string]json.RawMessage
	if problem := c.decode(&members); problem != "" {
		return s.refuseService(codeBadRequest, problem)
	}
	var mode string
	if err := json.Unmarshal(members["mode"], &mode); err != nil {
		return s.refuseService(codeBadRequest, "mode is missing.")
	}
	var list []T
	if err := json.Unmarshal(members[f.plain], &list); err != nil {
		return s.refuseService(codeBadRequest, f.plain+" is missing or not valid.")
	}
	if len(list) == 0 || len(list) > maxBulk {
		return s.refuseService(codeBadRequest, f.plain+" must be 1 to 10.")
	}
	change := bulkModes[strings.ToLower(mode)]
	if change == nil {
		return s.refuseService(codeBadRequest, "mode must be create, update, updateIfMatchETag or delete.")
	}
	result := bulkResult{IsSuccessful: true, Errors: []map[string]any{}}
	for _, e := range list {
		var err error
		allowed, remove := change(f.etag(&e))
		if remove {
			var ok bool
			if ok, err = f.drop(s, *f.id(&e), allowed); err == nil && !ok {
				err = &refusedError{codeNoRegistration}
			}
		} else {
			_, err = put(s, f, e, allowed)
		}
		if err != nil {
			code, message := explain(err)
			result.IsSuccessful = false
			result.Errors = append(result.Errors, map[string]any{f.name: *f.id(&e), "errorCode": code, "errorStatus": message})
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
