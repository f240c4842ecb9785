// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"

	"github.com/rehome-iot/rehome/examples/internal/stage"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const (
	hubA = "hub-a" + stage.Domain
	hubB = "hub-b" + stage.Domain
	hubC = "hub-c" + stage.Domain
)

var (
	fromStore        = provisioning.SourceStore
	fromLookup       = provisioning.SourceLookup
	fromRegistration = provisioning.SourceRegistration

	key = provisioning.CredentialAttestation
)

func (w *world) steps() []stage.Step {
	return []stage.Step{
		{
			Title: "First boot",
			Tells: "The device has an ID scope, a registration ID and a key, and no idea where " +
				"it belongs: it registers.",
			Expect: stage.Expected{
				Attempts: 1, Credential: key, Requests: stage.Counts{Register: 1, Poll: 1},
				Hub: hubA, Source: fromRegistration, Least: stage.Patience,
				Most: stage.Patience + stage.Machine,
			},
			Run: w.firstBoot,
		},
		{
			Title: "Warm boot",
			Tells: "Every later start goes straight to the hub it remembers. DPS is not even " +
				"connected to.",
			Expect: stage.Expected{
				Attempts: 1, Credential: key, Hub: hubA, Source: fromStore, Most: stage.Machine,
			},
			Run: w.warmBoot,
		},
		{
			Title: "Hub unavailable, over MQTT",
			Tells: "The hub answers CONNACK 3. No reason to bother DPS: back off, 5 s and up to " +
				"5 s more at random, and try again.",
			Expect: stage.Expected{
				Attempts: 2, Credential: key, Hub: hubA, Source: fromStore, Least: stage.BackOff,
				Most: 2*stage.BackOff + stage.Machine,
			},
			Run: w.hubUnavailable,
		},
		{
			Title: "Hub unavailable, over WebSocket",
			Tells: "The hub answers the upgrade with 503. The same rule.",
			Expect: stage.Expected{
				Attempts: 2, Credential: key, Hub: hubA, Source: fromStore, Least: stage.BackOff,
				Most: 2*stage.BackOff + stage.Machine,
			},
			Run: w.hubUnavailableWebSocket,
		},
		{
			Title: "The operator moves the device to another hub",
			Tells: "The old hub cuts it off and then rejects it: register again, connect to the " +
				"new hub.",
			Expect: stage.Expected{
				Attempts: 3, Credential: key,
				Requests: stage.Counts{Register: 1, Poll: 1, Clock: 1}, Hub: hubB,
				Source: fromRegistration, Least: stage.BackOff + stage.Patience,
				Most: 2*stage.BackOff + stage.Patience + stage.Machine,
			},
			Run: w.moved,
		},
		{
			Title: "The store is lost",
			Tells: "Half of what is stored is gone. A status lookup finds the hub; nothing is " +
				"registered.",
			Expect: stage.Expected{
				Attempts: 1, Credential: key, Requests: stage.Counts{Lookup: 1}, Hub: hubB,
				Source: fromLookup, Most: stage.Machine,
			},
			Run: w.storeLost,
		},
		{
			Title: "Manual reprovisioning",
			Tells: "The operator retires hub-b; the program is told to reprovision. It stays " +
				"connected until DPS has answered.",
			Expect: stage.Expected{
				Attempts: 2, Credential: key, Requests: stage.Counts{Register: 1, Poll: 1},
				Hub: hubC, Source: fromRegistration, Least: stage.Patience,
				Most: stage.Patience + stage.Machine,
			},
			Run: w.reprovisioned,
		},
	}
}

func (w *world) firstBoot(ctx context.Context, s *stage.Scene) error {
	if err := s.Boot(ctx); err != nil {
		return err
	}
	r := s.DPS.Requests()
	s.Expect(
		len(r) == 2 && r[1].Time.Sub(r[0].Time) >= stage.Patience,
		"it did not wait %v between register and poll, as DPS asked: %v", stage.Patience, r,
	)
	return nil
}

func (w *world) warmBoot(ctx context.Context, s *stage.Scene) error {
	return s.Boot(ctx)
}

func (w *world) hubUnavailable(ctx context.Context, s *stage.Scene) error {
	w.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3})
	if err := s.Boot(ctx); err != nil {
		return err
	}
	refusedOnce(s, w.a.Attempts(), func(t hubtest.Attempt) bool {
		return t.Transport == hubMQTT && t.ReturnCode == 3
	})
	return nil
}

func (w *world) hubUnavailableWebSocket(ctx context.Context, s *stage.Scene) error {
	w.a.Inject(hubtest.Fault{On: hubtest.Upgrade, Status: 503, ErrorCode: "ServiceUnavailable"})
	if err := s.Boot(ctx, overWebSocket); err != nil {
		return err
	}
	refusedOnce(s, w.a.Attempts(), func(t hubtest.Attempt) bool {
		return t.Transport == hubWebSocket && t.Status == 503
	})
	return nil
}

