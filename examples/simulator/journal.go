package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// journalEvery is how often the journal is written. An entry waits as long for its answer, to be one line with it.
const journalEvery = 250 * time.Millisecond

// journal logs what devices and operators ask of DPS, and devices' connections to hubs, until ctx ends. It reads the logs that the services keep anyway, so that no
// device waits for it.
func (s *simulator) journal(ctx context.Context) {
	s.tasks.Go(func() {
		j := journal{simulator: s, requestsUntil: time.Now(), attemptsUntil: s.network.Now()}
		for sleep(ctx, journalEvery) {
			j.write()
		}
	})
}

type journal struct {
	*simulator
	requests      int // how many there have been; to read them all costs something
	late          bool
	requestsUntil time.Time // by this machine's clock
	attemptsUntil time.Time // by the services' clock
}

func (j *journal) write() {
	if n := j.dps.Count(); n != j.requests || j.late {
		j.late, j.requests = n != j.requests, n
		until := time.Now().Add(-journalEvery)
		for _, r := range j.dps.Requests() {
			if r.Op != dpstest.Clock && r.Time.After(j.requestsUntil) && !r.Time.After(until) {
				j.log.Info("dps "+string(r.Op), requestDetails(r)...)
			}
		}
		j.requestsUntil = until
	} else {
		j.requestsUntil = time.Now().Add(-journalEvery)
	}

	until := j.network.Now().Add(-journalEvery)
	for _, h := range j.hubs {
		for _, a := range h.Attempts() {
			if !a.Time.After(j.attemptsUntil) || a.Time.After(until) {
				continue
			}
			if a.Accepted() {
				j.log.Info("device connected", "hub", h.Host(), "deviceId", a.DeviceID, "transport", a.Transport)
			} else {
				j.log.Info("device refused", "hub", h.Host(), "deviceId", a.DeviceID, "transport", a.Transport, "returnCode", a.ReturnCode,
					"status", a.Status, "reason", a.Reason)
			}
		}
	}
	j.attemptsUntil = until
}

func requestDetails(r dpstest.Request) []any {
	details := []any{"transport", r.Transport}
	if r.RegistrationID != "" {
		details = append(details, "registrationId", r.RegistrationID)
	}
	switch {
	case r.Op == dpstest.Connect:
		details = append(details, "returnCode", r.ReturnCode)
	default:
		details = append(details, "status", r.Status)
	}
	if r.Code != 0 {
		details = append(details, slog.Int("code", r.Code))
	}
	return details
}
