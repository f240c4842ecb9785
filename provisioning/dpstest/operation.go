// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"context"
	"time"
)

// An operation is a registration as the device follows it.
type operation struct {
	id             string
	registrationID string // lower case
	version        string
	begun          time.Time
	result         *result       // nil while the registration is carried out
	done           chan struct{} // closed when it has been carried out
	allocating     bool          // a custom allocation takes its time
	// by a later registration of the device, whose outcome is then this one's too
	superseded bool
	progress   progress
}

// begin files an operation for a registration, which begins with a custom allocation or with none.
// Operations past their lifetime are forgotten.
func (s *Server) begin(c *call, custom bool) *operation {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	op := &operation{
		id: newOperationID(), registrationID: foldID(c.registrationID), version: c.version,
		begun: now, done: make(chan struct{}), allocating: custom,
		progress: progress{RegistrationID: c.registrationID, Status: StatusAssigning},
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
	defer close(op.done)
	if r == nil {
		op.superseded = true
		return
	}
	op.result = r.result(op.version)
	op.result.IssuedChain = r.chain
}

// outcome returns what came of an operation, nil while it runs. The caller holds the lock.
func (s *Server) outcome(op *operation) *result {
	if newest := s.latest[op.registrationID]; op.superseded && newest != nil {
		return newest.result
	}
	return op.result
}

// poll answers a poll of an operation: not ok if there is none of that ID for the device.
func (s *Server) poll(ctx context.Context, c *call) (status operationStatus, done, ok bool) {
	op := s.operation(c)
	if op == nil {
		return operationStatus{}, false, false
	}
	if s.due(op) {
		// Its time has passed, so it is being carried out in this moment: a device that waited as
		// long as it was told to is not told to wait once more.
		select {
		case <-op.done:
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	outcome := s.outcome(op)
	if outcome == nil {
		return operationStatus{
			OperationID: op.id, Status: StatusAssigning, RegistrationState: op.progress,
		}, false, true
	}
	return operationStatus{
		OperationID: op.id, Status: outcome.Status, RegistrationState: outcome,
	}, true, true
}

// operation returns the one that a call names, nil if the device has none of that ID.
func (s *Server) operation(c *call) *operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	op := s.operations[c.operationID]
	if op == nil || op.registrationID != foldID(c.registrationID) ||
		time.Since(op.begun) >= s.cfg.OperationLifetime {
		return nil
	}
	return op
}

// due says whether the time that an operation takes has passed. A custom allocation may take
// longer.
func (s *Server) due(op *operation) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !op.allocating && time.Since(op.begun) >= s.cfg.AssignTime
}

// allocated ends the time of a custom allocation.
func (s *Server) allocated(op *operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	op.allocating = false
}

// drop loses an operation.
func (s *Server) drop(operationID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.operations, operationID)
}

// inProgress says whether a device has an operation that the service is still working on.
func (s *Server) inProgress(registrationID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	op := s.latest[foldID(registrationID)]
	return op != nil && op.result == nil && s.operations[op.id] != nil &&
		(op.allocating || time.Since(op.begun) < s.cfg.AssignTime)
}
