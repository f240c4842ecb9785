// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Step is one scene of the play, and what must be seen of it.
type Step struct {
	Title  string
	Tells  string
	Expect Expected
	Run    func(context.Context, *Scene) error
}

// Expected is what a step must come to.
type Expected struct {
	Requests   Counts
	Attempts   int                         // to connect, at all hubs
	Renewals   int                         // of a certificate, asked of a hub
	Hub        string                      // where the device ends
	Source     provisioning.Source         // how it knows
	Credential provisioning.CredentialKind // what the hub has accepted it with
	Least      time.Duration               // from the trigger to its first acknowledged message
	Most       time.Duration
}

// Counts are requests to DPS, as DPS saw them.
type Counts struct{ Register, Poll, Lookup, Clock int }

func (c Counts) total() int { return c.Register + c.Poll + c.Lookup + c.Clock }

// stepLimit is how long a step may hang before the play is given up.
const stepLimit = 20 * time.Second

// Scene is a step while it is played.
type Scene struct {
	*World
	Tell *Narrator

	step  Step
	boots []*Boot
	start time.Time // of the trigger
	seen  Outcome
}

// Outcome is what a step came to.
type Outcome struct {
	Step       Step
	Played     bool
	Requests   Counts
	Attempts   int
	Renewals   int
	Hub        string
	Source     provisioning.Source
	Credential provisioning.CredentialKind
	Took       time.Duration
	Problems   []string
}

// OK says that everything was as expected.
func (o *Outcome) OK() bool { return o.Played && len(o.Problems) == 0 }

// Report is the outcome of all steps.
type Report struct {
	Outcomes []Outcome
	Took     time.Duration
}

// AsExpected says that every step was played and went as it should.
func (r *Report) AsExpected() bool {
	for i := range r.Outcomes {
		if !r.Outcomes[i].OK() {
			return false
		}
	}
	return len(r.Outcomes) > 0
}

// FirstOtherwise is what a test of a play that goes wrong asks: the error is in what way the step
// with this number, from 1, is not the first that went otherwise, with a problem that says so.
func (r *Report) FirstOtherwise(number int, says string) error {
	for i := range r.Outcomes[:number-1] {
		if !r.Outcomes[i].OK() {
			return fmt.Errorf("step %d went otherwise", i+1)
		}
	}
	wrong := &r.Outcomes[number-1]
	if all := strings.Join(wrong.Problems, "\n"); wrong.OK() || !strings.Contains(all, says) {
		return fmt.Errorf("step %d says %q, and not %q", number, all, says)
	}
	return nil
}

// Play plays the steps, one after the other. A step that goes otherwise does not keep the next ones
// from being played; one that hangs does.
func Play(ctx context.Context, w *World, tell *Narrator, steps []Step) *Report {
	r, start := &Report{}, time.Now()
	hung := false
	for i, st := range steps {
		if hung || ctx.Err() != nil {
			r.Outcomes = append(r.Outcomes, Outcome{Step: st})
			continue
		}
		tell.Plain("\n%d. %s. %s", i+1, st.Title, st.Tells)
		s := &Scene{World: w, Tell: tell, step: st, seen: Outcome{Step: st, Played: true}}
		hung = !s.play(ctx)
		r.Outcomes = append(r.Outcomes, s.seen)
	}
	r.Took = time.Since(start)
	return r
}

// play reports false if the step hung.
func (s *Scene) play(ctx context.Context) bool {
	limited, cancel := context.WithTimeoutCause(
		ctx, s.step.Expect.Most+stepLimit, errors.New("nothing more happened"),
	)
	defer cancel()
	s.forget()
	dials := s.Network.Dials(s.DPS.Endpoint())
	err := s.step.Run(limited, s)
	var sent int
	for _, b := range s.boots {
		s.seen.Renewals += b.Dev.Status().Renewals
		s.Check(b.PowerOff())
		sent += int(b.sent.Load())
	}
	if ctx.Err() != nil {
		return false
	}
	s.Check(err)
	s.judge(limited, sent, s.Network.Dials(s.DPS.Endpoint())-dials)
	for _, problem := range s.seen.Problems {
		s.Tell.Line("NOT OK", "%s", problem)
	}
	if len(s.seen.Problems) == 0 {
		s.Tell.Line(
			"ok", "%s, %s after %.3f s", s.seen.Requests, Short(s.seen.Hub), s.seen.Took.Seconds(),
		)
	}
	return err == nil
}

