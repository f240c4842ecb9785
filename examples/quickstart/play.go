package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// step is one scene of the play, and what must be seen of it.
type step struct {
	title  string
	tells  string
	expect expected
	run    func(context.Context, *scene) error
}

// expected is what a step must come to.
type expected struct {
	requests counts
	hub      string              // where the device ends
	source   provisioning.Source // how it knows
	least    time.Duration       // from the trigger to the first acknowledged message there
	most     time.Duration
}

// counts are requests to DPS, as DPS saw them.
type counts struct{ register, poll, lookup, clock int }

func (c counts) total() int { return c.register + c.poll + c.lookup + c.clock }

// stepLimit is how long a step may hang before the play is given up.
const stepLimit = 20 * time.Second

// scene is a step while it is played.
type scene struct {
	*world
	tell *narrator
	step step

	boots []*boot
	start time.Time // of the trigger
	seen  outcome
}

// outcome is what a step came to.
type outcome struct {
	step     step
	played   bool
	requests counts
	hub      string
	source   provisioning.Source
	took     time.Duration
	problems []string
}

// report is the outcome of all steps.
type report struct {
	outcomes []outcome
	took     time.Duration
}

// play plays the steps, one after the other. A step that goes otherwise does not keep the next ones
// from being played; one that hangs does.
func play(ctx context.Context, w *world, tell *narrator, steps []step) *report {
	r, start := &report{}, time.Now()
	hung := false
	for i, st := range steps {
		if hung || ctx.Err() != nil {
			r.outcomes = append(r.outcomes, outcome{step: st})
			continue
		}
		tell.plain("\n%d. %s. %s", i+1, st.title, st.tells)
		s := &scene{world: w, tell: tell, step: st, seen: outcome{step: st, played: true}}
		hung = !s.play(ctx)
		r.outcomes = append(r.outcomes, s.seen)
	}
	r.took = time.Since(start)
	return r
}

// play reports false if the step hung.
func (s *scene) play(ctx context.Context) bool {
	limited, cancel := context.WithTimeoutCause(
		ctx, s.step.expect.most+stepLimit, errors.New("nothing more happened"),
	)
	defer cancel()
	s.forget()
	dials := s.network.Dials(s.dps.Endpoint())
	err := s.step.run(limited, s)
	var sent int
	for _, b := range s.boots {
		s.check(b.powerOff())
		sent += int(b.sent.Load())
	}
	if ctx.Err() != nil {
		return false
	}
	s.check(err)
	s.judge(limited, sent, s.network.Dials(s.dps.Endpoint())-dials)
	for _, problem := range s.seen.problems {
		s.tell.line("NOT OK", "%s", problem)
	}
	if len(s.seen.problems) == 0 {
		s.tell.line(
			"ok", "%s, %s after %.3f s", s.seen.requests, short(s.seen.hub), s.seen.took.Seconds(),
		)
	}
	return err == nil
}

// judge compares what was seen with what was expected.
func (s *scene) judge(ctx context.Context, sent, dials int) {
	want, seen := s.step.expect, &s.seen
	seen.requests = counts{
		register: s.dps.Count(dpstest.Register), poll: s.dps.Count(dpstest.Poll),
		lookup: s.dps.Count(dpstest.Lookup), clock: s.dps.Count(dpstest.Clock),
	}
	s.expect(seen.requests == want.requests, "DPS saw %v, not %v", seen.requests, want.requests)
	s.expect(
		s.dps.Count() == seen.requests.total(), "DPS saw %d requests of other kinds",
		s.dps.Count()-seen.requests.total(),
	)
	s.expect(
		want.requests.total() > 0 || dials == 0, "the device opened %d connections to DPS, not 0",
		dials,
	)
	s.expect(seen.hub == want.hub, "the device is at %q, not at %q", seen.hub, want.hub)
	s.expect(
		seen.source == want.source, "it knows its hub from %q, not from %q", seen.source,
		want.source,
	)
	s.expect(
		seen.took >= want.least && seen.took <= want.most, "it took %.3f s, not %s",
		seen.took.Seconds(), want.time(),
	)
	s.expect(
		sent > 0 && s.messages() >= sent, "hubs have %d messages, %d were acknowledged",
		s.messages(), sent,
	)

	stored, err := s.device().Remembered(ctx)
	s.check(err)
	s.expect(
		stored.Confirmed != nil && stored.Confirmed.Hub == want.hub && stored.Candidate == nil,
		"the store does not hold %s: %+v", want.hub, stored,
	)
}

func (s *scene) expect(ok bool, format string, args ...any) {
	if !ok {
		s.seen.problems = append(s.seen.problems, fmt.Sprintf(format, args...))
	}
}

func (s *scene) check(err error) {
	if err != nil {
		s.seen.problems = append(s.seen.problems, err.Error())
	}
}

// powerOn starts the device as it is after any power cut: with its store and nothing else.
func (s *scene) powerOn(ctx context.Context, settings ...func(*provisioning.Device)) *boot {
	dev := s.device()
	for _, set := range settings {
		set(dev)
	}
	s.trigger()
	s.tell.line("device", "is switched on")
	b := powerOn(ctx, dev, s.tell)
	s.boots = append(s.boots, b)
	return b
}

// trigger marks what the step's time is measured from.
func (s *scene) trigger() { s.start = time.Now() }

// reached takes down where the device has ended.
func (s *scene) reached(a arrival) {
	s.seen.hub, s.seen.source, s.seen.took = a.hub, a.source, a.at.Sub(s.start)
}
