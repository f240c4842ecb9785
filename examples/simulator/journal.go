// SPDX-License-Identifier: Apache-2.0

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

// shownBody is how much of a message is logged, in bytes.
const shownBody = 100

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
	case simnet.EventTelemetry:
		s.writeFirst(e)
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
	case simnet.EventOperation:
		if e.Reason != "" { // over HTTPS, which has no connection that could be refused
			s.log.Info("device refused", "hub", e.Hub, "deviceId", fullID(e), "transport",
				e.Transport, "status", e.Status, "code", e.Code, "reason", e.Reason)
		}
	case simnet.EventRequest:
		s.log.Info("dps "+e.Operation, requestDetails(e)...)
		if e.Operation == string(dpstest.Register) && e.Reason != "" && e.Status/100 == 2 {
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

// writeFirst logs the first message of each device at each hub: that is what somebody waits for who
// has just made a device work. All of them are in the feed.
func (s *simulator) writeFirst(e *simnet.Event) {
	name := e.Hub + "/" + fullID(e)
	if s.heard[name] {
		return
	}
	s.heard[name] = true
	body := string(e.Message.Body[:min(len(e.Message.Body), shownBody)])
	s.log.Info(
		"first message", "hub", e.Hub, "deviceId", fullID(e), "bytes", len(e.Message.Body), "body",
		withoutSecrets(printable(body)),
	)
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
	case connect && e.ReturnCode == 0 && e.Reason != "": // a client of AMQP
	case connect && e.Status == 0:
		details = append(details, "returnCode", e.ReturnCode)
	default:
		details = append(details, "status", e.Status)
	}
	if e.Code != 0 {
		details = append(details, "code", e.Code)
	}
	if e.Reason != "" && e.Status/100 != 2 { // which the device was not told
		details = append(details, "reason", e.Reason)
	}
	return details
}
