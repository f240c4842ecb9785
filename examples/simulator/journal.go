package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// journalEvery is how often the journal is written. An entry waits as long for its response, to be
// one line with it.
const journalEvery = 250 * time.Millisecond

// journal logs what devices and operators ask of DPS, and devices' connections to hubs, until ctx
// ends. It reads the logs that the services keep anyway, so that no device waits for it.
func (s *simulator) journal(ctx context.Context) {
	s.tasks.Go(func() {
		j := journal{simulator: s, attempts: map[string]int{}}
		for sleep(ctx, journalEvery) {
			j.write()
		}
	})
}

type journal struct {
	*simulator
	// positions of what is to be written next, in the logs of DPS and of each hub
	requests int
	attempts map[string]int
}

func (j *journal) write() {
	requests, next := j.dps.RequestsFrom(j.requests)
	for i, r := range requests {
		if time.Since(r.Time) < journalEvery {
			next -= len(requests) - i // it may yet be answered
			break
		}
		if r.Op == dpstest.Clock {
			continue
		}
		j.log.Info("dps "+string(r.Op), requestDetails(r)...)
		if r.Note != "" && r.Op == dpstest.Register {
			j.log.Info("client is old", "registrationId", r.RegistrationID, "meaning", r.Note)
		}
	}
	j.requests = next
	for _, h := range j.hubs {
		j.writeAttempts(h)
	}
}

// writeAttempts writes what is new since the last one written. It goes by the order of the log and
// not by its times, which jump with the services' clock.
func (j *journal) writeAttempts(h *hubtest.Hub) {
	attempts, next := h.AttemptsFrom(j.attempts[h.Host()])
	now := j.network.Now()
	for i, a := range attempts {
		if age := now.Sub(a.Time); !a.Answered && age >= 0 && age < journalEvery {
			next -= len(attempts) - i // it may yet be answered
			break
		}
		if a.Accepted() {
			j.log.Info(
				"device connected", "hub", h.Host(), "deviceId", a.DeviceID, "transport",
				a.Transport,
			)
		} else {
			j.log.Info("device refused", append([]any{
				"hub", h.Host(), "deviceId", a.DeviceID, "transport", a.Transport,
			}, refusal(a)...)...)
		}
	}
	j.attempts[h.Host()] = next
}

// refusal is what the device was told, if anything, and why.
func refusal(a hubtest.Attempt) []any {
	var details []any
	switch {
	case a.Status != 0:
		details = append(details, "status", a.Status)
	case a.ReturnCode != 0:
		details = append(details, "returnCode", a.ReturnCode)
	}
	return append(details, "reason", a.Reason)
}

func requestDetails(r dpstest.Request) []any {
	details := []any{"transport", r.Transport}
	if r.RegistrationID != "" {
		details = append(details, "registrationId", r.RegistrationID)
	}
	switch {
	case r.Op == dpstest.Connect && r.Note != "":
		details = append(details, "reason", r.Note)
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
