// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"fmt"
	"strings"
)

// Move is an operator's decision that a device shall live at another linked hub: when it registers
// the next time it is assigned there, unless its enrollment's reprovision policy keeps it where it
// is. Until then nothing changes. An empty hubHost takes the decision back. It goes before the
// allocation policy.
func (s *Server) Move(registrationID, hubHost string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hubHost == "" {
		delete(s.moves, foldID(registrationID))
		return nil
	}
	if s.find(hubHost) < 0 {
		return fmt.Errorf("dpstest: hub %s is not linked", hubHost)
	}
	s.moves[foldID(registrationID)] = hubHost
	return nil
}

// MoveNow moves a registered device at once, whatever its policy: it gets an identity at the other
// hub, its identity at the old one is removed and its live connection there cut, and its record
// tells the new hub. What the device sees is that its hub rejects it. Later registrations go to the
// new hub too, as after Move.
func (s *Server) MoveNow(registrationID, hubHost string) error {
	if err := s.Move(registrationID, hubHost); err != nil {
		return err
	}
	s.turn <- struct{}{}
	defer func() { <-s.turn }()

	s.mu.Lock()
	old := s.records[foldID(registrationID)]
	s.mu.Unlock()
	if old == nil || old.hub == "" {
		return fmt.Errorf("dpstest: device %s is not registered", registrationID)
	}
	to := s.linked(hubHost)
	if to == nil {
		return fmt.Errorf("dpstest: hub %s is not linked", hubHost)
	}
	if strings.EqualFold(old.hub, hubHost) {
		return nil
	}
	if _, err := s.provision(
		to.Hub, place{old.hub, old.device}, old.terms, old.identity,
	); err != nil {
		return fmt.Errorf("dpstest: move %s to %s: %w", registrationID, hubHost, err)
	}

	now := Timestamp{s.network.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := *old
	next.hub = to.Host()
	next.record.AssignedHub, next.record.DeviceID, next.record.Status = next.hub, next.device,
		StatusAssigned
	next.record.Substatus = substatus("", outcome{moved: true, reset: old.terms.resets()})
	next.record.ErrorCode, next.record.ErrorMessage = 0, ""
	next.record.LastUpdatedDateTimeUTC, next.record.ETag = &now, newRecordETag()
	s.recordRegistration(&next, old)
	s.records[foldID(registrationID)] = &next
	return nil
}
