package dpstest

import "time"

// An operation is a registration as the device follows it. The registration itself is done when the operation begins;
// the operation only lets the device wait for the outcome, as the service does.
type operation struct {
	id             string
	registrationID string // lower case
	begun          time.Time
	assigning      int // answers "assigning" still to give
	result         *result
	progress       progress
}

// begin files an operation for a registration. Operations past their lifetime are forgotten.
func (s *Server) begin(c *call, r *registration) *operation {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	op := &operation{
		id: newOperationID(), registrationID: foldID(c.registrationID), begun: now,
		assigning: s.cfg.Polls - 1, // the answer to the register request is one too
		result:    r.result(c.version),
		progress:  progress{RegistrationID: c.registrationID, Status: StatusAssigning},
	}
	s.operations[op.id] = op
	s.order = append(s.order, op)
	for len(s.order) > 0 && now.Sub(s.order[0].begun) >= s.cfg.OperationLifetime {
		delete(s.operations, s.order[0].id)
		s.order = s.order[1:]
	}
	return op
}

// poll answers a poll of an operation: nil if there is none of that ID for the device.
func (s *Server) poll(c *call) (status operationStatus, done, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	op := s.operations[c.operationID]
	if op == nil || op.registrationID != foldID(c.registrationID) || time.Since(op.begun) >= s.cfg.OperationLifetime {
		return operationStatus{}, false, false
	}
	if op.assigning > 0 {
		op.assigning--
		return operationStatus{OperationID: op.id, Status: StatusAssigning, RegistrationState: op.progress}, false, true
	}
	return operationStatus{OperationID: op.id, Status: op.result.Status, RegistrationState: op.result}, true, true
}

// drop loses an operation.
func (s *Server) drop(operationID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.operations, operationID)
}

// collides says whether a device has an operation that the service would still be working on.
func (s *Server) collides(registrationID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	busy := time.Duration(s.cfg.Polls) * max(s.cfg.RetryAfter, time.Second)
	for i := len(s.order) - 1; i >= 0 && time.Since(s.order[i].begun) < busy; i-- {
		op := s.order[i]
		if op.registrationID == foldID(registrationID) && op.assigning > 0 && s.operations[op.id] != nil {
			return true
		}
	}
	return false
}
