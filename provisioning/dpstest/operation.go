package dpstest

import "time"

// An operation is a registration as the device follows it. It lets the device wait for the outcome,
// as the service does, even where the registration is done at once.
type operation struct {
	id             string
	registrationID string // lower case
	version        string
	begun          time.Time
	assigning      int     // answers "assigning" still to give
	result         *result // nil while the registration is carried out
	// by a later registration of the device, whose outcome is then this one's too
	superseded bool
	progress   progress
}

// begin files an operation for a registration. Operations past their lifetime are forgotten.
func (s *Server) begin(c *call) *operation {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	op := &operation{
		id: newOperationID(), registrationID: foldID(c.registrationID), version: c.version,
		begun:     now,
		assigning: s.cfg.Polls - 1, // the response to the register request is one too
		progress:  progress{RegistrationID: c.registrationID, Status: StatusAssigning},
	}
	s.operations[op.id] = op
	s.order = append(s.order, op)
	for len(s.order) > 0 && now.Sub(s.order[0].begun) >= s.cfg.OperationLifetime {
		old := s.order[0]
		delete(s.operations, old.id)
		if s.latest[old.registrationID] == old {
			delete(s.latest, old.registrationID)
		}
		s.order = s.order[1:]
	}
	s.latest[op.registrationID] = op
	return op
}

// finish gives an operation its outcome; nil if a later registration has taken over.
func (s *Server) finish(op *operation, r *registration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r == nil {
		op.superseded = true
		return
	}
	op.result = r.result(op.version)
}

// outcome returns what came of an operation, nil while it runs. The caller holds the lock.
func (s *Server) outcome(op *operation) *result {
	if newest := s.latest[op.registrationID]; op.superseded && newest != nil {
		return newest.result
	}
	return op.result
}

// poll answers a poll of an operation: nil if there is none of that ID for the device.
func (s *Server) poll(c *call) (status operationStatus, done, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	op := s.operations[c.operationID]
	if op == nil || op.registrationID != foldID(c.registrationID) ||
		time.Since(op.begun) >= s.cfg.OperationLifetime {
		return operationStatus{}, false, false
	}
	outcome := s.outcome(op)
	if op.assigning > 0 || outcome == nil {
		op.assigning = max(0, op.assigning-1)
		return operationStatus{
			OperationID: op.id, Status: StatusAssigning, RegistrationState: op.progress,
		}, false, true
	}
	return operationStatus{
		OperationID: op.id, Status: outcome.Status, RegistrationState: outcome,
	}, true, true
}

// drop loses an operation.
func (s *Server) drop(operationID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.operations, operationID)
}

// inProgress says whether a device has an operation that the service would still be working on.
func (s *Server) inProgress(registrationID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	busy := time.Duration(s.cfg.Polls) * max(s.cfg.RetryAfter, time.Second)
	if op := s.latest[foldID(registrationID)]; op != nil && op.result == nil &&
		s.operations[op.id] != nil {
		return true
	}
	for i := len(s.order) - 1; i >= 0 && time.Since(s.order[i].begun) < busy; i-- {
		op := s.order[i]
		if op.registrationID == foldID(registrationID) && op.assigning > 0 &&
			s.operations[op.id] != nil {
			return true
		}
	}
	return false
}
