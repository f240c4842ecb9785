package main

import (
	"context"
	"errors"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const (
	dpsPatience = 3 * time.Second // what DPS asks a device to wait before it polls
	// the least wait after a failed attempt at a hub; the first wait is up to twice that, at random
	backOff = 5 * time.Second
	machine = 2 * time.Second // what this machine may take for the rest
)

var (
	fromStore        = provisioning.SourceStore
	fromLookup       = provisioning.SourceLookup
	fromRegistration = provisioning.SourceRegistration
)

var steps = []step{
	{
		title: "First boot",
		tells: "The device has an ID scope, a registration ID and a key, and no idea where it " +
			"belongs: it registers.",
		expect: expected{
			requests: counts{register: 1, poll: 1}, hub: "hub-a" + domain, source: fromRegistration,
			least: dpsPatience, most: dpsPatience + machine,
		},
		run: firstBoot,
	},
	{
		title: "Warm boot",
		tells: "Every later start goes straight to the hub it remembers. DPS is not even " +
			"connected to.",
		expect: expected{hub: "hub-a" + domain, source: fromStore, most: machine},
		run:    warmBoot,
	},
	{
		title: "Hub unavailable, over MQTT",
		tells: "The hub answers CONNACK 3. No reason to bother DPS: back off, 5 s and up to 5 s " +
			"more at random, and try again.",
		expect: expected{
			hub: "hub-a" + domain, source: fromStore, least: backOff, most: 2*backOff + machine,
		},
		run: hubUnavailable,
	},
	{
		title: "Hub unavailable, over WebSocket",
		tells: "The hub answers the upgrade with 503. The same rule.",
		expect: expected{
			hub: "hub-a" + domain, source: fromStore, least: backOff, most: 2*backOff + machine,
		},
		run: hubUnavailableWebSocket,
	},
	{
		title: "The operator moves the device to another hub",
		tells: "The old hub cuts it off and then rejects it: register again, connect to the new " +
			"hub.",
		expect: expected{
			requests: counts{register: 1, poll: 1, clock: 1}, hub: "hub-b" + domain,
			source: fromRegistration, least: backOff + dpsPatience,
			most: 2*backOff + dpsPatience + machine,
		},
		run: moved,
	},
	{
		title: "The store is lost",
		tells: "Half of what is stored is gone. A status lookup finds the hub; " +
			"nothing is registered.",
		expect: expected{
			requests: counts{lookup: 1}, hub: "hub-b" + domain, source: fromLookup, most: machine,
		},
		run: storeLost,
	},
	{
		title: "Manual reprovisioning",
		tells: "The operator retires hub-b; the program is told to reprovision. " +
			"It stays connected until DPS has answered.",
		expect: expected{
			requests: counts{register: 1, poll: 1}, hub: "hub-c" + domain, source: fromRegistration,
			least: dpsPatience, most: dpsPatience + machine,
		},
		run: reprovisioned,
	},
}

func firstBoot(ctx context.Context, s *scene) error {
	a, err := s.powerOn(ctx).arrival(ctx)
	if err != nil {
		return err
	}
	s.reached(a)
	r := s.dps.Requests()
	s.expect(
		len(r) == 2 && r[1].Time.Sub(r[0].Time) >= dpsPatience,
		"it did not wait %v between register and poll, as DPS asked: %v", dpsPatience, r,
	)
	return nil
}

func warmBoot(ctx context.Context, s *scene) error {
	a, err := s.powerOn(ctx).arrival(ctx)
	if err != nil {
		return err
	}
	s.reached(a)
	return nil
}

func hubUnavailable(ctx context.Context, s *scene) error {
	s.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3})
	a, err := s.powerOn(ctx).arrival(ctx)
	if err != nil {
		return err
	}
	s.reached(a)
	s.refusedOnce(s.a.Attempts(), func(t hubtest.Attempt) bool {
		return t.Transport == hubMQTT && t.ReturnCode == 3
	})
	return nil
}

