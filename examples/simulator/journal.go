package main

import (
	"context"
	"time"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// journalEvery is how often the journal is written, at most: events that come close together are
// read together.
const journalEvery = 50 * time.Millisecond

// journal logs what devices and operators ask of DPS and of hubs, and devices' connections, until
// ctx ends. It reads the log of events as any other reader does, so that no device waits for it.
func (s *simulator) journal(ctx context.Context) {
	s.tasks.Go(func() {
		after := uint64(0)
		for {
			changed := s.events.Changed()
			after = s.write(after)
			select {
			case <-changed:
			case <-ctx.Done():
				s.write(after) // what came last
				return
			}
			sleep(ctx, journalEvery)
		}
	})
}

// write logs the events after a position, and returns that of the last.
func (s *simulator) write(after uint64) uint64 {
	for {
		events, missed := s.events.Read(after, maxPage)
		if missed > 0 {
			s.log.Warn("more has happened than could be logged", "events", missed)
			after += missed
		}
		if len(events) == 0 {
			return after
		}
		for _, e := range events {
			after = e.Position
			s.writeEvent(e)
		}
	}
}

func (s *simulator) writeEvent(e *simnet.Event) {
	switch e.Kind {
	case simnet.EventConnected:
		s.log.Info(
			"device connected", "hub", e.Hub, "deviceId", fullID(e), "transport", e.Transport,
		)
	case simnet.EventRefused:
		details := []any{"hub", e.Hub, "deviceId", fullID(e), "transport", e.Transport}
		// what the device was told, if anything, and why
		switch {
		case e.Status != 0:
			details = append(details, "status", e.Status)
		case e.ReturnCode != 0:
			details = append(details, "returnCode", e.ReturnCode)
		}
		s.log.Info("device refused", append(details, "reason", e.Reason)...)
	case simnet.EventRequest:
		s.log.Info("dps "+e.Operation, requestDetails(e)...)
		if e.Operation == string(dpstest.Register) && e.Reason != "" && e.Status != 0 {
			s.log.Info(
				"client is old", "registrationId", e.RegistrationID, "meaning", e.Reason,
			)
		}
	case simnet.EventService:
		if e.Hub == "" {
			s.log.Info("dps service", requestDetails(e)...)
		} else {
			s.log.Info("hub service", append([]any{"hub", e.Hub}, requestDetails(e)...)...)
		}
	}
}

// fullID is the device, or "device/module".
func fullID(e *simnet.Event) string {
	if e.ModuleID != "" {
		return e.DeviceID + "/" + e.ModuleID
	}
	return e.DeviceID
}

func requestDetails(e *simnet.Event) []any {
	var details []any
	switch {
	case e.Kind == simnet.EventService:
		details = append(details, "method", e.Method, "path", e.Path)
	default:
		details = append(details, "transport", e.Transport)
		if e.RegistrationID != "" {
			details = append(details, "registrationId", e.RegistrationID)
		}
	}
	switch connect := e.Operation == string(dpstest.Connect); {
	case connect && e.Reason != "":
		details = append(details, "reason", e.Reason)
	case connect && e.Status == 0:
		details = append(details, "returnCode", e.ReturnCode)
	default:
		details = append(details, "status", e.Status)
	}
	if e.Code != 0 {
		details = append(details, "code", e.Code)
	}
	return details
}
