// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"context"
	"strings"
	"time"
)

// place is where a device lives.
type place struct{ hub, device string }

// stays says whether a device that already has a hub keeps it. A policy of the enrollment decides;
// without one, only devices that speak an old API version stay (Azure docs: "IoT Hub Device
// reprovisioning concepts").
func (t *terms) stays(version string) bool {
	if t.policy != nil {
		return !t.policy.UpdateHubAssignment
	}
	return version <= versionSticky
}

// resets says whether a device starts again from its initial configuration when it is provisioned
// again.
func (t *terms) resets() bool {
	return t.policy != nil && t.policy.UpdateHubAssignment && !t.policy.MigrateDeviceData
}

func (s *Server) place(registrationID string) place {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.records[foldID(registrationID)]; r != nil {
		return place{r.hub, r.device}
	}
	return place{}
}

// start carries a registration out: at once if that takes no time, else while the operation lets
// the device wait. A custom allocation is asked at once, all others are made at the end.
func (s *Server) start(ctx context.Context, c *call, dev attested, op *operation) {
	custom := op.allocating
	if s.cfg.AssignTime <= 0 && !custom {
		// a device that hangs up has registered all the same
		s.finish(op, s.register(context.WithoutCancel(ctx), c, dev, op, nil))
		return
	}
	s.write(c, dev, op, func(r *registration) { r.record.Status = StatusAssigning })
	s.network.Go(func(ctx context.Context) {
		var choice *decision
		if custom {
			choice = s.decide(ctx, c, dev)
			s.allocated(op)
		}
		if !pause(ctx, s.cfg.AssignTime-time.Since(op.begun)) {
			s.finish(op, nil) // the network is closed: nobody asks any more
			return
		}
		s.finish(op, s.register(ctx, c, dev, op, choice))
	})
}

// A decision is what an allocation came to.
type decision struct {
	Allocated
	err error
}

func (s *Server) decide(ctx context.Context, c *call, dev attested) *decision {
	chosen, err := s.allocate(ctx, c, dev, s.place(c.registrationID))
	return &decision{chosen, err}
}

// register carries a registration out, from the allocation to the hub's registry, and writes its
// record. Its outcome is final; the device is told step by step, by the operation. It returns nil
// if the device registered once more meanwhile: the newest registration alone decides. A choice
// that is nil is made now.
func (s *Server) register(
	ctx context.Context, c *call, dev attested, op *operation, choice *decision,
) *registration {
	if dev.status == Disabled {
		return s.write(c, dev, op, func(r *registration) { r.record.Status = StatusDisabled })
	}
	if choice == nil {
		choice = s.decide(ctx, c, dev)
	}
	if ctx.Err() != nil {
		return nil // the network is closed: nobody asks any more
	}
	if choice.err != nil {
		return s.fail(c, dev, op, choice.err)
	}
	chosen := choice.Allocated
	if chosen.InitialTwin != nil {
		dev.twin, dev.override = chosen.InitialTwin, s.cfg.InitialTwinOverrides
	}

	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if !s.newest(op) {
		return nil
	}
	to := s.linked(chosen.Hub)
	if to == nil {
		return s.fail(
			c, dev, op, &allocationError{codeNoHub, "The IoT hub is not linked any more."},
		)
	}
	current := s.place(c.registrationID) // may have changed while the allocation took its time
	first := current.hub == ""
	if current.device == "" {
		if current.device = dev.deviceID; current.device == "" {
			current.device = c.registrationID
		}
	}
	identity, chain, err := s.issue(c, dev, to.Hub, current)
	if err != nil {
		return s.fail(c, dev, op, err)
	}
	dev.identity = identity
	known, err := s.provision(to.Hub, current, dev.terms, dev.identity)
	if err != nil {
		return s.fail(c, dev, op, err)
	}
	substatus := substatus(c.version, outcome{
		again: !first || known, moved: !first && !strings.EqualFold(current.hub, to.Host()),
		reset: !first && dev.resets(),
	})
	return s.write(c, dev, op, func(r *registration) {
		r.hub, r.device = to.Host(), current.device
		r.record.Status, r.record.Substatus = StatusAssigned, substatus
		r.record.AssignedHub, r.record.DeviceID = r.hub, r.device
		r.record.Payload = chosen.Payload
		r.profile, r.chain = to.ConnectionProfile(), chain
	})
}

// outcome is what a registration did to the device.
type outcome struct {
	again bool // it was known before, to the service or to the hub
	moved bool // from one hub to another
	reset bool // it starts from its initial configuration again
}

func substatus(version string, o outcome) string {
	switch {
	case o.reset:
		return DeviceDataReset
	case o.moved:
		return DeviceDataMigrated
	case o.again && version >= versionReprovisioned:
		return ReprovisionedToInitialAssignment
	}
	return InitialAssignment
}

func (s *Server) fail(c *call, dev attested, op *operation, err error) *registration {
	return s.write(c, dev, op, func(r *registration) {
		r.record.Status = StatusFailed
		r.record.ErrorCode, r.record.ErrorMessage = failure(err)
	})
}

// newest says whether no other registration of the device came after an operation's.
func (s *Server) newest(op *operation) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest[op.registrationID] == op
}

// write brings the record of a device up to date. What an earlier registration wrote goes, but for
// its creation time.
func (s *Server) write(
	c *call, dev attested, op *operation, change func(*registration),
) *registration {
	now := Timestamp{s.network.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest[op.registrationID] != op {
		return nil
	}
	next := &registration{
		record: Record{RegistrationID: c.registrationID, CreatedDateTimeUTC: &now},
	}
	if old := s.records[foldID(c.registrationID)]; old != nil {
		next.record.RegistrationID, next.record.CreatedDateTimeUTC = old.record.RegistrationID,
			old.record.CreatedDateTimeUTC
		next.hub, next.device = old.hub, old.device
	}
	next.record.LastUpdatedDateTimeUTC, next.record.ETag = &now, newRecordETag()
	next.terms, next.identity, next.by = dev.terms, dev.identity, dev.by
	next.hubKey, next.wrapped = dev.hubKey, dev.wrapped
	change(next)
	s.recordRegistration(next, s.records[foldID(c.registrationID)])
	s.records[foldID(c.registrationID)] = next
	return next
}
