// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// maxBody is the service's limit on a message of a device. An operator's may be larger: it can hold
// ten enrollments.
const (
	maxBody        = 96 << 10
	maxServiceBody = 1 << 20
)

func (c *call) maxBody() int64 {
	if c.op == Service {
		return maxServiceBody
	}
	return maxBody
}

// A call is one request of a device, whatever carries it.
type call struct {
	op             Op
	transport      string
	scope          string
	registrationID string
	operationID    string
	version        string
	client         string // what the client says it is, "" for nothing
	authorization  string // SAS token, "" for none
	chain          []*x509.Certificate
	body           []byte
	wrongMethod    bool // a known address under another HTTP method

	service *serviceCall // an operator's request; nil for a device's

	payload json.RawMessage // from the body
	tpm     *TPM            // that the body offers; nil for none
	csr     string          // certificate signing request of the body
	// the body has one, and the API version knows it
	asksForCertificate bool

	note, reason string // for the log
}

// A reply is what is to be sent: a response, or what a fault makes of it.
type reply struct {
	response
	silent bool   // send nothing, and keep the connection
	cut    bool   // close the connection in place of answering
	fault  *Fault // nil if none struck
}

// serve answers one request: it logs it, lets faults strike, and carries it out. It may take as
// long as a fault's Delay.
func (s *Server) serve(ctx context.Context, c *call) reply {
	arrived := Request{
		Op: c.op, Transport: c.transport, RegistrationID: c.registrationID,
		OperationID: c.operationID, APIVersion: c.version,
	}
	if c.service != nil {
		arrived.Method, arrived.Path = c.service.method, c.service.target
	}
	entry := s.log.add(arrived)
	f := s.faults.next(occasion{op: c.op, registrationID: c.registrationID, transport: c.transport})
	r := reply{fault: f}
	if f == nil {
		r.response = s.carryOut(ctx, c)
	} else {
		if !f.replaces() || f.Perform {
			r.response = s.carryOut(ctx, c)
		}
		if f.DropOperation {
			s.drop(cmp.Or(r.operationID, c.operationID))
		}
		if !pause(ctx, f.Delay) {
			r.silent = true
		}
		r.response = s.applyFault(f, r.response)
		r.silent = r.silent || f.NoAnswer
		r.cut = f.Cut
	}
	s.conclude(entry, func(e *Request) {
		e.Payload, e.Note, e.Reason = c.payload, c.note, c.reason
		if r.operationID != "" {
			e.OperationID = r.operationID
		}
		if !r.silent && !r.cut {
			e.Status, e.Code = r.status, r.code
			e.Answered, e.RetryAfter = time.Now(), r.retryAfter
		}
	})
	return r
}

// carryOut does what a request asks for.
func (s *Server) carryOut(ctx context.Context, c *call) response {
	if c.wrongMethod {
		return s.refuse(codeBadMethod, "")
	}
	if c.op == Clock {
		return s.refuse(codeNoInstance, "Resource not found.")
	}
	if c.op == Service {
		return s.operate(c)
	}
	if !strings.EqualFold(c.scope, s.cfg.IDScope) {
		c.reason = "the ID scope is another instance's: that of this one is " + s.cfg.IDScope
		return s.refuse(codeNoInstance, "")
	}
	if !knownVersion(c.version) {
		return s.refuse(codeBadRequest, "api-version is missing or not supported.")
	}
	if !validID(c.registrationID) {
		return s.refuse(codeBadRequest, "registrationId is not valid.")
	}
	if wait, ok := s.quota.allow(s.cfg, c.op, foldID(c.registrationID), time.Now()); !ok {
		return s.throttle(wait)
	}
	if len(c.body) > maxBody {
		return s.refuse(codeTooLarge, "")
	}
	// clients send all sorts of things with a poll, and the service reads none of it
	if c.op != Poll {
		if problem := c.read(); problem != "" {
			return s.refuse(codeBadRequest, problem)
		}
		if c.op == Lookup && c.asksForCertificate {
			return s.refuse(codeBadRequestBody, "A status lookup cannot carry a csr.")
		}
	}
	dev, code, message := s.attest(c)
	if code != 0 {
		return s.refuse(code, message)
	}
	if dev.challenge != "" {
		return challengeWith(dev.challenge)
	}
	switch c.op {
	case Register:
		if problem := s.checkRequest(c); problem != "" {
			return s.refuse(codeBadRequestBody, problem)
		}
		if s.cfg.RefuseConcurrent && s.inProgress(c.registrationID) {
			return s.refuse(codeConflict, "")
		}
		c.note = dev.note(c.client, c.version)
		op := s.begin(c, s.allocation(dev.terms) == PolicyCustom && dev.status != Disabled)
		s.start(ctx, c, dev, op)
		a := succeed(202, operationStatus{OperationID: op.id, Status: StatusAssigning})
		a.retryAfter, a.registered, a.operationID = s.cfg.retryAfter(), true, op.id
		return a
	case Poll:
		status, done, ok := s.poll(ctx, c)
		if !ok {
			return s.refuse(codeNoOperation, "")
		}
		if done {
			return succeed(200, status)
		}
		a := succeed(202, status)
		a.retryAfter = s.cfg.retryAfter()
		return a
	default:
		return s.lookup(c)
	}
}