// judge compares what was seen with what was expected.
func (s *Scene) judge(ctx context.Context, sent, dials int) {
	want, seen := s.step.Expect, &s.seen
	seen.Requests = Counts{
		Register: s.DPS.Count(dpstest.Register), Poll: s.DPS.Count(dpstest.Poll),
		Lookup: s.DPS.Count(dpstest.Lookup), Clock: s.DPS.Count(dpstest.Clock),
	}
	seen.Attempts = s.attempts()
	s.Expect(seen.Requests == want.Requests, "DPS saw %v, not %v", seen.Requests, want.Requests)
	s.Expect(
		s.DPS.Count() == seen.Requests.total(), "DPS saw %d requests of other kinds",
		s.DPS.Count()-seen.Requests.total(),
	)
	s.Expect(
		want.Requests.total() > 0 || dials == 0, "the device opened %d connections to DPS, not 0",
		dials,
	)
	s.Expect(
		seen.Attempts == want.Attempts, "hubs saw %d attempts to connect, not %d", seen.Attempts,
		want.Attempts,
	)
	s.Expect(
		seen.Renewals == want.Renewals, "hubs were asked for %d certificates, not %d",
		seen.Renewals, want.Renewals,
	)
	s.Expect(seen.Hub == want.Hub, "the device is at %q, not at %q", seen.Hub, want.Hub)
	s.Expect(
		seen.Source == want.Source, "it knows its hub from %q, not from %q", seen.Source,
		want.Source,
	)
	s.Expect(
		seen.Credential == want.Credential, "the hub has accepted it with its %s, not its %s",
		seen.Credential, want.Credential,
	)
	s.judgeTime(want, seen.Took)
	s.Expect(
		sent > 0 && s.messages() >= sent, "hubs have %d messages, %d were acknowledged",
		s.messages(), sent,
	)

	stored, err := s.Device().Remembered(ctx)
	s.Check(err)
	s.Expect(
		stored.Confirmed != nil && stored.Confirmed.Hub == want.Hub && stored.Candidate == nil,
		"the store does not hold %s: %+v", want.Hub, stored,
	)
}

// judgeTime is strict about what is too early. Where a step took somewhat longer in real time, the
// machine is the likelier reason, and is named.
func (s *Scene) judgeTime(want Expected, took time.Duration) {
	ok := took >= want.Least && took <= want.Most+s.late
	s.Expect(ok, "it took %.3f s, not %s", took.Seconds(), want.time())
	if ok && took > want.Most {
		s.Tell.Line("slow", "it took %.3f s, not %s: is the machine busy?", took.Seconds(),
			want.time())
	}
}

// Expect notes a problem, unless ok.
func (s *Scene) Expect(ok bool, format string, args ...any) {
	if !ok {
		s.seen.Problems = append(s.seen.Problems, fmt.Sprintf(format, args...))
	}
}

// Check notes an error, if it is one.
func (s *Scene) Check(err error) {
	if err != nil {
		s.seen.Problems = append(s.seen.Problems, err.Error())
	}
}

// Problems are what was noted so far.
func (s *Scene) Problems() []string { return s.seen.Problems }

// PowerOn starts the device as it is after any power cut: with its store and nothing else.
func (s *Scene) PowerOn(ctx context.Context, settings ...func(*provisioning.Device)) *Boot {
	dev := s.Device()
	for _, set := range settings {
		set(dev)
	}
	s.Trigger()
	s.Tell.Line("device", "is switched on")
	b := powerOn(ctx, dev, s.Tell, s.Session)
	s.boots = append(s.boots, b)
	return b
}

// Boot switches the device on, and takes down where it first arrives.
func (s *Scene) Boot(ctx context.Context, settings ...func(*provisioning.Device)) error {
	a, err := s.PowerOn(ctx, settings...).Arrival(ctx)
	if err == nil {
		s.Reached(a)
	}
	return err
}

// Trigger marks what the step's time is measured from.
func (s *Scene) Trigger() { s.start = time.Now() }

// Since is the time since the trigger.
func (s *Scene) Since(at time.Time) time.Duration { return at.Sub(s.start) }

// Reached takes down where the device has ended.
func (s *Scene) Reached(a Arrival) {
	s.seen.Hub, s.seen.Source, s.seen.Credential = a.Hub, a.Source, a.Credential
	s.seen.Took = s.Since(a.At)
}