// The transports, as a hub's log names them.
const (
	hubMQTT      = "mqtt"
	hubWebSocket = "ws"
)

// refusedOnce checks hub-a's log: one refusal of the right kind, and an accepted attempt 5 s and
// more later.
func refusedOnce(s *stage.Scene, log []hubtest.Attempt, right func(hubtest.Attempt) bool) {
	if len(log) != 2 {
		s.Expect(false, "hub-a saw %d attempts, not 2: %+v", len(log), log)
		return
	}
	s.Expect(right(log[0]), "hub-a did not refuse as it should have: %+v", log[0])
	s.Expect(
		log[1].Accepted() && log[1].Transport == log[0].Transport,
		"hub-a did not accept the second attempt: %+v", log[1],
	)
	backedOff(s, "measured %.3f s between the two attempts", log[1].Time.Sub(log[0].Time))
}

func backedOff(s *stage.Scene, format string, waited time.Duration) {
	s.Tell.Line("hub-a", format, waited.Seconds())
	s.Expect(
		waited >= stage.BackOff, "the device came back after %v, before %v", waited, stage.BackOff,
	)
}

func (w *world) moved(ctx context.Context, s *stage.Scene) error {
	b := s.PowerOn(ctx)
	if _, err := b.Arrival(ctx); err != nil {
		return err
	}
	s.Trigger()
	s.Tell.Line("operator", "moves the device to hub-b")
	if err := s.DPS.MoveNow(registrationID, w.b.Host()); err != nil {
		return err
	}
	end, err := b.Ending(ctx)
	if err != nil {
		return err
	}
	s.Expect(end.Hub == w.a.Host(), "a session ended at %s, not at hub-a", end.Hub)
	a, err := b.Arrival(ctx)
	if err != nil {
		return err
	}
	s.Reached(a)
	if log := w.a.Attempts(); len(log) == 2 && log[1].ReturnCode == 5 {
		backedOff(s, "rejected it %.3f s after the cut", s.Since(log[1].Time))
	} else {
		s.Expect(false, "hub-a did not reject the device once, with CONNACK 5: %+v", log)
	}
	return nil
}

func (w *world) storeLost(ctx context.Context, s *stage.Scene) error {
	entry, err := s.Store.Get(ctx, registrationID)
	if err != nil {
		return err
	}
	if err := s.Store.Put(ctx, registrationID, entry[:len(entry)/2]); err != nil {
		return err
	}
	s.Tell.Line("flash", "keeps %d of the %d bytes stored", len(entry)/2, len(entry))
	return s.Boot(ctx)
}

func (w *world) reprovisioned(ctx context.Context, s *stage.Scene) error {
	b := s.PowerOn(ctx)
	if _, err := b.Arrival(ctx); err != nil {
		return err
	}
	s.Tell.Line("operator", "takes hub-b out of DPS and sends its devices to hub-c")
	s.DPS.Unlink(w.b.Host())
	if err := s.DPS.Move(registrationID, w.c.Host()); err != nil {
		return err
	}
	s.Trigger()
	s.Tell.Line("program", "calls Reprovision")
	assignment, err := b.Dev.Reprovision(ctx, "operator")
	if err != nil {
		return err
	}
	s.Expect(assignment.Hub == w.c.Host(), "Reprovision returned %s, not hub-c", assignment.Hub)
	end, err := b.Ending(ctx)
	if err != nil {
		return err
	}
	s.Tell.Line("program", "its session on hub-b has ended: %v", end.Cause)
	s.Expect(
		errors.Is(end.Cause, provisioning.ErrReprovisioned),
		"the session ended with %q, not with ErrReprovisioned", end.Cause,
	)
	a, err := b.Arrival(ctx)
	if err != nil {
		return err
	}
	s.Reached(a)

	// From the trigger to DPS's answer the device went on sending to hub-b.
	var asked, answered time.Time
	for _, r := range s.DPS.Requests() {
		switch r.Op {
		case dpstest.Register:
			asked = r.Time
		case dpstest.Poll:
			answered = r.Time
		}
	}
	s.Expect(!end.At.Before(answered), "the session ended before DPS had answered")
	meanwhile := 0
	for _, m := range w.b.Messages() {
		if m.Time.After(asked) && m.Time.Before(answered) {
			meanwhile++
		}
	}
	s.Tell.Line("hub-b", "took %d messages while DPS was busy", meanwhile)
	s.Expect(meanwhile > 0, "no message reached hub-b while DPS was busy")
	s.Expect(len(w.b.Attempts()) == 1, "hub-b saw %d attempts, not 1", len(w.b.Attempts()))
	return nil
}
