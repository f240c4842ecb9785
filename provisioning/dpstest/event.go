// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"net/url"
	"strings"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// What happens at the server is recorded in the log of its network, if that has one; see
// [simnet.Network.RecordEvents].

const unanswered = "not answered"

// recordUnanswered records a CONNECT that gets no response, and returns why its connection ends.
func (s *Server) recordUnanswered(r *arrival, why error) error {
	s.network.Record(simnet.Event{
		Kind: simnet.EventRequest, RegistrationID: r.RegistrationID, Transport: r.Transport,
		Operation: r.Op.String(), APIVersion: r.APIVersion, Reason: unanswered,
	})
	return why
}

// recordRequest records a request once its response is known. A Clock is none of a device's.
func (s *Server) recordRequest(r Request) {
	e := simnet.Event{
		Kind: simnet.EventRequest, RegistrationID: r.RegistrationID, Transport: r.Transport,
		Operation: r.Op.String(), OperationID: r.OperationID, APIVersion: r.APIVersion,
		Status: r.Status, Code: r.Code, ReturnCode: r.ReturnCode, RetryAfter: r.RetryAfter,
		Reason: r.Note, Method: r.Method, Path: r.Path,
	}
	if r.Reason != "" {
		e.Reason = r.Reason
	}
	if r.Status == 0 && r.Op != Connect {
		e.Reason = unanswered
	}
	switch r.Op {
	case Clock:
		return
	case Service:
		e.Kind, e.Operation = simnet.EventService, ""
		e.RegistrationID = deviceOfPath(r.Path)
	}
	s.network.Record(e)
}

// deviceOfPath is the registration ID in the path of an operator's request, "" for none.
func deviceOfPath(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) < 2 || !strings.EqualFold(parts[0], "enrollments") &&
		!strings.EqualFold(parts[0], "registrations") || strings.EqualFold(parts[1], "query") {
		return ""
	}
	id, _ := url.PathUnescape(parts[1]) // it was, to route it
	return id
}

// recordRegistration records a registration record that was written in the place of another, nil
// for none. The caller holds the lock.
func (s *Server) recordRegistration(next, old *registration) {
	e := simnet.Event{
		Kind: simnet.EventRegistration, RegistrationID: next.record.RegistrationID,
		Hub: next.record.AssignedHub, DeviceID: next.record.DeviceID,
		Registration: &simnet.EventRecord{
			Status: next.record.Status, Substatus: next.record.Substatus,
			ErrorCode: next.record.ErrorCode, ErrorMessage: next.record.ErrorMessage,
		},
	}
	if old != nil {
		e.Registration.PreviousHub = old.hub
	}
	s.network.Record(e)
}

// recordDeletion records that a registration record is gone. The caller holds the lock.
func (s *Server) recordDeletion(old *registration) {
	s.network.Record(simnet.Event{
		Kind: simnet.EventRegistration, RegistrationID: old.record.RegistrationID,
		Registration: &simnet.EventRecord{Status: "deleted", PreviousHub: old.hub},
	})
}