func hubUnavailableWebSocket(ctx context.Context, s *scene) error {
	s.a.Inject(hubtest.Fault{On: hubtest.Upgrade, Status: 503, ErrorCode: "ServiceUnavailable"})
	a, err := s.powerOn(ctx, overWebSocket).arrival(ctx)
	if err != nil {
		return err
	}
	s.reached(a)
	s.refusedOnce(s.a.Attempts(), func(t hubtest.Attempt) bool {
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
func (s *scene) refusedOnce(log []hubtest.Attempt, right func(hubtest.Attempt) bool) {
	if len(log) != 2 {
		s.expect(false, "hub-a saw %d attempts, not 2: %+v", len(log), log)
		return
	}
	s.expect(right(log[0]), "hub-a did not refuse as it should have: %+v", log[0])
	s.expect(
		log[1].Accepted() && log[1].Transport == log[0].Transport,
		"hub-a did not accept the second attempt: %+v", log[1],
	)
	s.backedOff("measured %.3f s between the two attempts", log[1].Time.Sub(log[0].Time))
}

func (s *scene) backedOff(format string, waited time.Duration) {
	s.tell.line("hub-a", format, waited.Seconds())
	s.expect(waited >= backOff, "the device came back after %v, before %v", waited, backOff)
}

func moved(ctx context.Context, s *scene) error {
	b := s.powerOn(ctx)
	if _, err := b.arrival(ctx); err != nil {
		return err
	}
	s.trigger()
	s.tell.line("operator", "moves the device to hub-b")
	if err := s.dps.MoveNow(registrationID, s.b.Host()); err != nil {
		return err
	}
	end, err := b.ending(ctx)
	if err != nil {
		return err
	}
	s.expect(end.hub == s.a.Host(), "a session ended at %s, not at hub-a", end.hub)
	a, err := b.arrival(ctx)
	if err != nil {
		return err
	}
	s.reached(a)
	if log := s.a.Attempts(); len(log) == 2 && log[1].ReturnCode == 5 {
		s.backedOff("rejected it %.3f s after the cut", log[1].Time.Sub(s.start))
	} else {
		s.expect(false, "hub-a did not reject the device once, with CONNACK 5: %+v", log)
	}
	return nil
}

func storeLost(ctx context.Context, s *scene) error {
	entry, err := s.store.Get(ctx, registrationID)
	if err != nil {
		return err
	}
	if err := s.store.Put(ctx, registrationID, entry[:len(entry)/2]); err != nil {
		return err
	}
	s.tell.line("flash", "keeps %d of the %d bytes stored", len(entry)/2, len(entry))
	a, err := s.powerOn(ctx).arrival(ctx)
	if err != nil {
		return err
	}
	s.reached(a)
	return nil
}

func reprovisioned(ctx context.Context, s *scene) error {
	b := s.powerOn(ctx)
	if _, err := b.arrival(ctx); err != nil {
		return err
	}
	s.tell.line("operator", "takes hub-b out of DPS and sends its devices to hub-c")
	s.dps.Unlink(s.b.Host())
	if err := s.dps.Move(registrationID, s.c.Host()); err != nil {
		return err
	}
	s.trigger()
	s.tell.line("program", "calls Reprovision")
	assignment, err := b.dev.Reprovision(ctx, "operator")
	if err != nil {
		return err
	}
	s.expect(assignment.Hub == s.c.Host(), "Reprovision returned %s, not hub-c", assignment.Hub)
	end, err := b.ending(ctx)
	if err != nil {
		return err
	}
	s.tell.line("program", "its session on hub-b has ended: %v", end.cause)
	s.expect(
		errors.Is(end.cause, provisioning.ErrReprovisioned),
		"the session ended with %q, not with ErrReprovisioned", end.cause,
	)
	a, err := b.arrival(ctx)
	if err != nil {
		return err
	}
	s.reached(a)

	// From the trigger to DPS's answer the device went on sending to hub-b.
	var asked, answered time.Time
	for _, r := range s.dps.Requests() {
		switch r.Op {
		case dpstest.Register:
			asked = r.Time
		case dpstest.Poll:
			answered = r.Time
		}
	}
	s.expect(!end.at.Before(answered), "the session ended before DPS had answered")
	meanwhile := 0
	for _, m := range s.b.Messages() {
		if m.Time.After(asked) && m.Time.Before(answered) {
			meanwhile++
		}
	}
	s.tell.line("hub-b", "took %d messages while DPS was busy", meanwhile)
	s.expect(meanwhile > 0, "no message reached hub-b while DPS was busy")
	s.expect(len(s.b.Attempts()) == 1, "hub-b saw %d attempts, not 1", len(s.b.Attempts()))
	return nil
}
