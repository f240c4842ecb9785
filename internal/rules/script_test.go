// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// epochOfScripts is when a script begins.
var epochOfScripts = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// fixed draws the same place in every interval.
type fixed float64

func (f fixed) Float64() float64 { return float64(f) }

// The two ends of every interval, and its middle.
var (
	lowest  = fixed(0)
	middle  = fixed(0.5)
	highest = fixed(math.Nextafter(1, 0))
)

// drawn checks the interval that a moment is drawn from: played with the lowest and the highest
// draw, the wait that play returns is lo and hi.
func drawn(t *testing.T, lo, hi time.Duration, play func(r Random) time.Duration) {
	t.Helper()
	require.Equal(t, lo, play(lowest), "the lowest draw")
	require.InDelta(t, hi, play(highest), float64(time.Millisecond), "the highest draw of %v", hi)
}

// script feeds events to the rules, at times of its own. Unless a test says otherwise, every draw
// is the middle one, and the device has a certificate: its rejections leave no doubt about the
// clock.
type script struct {
	t       *testing.T
	now     time.Time
	state   State
	random  Random
	actions []Action // of the last event or timer
}

func newScript(t *testing.T, b Boot) *script { return newScriptWith(t, Defaults(), b, middle) }

func newScriptWith(t *testing.T, settings Settings, b Boot, r Random) *script {
	s := &script{
		t: t, now: epochOfScripts, random: r,
		state: State{Settings: settings},
	}
	s.feed(b)
	return s
}

// warm is a device with a confirmed assignment, whose first attempt at it is under way.
func warm(t *testing.T) *script {
	return newScript(t, Boot{Next: retry.Wait, Confirmed: assignedTo("a")})
}

// moved is a device that a restart found between two hubs; the attempt at the new one, b, is under
// way.
func moved(t *testing.T) *script {
	return newScript(
		t, Boot{Next: retry.Wait, Confirmed: assignedTo("a"), Candidate: assignedTo("b")},
	)
}

// fresh is a device that remembers nothing, whose first registration is under way.
func fresh(t *testing.T) *script { return newScript(t, Boot{Next: retry.Register}) }

// silentHub is a device whose hub has not answered ten times in a row; its last floor is over.
func silentHub(t *testing.T) *script {
	s := warm(t)
	for range 9 {
		s.fails(retry.Unreachable)
		s.waitHub()
	}
	s.fails(retry.Unreachable)
	s.now = s.now.Add(HubFloor)
	return s
}

// dpsStaysSilent lets DPS not answer ten times in a row; its last floor is over.
func (s *script) dpsStaysSilent() *script {
	for range 9 {
		s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
		s.waitDPS()
	}
	s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
	s.now = s.now.Add(DPSFloor)
	return s
}

// withTokens gives the device a key in place of its certificate.
func (s *script) withTokens() *script {
	s.state.Settings.Tokens = true
	return s
}

func (s *script) staggered(window time.Duration) *script {
	s.state.Settings.Stagger = window
	return s
}

func (s *script) draws(r Random) *script {
	s.random = r
	return s
}

func (s *script) feed(e Event) (did []string) {
	s.t.Helper()
	return s.decided(Step(s.state, e, s.now, s.random))
}

// fire is a timer that is due.
func (s *script) fire() (did []string) { return s.decided(Fire(s.state, s.now, s.random)) }

func (s *script) decided(state State, actions []Action) (did []string) {
	s.t.Helper()
	s.state, s.actions = state, actions
	for _, a := range actions {
		did = append(did, strings.TrimPrefix(fmt.Sprintf("%T", a), "rules."))
	}
	_, armed := state.Wake()
	alive := state.Connected || armed || state.Hub.Phase == UnderWay || state.DPS.Phase == UnderWay
	require.True(s.t, alive, "nothing will ever happen again")
	return did
}

// pass lets time go by, and fires what is due at its end.
func (s *script) pass(d time.Duration) (did []string) {
	s.now = s.now.Add(d)
	return s.fire()
}

// waitHub lets time pass to the next try at a hub, and leaves DPS out.
func (s *script) waitHub() (hub string) {
	s.t.Helper()
	if s.state.Hub.Phase != UnderWay {
		require.Equal(s.t, Waiting, s.state.Hub.Phase)
		s.now = later(s.now, s.state.Hub.At)
		s.fire()
		require.Equal(s.t, UnderWay, s.state.Hub.Phase)
	}
	return s.state.Hub.Tried.Target.Hub
}

// waitDPS lets time pass to the next question to DPS, leaves the hub out, and says what is asked.
func (s *script) waitDPS() (question string) {
	s.t.Helper()
	require.Equal(s.t, Waiting, s.state.DPS.Phase)
	s.now = later(s.now, s.state.DPS.At)
	did := s.fire()
	require.Equal(s.t, UnderWay, s.state.DPS.Phase)
	s.actions = s.actions[len(did)-1:]
	return did[len(did)-1]
}

// hubIn is how long the next try at a hub is away.
func (s *script) hubIn() time.Duration {
	s.t.Helper()
	require.Equal(s.t, Waiting, s.state.Hub.Phase, "no try at a hub is planned")
	return s.state.Hub.At.Sub(s.now)
}

// dpsIn is how long the next question to DPS is away.
func (s *script) dpsIn() time.Duration {
	s.t.Helper()
	require.Equal(s.t, Waiting, s.state.DPS.Phase, "no question to DPS is planned")
	return s.state.DPS.At.Sub(s.now)
}

func (s *script) asksNothing() {
	s.t.Helper()
	require.Equal(s.t, Idle, s.state.DPS.Phase, "a question to DPS: %+v", s.state.DPS)
	require.Equal(s.t, ReasonNone, s.state.DPS.Reason)
}

// fails ends the attempt under way, or the connection.
func (s *script) fails(class retry.Class) (did []string) {
	s.t.Helper()
	if s.state.Connected {
		return s.feed(Lost{HubFailure: HubFailure{Class: class}})
	}
	return s.feed(HubFailure{Class: class})
}

func (s *script) throttled(retryAfter time.Duration) (did []string) {
	s.t.Helper()
	return s.feed(HubFailure{Class: retry.Throttled, RetryAfter: retryAfter})
}

func (s *script) rejected() (did []string) {
	s.t.Helper()
	return s.fails(retry.Rejected)
}

func (s *script) assigned(hub string) (did []string) {
	s.t.Helper()
	return s.feed(Assigned{Assignment: assignedTo(hub)})
}

// restarts kills the process and starts the device anew some time later, with what it remembers.
func (s *script) restarts(asleep time.Duration) (did []string) {
	s.t.Helper()
	w := s.state.Waits(s.now)
	s.now = s.now.Add(asleep)
	return s.boots(w.After(asleep))
}

// boots starts the device anew, with what it remembers and some waits.
func (s *script) boots(w Waits) (did []string) {
	s.t.Helper()
	b := Boot{
		Next: retry.Wait, Confirmed: s.state.Confirmed, Candidate: s.state.Candidate, Waits: w,
	}
	if !s.state.Target().Known() {
		b.Next = retry.Register
	}
	s.state = State{Settings: s.state.Settings}
	return s.feed(b)
}
