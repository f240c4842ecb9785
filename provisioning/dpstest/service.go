// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/sas"
)

// serviceOwner is the access policy that operators' tokens name.
const serviceOwner = "provisioningserviceowner"

// ServiceConnectionString returns what operators' tools and the service SDKs are given to reach the
// server's REST API.
func (s *Server) ServiceConnectionString() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "HostName=" + s.cfg.ServiceHost + ";SharedAccessKeyName=" + serviceOwner +
		";SharedAccessKey=" + s.serviceKey
}

// A serviceCall is the part of a call that only operators' requests have.
type serviceCall struct {
	method string
	target string   // the path as the client wrote it
	path   []string // unescaped
	host   string   // as the client wrote it
	header http.Header
	query  url.Values
}

// routeService finds out whether a request is an operator's. It returns nil if it is not.
//
//	/enrollments…, /enrollmentGroups…, /registrations…
func routeService(r *http.Request) *call {
	parts := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	switch strings.ToLower(parts[0]) {
	case "enrollments", "enrollmentgroups", "registrations":
	default:
		return nil
	}
	for i, part := range parts {
		text, err := url.PathUnescape(part)
		if err != nil {
			return nil
		}
		parts[i] = text
	}
	query := r.URL.Query()
	return &call{
		op: Service, version: query.Get("api-version"),
		service: &serviceCall{
			method: r.Method, target: r.URL.EscapedPath(), path: parts, host: r.Host,
			header: r.Header, query: query,
		},
	}
}

// operate answers an operator's request.
func (s *Server) operate(c *call) response {
	if !s.authorized(c) {
		return s.refuseService(codeUnauthorized, "Unauthorized")
	}
	if !knownVersion(c.version) {
		return s.refuseService(codeBadRequest, "api-version is missing or not supported.")
	}
	if wait, ok := s.quota.allow(s.cfg, Service, "", time.Now()); !ok {
		return s.throttle(wait)
	}
	if int64(len(c.body)) > maxServiceBody {
		return s.refuseService(codeTooLarge, "")
	}
	switch strings.ToLower(c.service.path[0]) {
	case "enrollments":
		return s.enrollmentCollection().serve(c)
	case "enrollmentgroups":
		return s.groupCollection().serve(c)
	}
	return s.serveRecords(c)
}

// authorized checks the token of an operator. Its resource is the host the operator sees, or
// something below it.
func (s *Server) authorized(c *call) bool {
	signature, err := sas.Parse(c.authorization)
	if err != nil || !strings.EqualFold(signature.KeyName, serviceOwner) {
		return false
	}
	resource, _, _ := strings.Cut(signature.Resource, "/")
	known := strings.EqualFold(resource, s.cfg.ServiceHost) ||
		strings.EqualFold(resource, s.cfg.Endpoint) || strings.EqualFold(resource, c.service.host)
	s.mu.Lock()
	key, err := base64.StdEncoding.DecodeString(s.serviceKey)
	s.mu.Unlock()
	return known && err == nil && signature.Verify(key) &&
		!s.network.Now().After(signature.Expiry.Add(s.cfg.ClockSkew))
}

// refuseService is refuse with the header that errors of the service API have.
func (s *Server) refuseService(code int, message string) response {
	a := s.refuse(code, message)
	a.header = http.Header{"X-Ms-Error-Code": {http.StatusText(a.status)}}
	return a
}

// refuseChange is the response to a change that failed.
func (s *Server) refuseChange(err error) response {
	code, message := explain(err)
	return s.refuseService(code, message)
}

// explain returns the error code and message of a change that failed.
func explain(err error) (int, string) {
	if e, ok := errors.AsType[*refusedError](err); ok {
		return e.code, messages[e.code]
	}
	return codeBadRequest, strings.TrimPrefix(err.Error(), "dpstest: ")
}

// replacing is the precondition of a request that creates or replaces. Who replaces must say that
// he knows, by If-Match with the ETag or "*".
func (s *Server) replacing(h http.Header) precondition {
	return s.conditional(h.Get("If-Match"))
}

func (s *Server) conditional(match string) precondition {
	return func(exists bool, etag string) int {
		switch {
		case match == "" && exists && !s.cfg.OverwriteEnrollments:
			return codeExists
		case match == "":
			return 0
		}
		return matching(match)(exists, etag)
	}
}

// matching is the precondition that an ETag sets, "" for none.
func matching(match string) precondition {
	return func(exists bool, etag string) int {
		// some clients quote what is quoted already, others strip the quotes
		bare := strings.Trim(match, `"`)
		if match == "" || exists && (bare == "*" || bare == strings.Trim(etag, `"`)) {
			return 0
		}
		return codePrecondition
	}
}

// decode reads the body of an operator's request, and returns what is wrong.
func (c *call) decode(v any) string {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return "The request has no body."
	}
	if err := json.Unmarshal(c.body, v); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
			return "The request body is not valid: " + e.Field + " cannot be a " + e.Value + "."
		}
		return "The request body is not valid JSON of the kind that is expected."
	}
	return ""
}