func (s *Server) throttle(wait time.Duration) response {
	a := s.refuse(codeThrottled, "")
	switch {
	case s.cfg.ThrottleRetryAfter > 0:
		a.retryAfter = seconds(s.cfg.ThrottleRetryAfter)
	case s.cfg.ThrottleRetryAfter == 0:
		a.retryAfter = seconds(wait)
	}
	return a
}

// lookup answers a device registration status lookup: the bare record.
func (s *Server) lookup(c *call) response {
	s.mu.Lock()
	var res *result
	if r := s.records[foldID(c.registrationID)]; r != nil {
		res = r.result(c.version)
	}
	s.mu.Unlock()
	switch {
	case res != nil:
		return succeed(200, res)
	case s.cfg.UnassignedLookup:
		return succeed(200, progress{RegistrationID: c.registrationID, Status: StatusUnassigned})
	}
	return s.refuse(codeNoRegistration, "")
}

// read takes the body of a registration or status lookup apart. Clients may send none at all, or
// blanks. It returns what is wrong.
func (c *call) read() string {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return ""
	}
	var body struct {
		RegistrationID *string         `json:"registrationId"`
		Payload        json.RawMessage `json:"payload"`
		TPM            *TPM            `json:"tpm"`
		CSR            json.RawMessage `json:"csr"`
	}
	if err := json.Unmarshal(c.body, &body); err != nil {
		return "The request body is not a device registration."
	}
	if body.RegistrationID != nil && !strings.EqualFold(*body.RegistrationID, c.registrationID) {
		return "registrationId of URI and request body differ."
	}
	// Other versions know no such member.
	if body.CSR != nil && string(body.CSR) != "null" &&
		(c.op == Lookup || c.version >= versionRequest) {
		c.asksForCertificate = true
		if err := json.Unmarshal(body.CSR, &c.csr); err != nil {
			return "csr is not text."
		}
	}
	c.tpm = body.TPM
	if c.version >= versionPayload && string(body.Payload) != "null" {
		c.payload = body.Payload
	}
	return ""
}

// API versions are dates, so their order is the order of the strings.
const (
	// the last one under which devices without a policy stay on their hub
	versionSticky  = "2018-04-01"
	versionPayload = "2019-03-31" // the first one with a payload
	// the first one that tells a repeated assignment from the initial one
	versionReprovisioned = "2019-04-15"
	// the first one that issues certificates
	versionRequest = "2025-07-01-preview"
	// the only one that tells the connection profile of the hub
	versionProfile = "2026-11-02-preview"
)

var versions = []string{
	"2017-11-15", "2018-04-01", "2018-09-01-preview", "2018-11-01", "2019-03-31", "2019-04-15",
	"2021-06-01", "2021-10-01", "2021-11-01-preview", versionRequest, "2026-11-01",
	versionProfile,
}

func knownVersion(v string) bool { return slices.Contains(versions, v) }
