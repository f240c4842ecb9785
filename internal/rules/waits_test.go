// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// fullWaits has a value in every field.
func fullWaits() Waits {
	return Waits{
		Hubs: []HubWait{{
			Hub: "a", DeviceID: "sensor-042", Class: retry.Throttled, Failures: 3,
			Asked: time.Hour, In: 2 * time.Hour, Accepted: true, Missing: 2, Gone: time.Minute,
			Gap: 4, GapIn: 3 * time.Hour, Quick: 1,
		}, {
			Hub: "b", DeviceID: "other", Class: retry.Server, Failures: 1,
			Asked: time.Minute, In: 2 * time.Minute, GapIn: time.Minute, Missing: 1,
			Gone: time.Second,
		}, {
			Hub: "c", DeviceID: "sensor-042", Gap: 1,
		}},
		DPS: DPSWait{
			Planned: true, In: 5 * time.Hour, Asked: 4 * time.Hour, ManualAsked: 3 * time.Hour,
			Refused: 2 * time.Hour, Throttled: 50*time.Minute + 1,
			Failures: 5, Silent: true, Request: StatusLookup, Operation: "op-1",
			Reason: ReasonOutage, Clock: ClockForHub, Rejecting: "a", RejectingID: "sensor-042",
			NotFound: true, ClockTries: 2,
		},
		Outage:   OutageWait{Silent: 6 * time.Hour, Asked: 2, In: 4 * time.Hour},
		Urgent:   true,
		Refusals: 2,
		Renewal: RenewalWait{
			Gap: 9 * time.Minute, HubIn: time.Hour, HubAsked: 50 * time.Minute,
			DPSIn: 2 * time.Hour, HubFailures: 3, DPSFailures: 2, HubUnable: true, LastByDPS: true,
			Staggered: true, Operation: "op-2",
		},
	}
}

// restored is the state of a device that takes up waits.
func restored(w Waits, now time.Time, asleep time.Duration) State {
	b := Boot{Next: retry.Wait, Confirmed: assignedTo("a"), Waits: w.After(asleep)}
	s, _ := Apply(State{Settings: Defaults()}, b, now.Add(asleep), middle)
	return s
}

func TestEveryWaitOutlivesTheProcess(t *testing.T) {
	now, full := epochOfScripts, fullWaits()
	full.DPS.Silent = false // this is taken up with a shorter wait
	s := restored(full, now, 0)
	require.Equal(t, full, s.Waits(now))
	require.Equal(t, HubRecord{
		Hub: "a", DeviceID: "sensor-042", Class: retry.Throttled, Failures: 3,
		NotBefore: now.Add(time.Hour), At: now.Add(2 * time.Hour), Accepted: true,
		Missing: 2, MissingSince: now.Add(-time.Minute), Gap: 4, GapAt: now.Add(3 * time.Hour),
		Quick: 1,
	}, s.Hubs[0])
	require.Equal(t, now.Add(-time.Second), s.Hubs[1].MissingSince)
	require.Zero(t, s.Hubs[2].MissingSince)
	require.Equal(t, DPSTimer{
		Phase: Waiting, At: now.Add(5 * time.Hour), Failures: 5, NotBefore: now.Add(4 * time.Hour),
		ManualNotBefore: now.Add(3 * time.Hour), RefusedUntil: now.Add(2 * time.Hour),
		ThrottledSince: now.Add(-50 * time.Minute),
		Request:        StatusLookup, Operation: "op-1",
		Reason: ReasonOutage, Clock: ClockForHub, Rejecting: assignedTo("a"), notFound: true,
	}, s.DPS)
	require.Equal(t, Outage{
		Since: now.Add(-6 * time.Hour), Asked: 2, AskAt: now.Add(4 * time.Hour),
	}, s.Outage)
	require.Equal(t, Clock{Tries: 2}, s.Clock)
	require.True(t, s.Urgent)
	require.Equal(t, 2, s.Refusals)
	require.Equal(t, RenewalTimer{
		GapUntil: now.Add(9 * time.Minute), HubAt: now.Add(time.Hour),
		HubNotBefore: now.Add(50 * time.Minute), DPSAt: now.Add(2 * time.Hour),
		HubFailures: 3, DPSFailures: 2, HubUnable: true, LastByDPS: true, Staggered: true,
		Operation: "op-2",
	}, s.Renewal)

	var back Waits
	require.NoError(t, json.Unmarshal([]byte(stored(t, fullWaits())), &back))
	require.Equal(t, fullWaits(), back)
	require.Equal(t, "{}", stored(t, Waits{}), "a device that waits for nothing stores nothing")
}

// stored is the stored form of waits.
func stored(t *testing.T, w Waits) string {
	data, err := json.Marshal(w)
	require.NoError(t, err)
	return string(data)
}

func TestTimePassesForWhatIsStored(t *testing.T) {
	full := fullWaits()
	w := full.After(90 * time.Minute)
	require.Equal(t, time.Hour, full.Hubs[0].Asked, "the argument is left alone")
	require.Equal(t, time.Duration(0), w.Hubs[0].Asked)
	require.Equal(t, 30*time.Minute, w.Hubs[0].In)
	require.Equal(t, 90*time.Minute, w.Hubs[0].GapIn)
	require.Equal(t, 91*time.Minute, w.Hubs[0].Gone)
	require.Equal(t, 90*time.Minute+time.Second, w.Hubs[1].Gone)
	require.Equal(t, time.Duration(0), w.Hubs[2].Gone, "its name was there")
	require.Equal(t, 210*time.Minute, w.DPS.In)
	require.Zero(t, w.Renewal.Gap)
	require.Equal(t, 30*time.Minute, w.Renewal.DPSIn)
	require.Equal(t, 150*time.Minute, w.DPS.Asked)
	require.Equal(t, 140*time.Minute+1, w.DPS.Throttled)
	require.Equal(t, 90*time.Minute, w.DPS.ManualAsked)
	require.Equal(t, 450*time.Minute, w.Outage.Silent)
	require.Equal(t, 150*time.Minute, w.Outage.In)
	w = full.After(4*time.Hour - time.Second/2)
	require.Equal(t, time.Second/2, w.Outage.In)
	w = w.After(time.Second)
	require.Equal(t, time.Duration(1), w.Outage.In, "one that is overdue is still one")
	s := restored(full, epochOfScripts, 5*time.Hour)
	require.False(t, s.Outage.AskAt.IsZero())
	zero := Waits{}
	require.True(t, zero.IsZero())
	zero = zero.After(time.Hour)
	require.True(t, zero.IsZero(), "an outage that is none has no age")
	require.Equal(t, full.After(90*time.Minute), full.After(time.Hour).After(30*time.Minute))
}

// The device has the same future whether its process lives on or begins anew: but for what nobody
// has answered.
func TestARestartChangesNothingThatIsToCome(t *testing.T) {
	for name, s := range map[string]*script{
		"rejected, gap by gap": rejectedFor(t, 3), "in an outage": inOutage(t, 2),
		"throttled": func() *script { s := warm(t); s.throttled(time.Hour); return s }(),
		"refused": func() *script {
			s := fresh(t)
			s.feed(DPSFailed{Failure: DPSRefused, RetryAfter: 50 * time.Minute})
			return s
		}(),
		"clock": func() *script {
			s := warm(t).withTokens().staggered(time.Hour)
			s.rejected()
			return s
		}(),
		"incompatible": func() *script { s := warm(t); s.fails(retry.Incompatible); return s }(),
		"two hubs": func() *script {
			s := moved(t)
			s.throttled(time.Hour)
			s.rejected()
			return s
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			if s.state.DPS.Phase == UnderWay {
				s.feed(DPSFailed{Failure: DPSThrottled, RetryAfter: time.Hour, Operation: "op-1"})
			}
			if s.state.Hub.Phase == UnderWay {
				s.fails(retry.Server)
			}
			w := s.state.Waits(s.now)
			require.False(t, w.IsZero())
			for _, asleep := range []time.Duration{0, 5 * time.Second} {
				b := Boot{
					Next: retry.Wait, Confirmed: s.state.Confirmed,
					Candidate: s.state.Candidate, Waits: w.After(asleep),
				}
				if !s.state.Target().Known() {
					b.Next = retry.Register
				}
				now := s.now.Add(asleep)
				next, actions := Apply(State{Settings: s.state.Settings}, b, now, middle)
				require.Empty(t, actions)
				require.Equal(t, stored(t, w.After(asleep)), stored(t, next.Waits(now)))
				require.Equal(t, s.state.Hub.Phase, next.Hub.Phase)
				require.Equal(t, s.state.Hub.Next, next.Hub.Next)
				require.Equal(t, later(now, s.state.Hub.At), later(now, next.Hub.At))
				require.Equal(t, s.state.DPS.At, next.DPS.At)
				require.Equal(t, s.state.DPS.Phase, next.DPS.Phase)
			}
		})
	}
}

func TestAQuestionThatIsUnderWayIsAskedAgain(t *testing.T) {
	s := fresh(t)
	s.feed(Progress{Operation: "op-1", RetryAfter: 3 * time.Second})
	w := s.state.Waits(s.now)
	require.Equal(t, DPSWait{
		Planned: true, Asked: 3 * time.Second, Reason: ReasonBoot, Operation: "op-1",
	}, w.DPS)
	require.Empty(t, s.restarts(0))
	require.Equal(t, 3*time.Second, s.dpsIn())
	s.waitDPS()
	require.Equal(t, []Action{Register{Operation: "op-1", Reason: ReasonBoot}}, s.actions)
	s.feed(DPSFailed{Failure: DPSThrottled, RetryAfter: time.Minute, Operation: "op-1"})
	s.restarts(time.Second)
	require.Equal(t, 61500*time.Millisecond, s.dpsIn())
	s.waitDPS()
	require.Equal(t, []Action{Register{Operation: "op-1", Reason: ReasonBoot}}, s.actions,
		"and so does one that was throttled")
}

func TestWhatTheProgramAskedForDiesWithIt(t *testing.T) {
	s := connected(t)
	s.feed(Reprovision{})
	w := s.state.Waits(s.now)
	require.True(t, w.IsZero())
	s.feed(DPSFailed{Failure: DPSThrottled, RetryAfter: time.Hour})
	require.Equal(t, DPSWait{Asked: time.Hour, ManualAsked: 5 * time.Second},
		s.state.Waits(s.now).DPS, "but not what DPS asked for")
}

func TestADeviceInSteadyStateWaitsForNothing(t *testing.T) {
	s := warm(t)
	w := s.state.Waits(s.now)
	require.True(t, w.IsZero())
	for range 3 {
		s.fails(retry.Server)
		s.waitHub()
	}
	w = s.state.Waits(s.now)
	require.False(t, w.IsZero())
	s.feed(Connected{})
	s.feed(Stable{})
	w = s.state.Waits(s.now.Add(time.Hour))
	require.True(t, w.IsZero())

	for name, some := range map[string]Waits{
		"hubs": {Hubs: []HubWait{{}}}, "dps": {DPS: DPSWait{Asked: 1}},
		"outage": {Outage: OutageWait{Silent: 1}}, "urgent": {Urgent: true},
		"refusals": {Refusals: 1}, "renewal": {Renewal: RenewalWait{Gap: 1}},
	} {
		require.False(t, some.IsZero(), name)
	}
}

func TestAHubIsKeptAsLongAsItHasFailedOrAsksForSomething(t *testing.T) {
	s := State{Hubs: [HubsKept]HubRecord{
		{Hub: "failed", Failures: 1}, {Hub: "gap", Gap: 1},
		{Hub: "asked", NotBefore: epochOfScripts.Add(1)},
		{Hub: "accepted", NotBefore: epochOfScripts, Accepted: true},
	}}
	w := s.Waits(epochOfScripts)
	var kept []string
	for _, h := range w.Hubs {
		kept = append(kept, h.Hub)
	}
	require.Equal(t, []string{"failed", "gap", "asked"}, kept)
}

func TestAnOutageThatBeginsNowIsOne(t *testing.T) {
	s := State{Outage: Outage{Since: epochOfScripts}}
	require.Positive(t, s.Waits(epochOfScripts).Outage.Silent)
	require.Positive(t, s.Waits(epochOfScripts.Add(-time.Hour)).Outage.Silent)
	require.Equal(t, time.Hour, s.Waits(epochOfScripts.Add(time.Hour)).Outage.Silent)
	require.Zero(t, s.Waits(epochOfScripts).Outage.In, "no question is planned")
	s.Outage.AskAt = epochOfScripts
	require.Equal(t, time.Duration(1), s.Waits(epochOfScripts).Outage.In, "one is, and overdue")
}

func TestWhatRemainsWithoutPowerIsTheOutageAndTheMomentDrawn(t *testing.T) {
	full := fullWaits()
	require.Equal(t, Waits{Outage: full.Outage}, full.Lasting(), "a question that was asked before")
	full.DPS.Failures = 0
	require.Equal(t, Waits{Outage: full.Outage}, full.Lasting(), "one with an operation")
	full.DPS.Failures, full.DPS.Operation = 1, ""
	require.Equal(t, Waits{Outage: full.Outage}, full.Lasting(), "one that has failed")
	full.DPS.Failures = 0
	require.Equal(t, Waits{Outage: full.Outage, DPS: DPSWait{
		Planned: true, In: 5 * time.Hour, Request: StatusLookup, Reason: ReasonOutage,
		Clock: ClockForHub, Rejecting: "a", RejectingID: "sensor-042",
	}}, full.Lasting())
	full.DPS.Planned = false
	require.Equal(t, Waits{Outage: full.Outage}, full.Lasting())
}

func TestAQuestionIsDroppedWhereWhatIsRememberedHasMadeItPointless(t *testing.T) {
	for reason, forWant := range map[Reason]bool{
		ReasonBoot: true, ReasonStore: true, ReasonUnregistered: true,
		ReasonRejected: false, ReasonOutage: false, ReasonIncompatible: false,
	} {
		for _, operation := range []string{"", "op-1"} {
			w := Waits{DPS: DPSWait{
				Planned: true, In: time.Hour, Asked: time.Minute, ManualAsked: time.Minute,
				Failures: 3, Reason: reason, Operation: operation,
			}}
			s := restored(w, epochOfScripts, 0)
			require.Equal(t, !forWant, s.DPS.Pending(), "%v, an entry, %q", reason, operation)
			require.Equal(t, epochOfScripts.Add(time.Minute), s.DPS.NotBefore)
			require.Equal(t, epochOfScripts.Add(time.Minute), s.DPS.ManualNotBefore)
			require.Equal(t, 3, s.DPS.Failures)

			b := Boot{Next: retry.Lookup, Waits: w}
			s, _ = Apply(State{Settings: Defaults()}, b, epochOfScripts, middle)
			if forWant || operation != "" {
				require.Equal(t, reason, s.DPS.Reason, "no entry, %q", operation)
				require.Equal(t, operation, s.DPS.Operation)
				require.Equal(t, epochOfScripts.Add(time.Hour), s.DPS.At)
				continue
			}
			require.Equal(t, ReasonStore, s.DPS.Reason, "%v was about a hub", reason)
			require.Equal(t, epochOfScripts.Add(time.Minute), s.DPS.At)
		}
	}
}

func TestNothingBeyondWhatIsKeptIsTakenUp(t *testing.T) {
	w := Waits{}
	for _, hub := range []string{"a", "b", "c", "d", "e", "f"} {
		w.Hubs = append(w.Hubs, HubWait{Hub: hub, DeviceID: "sensor-042", Asked: time.Hour})
	}
	s := restored(w, epochOfScripts, 0)
	require.Len(t, s.Waits(epochOfScripts).Hubs, 4)
}

func TestWaitsAreAlikeButForAMoment(t *testing.T) {
	w := fullWaits()
	require.True(t, w.Alike(fullWaits()))
	require.True(t, w.Alike(w.After(99*time.Millisecond)))
	for name, change := range map[string]func(w *Waits){
		"hubs":     func(w *Waits) { w.Hubs = w.Hubs[:1] },
		"asked":    func(w *Waits) { w.Hubs[0].Asked -= aliked },
		"in":       func(w *Waits) { w.Hubs[1].In += aliked },
		"gone":     func(w *Waits) { w.Hubs[0].Gone += aliked },
		"gap in":   func(w *Waits) { w.Hubs[0].GapIn += aliked },
		"gap":      func(w *Waits) { w.Hubs[2].Gap++ },
		"urgent":   func(w *Waits) { w.Urgent = !w.Urgent },
		"refusals": func(w *Waits) { w.Refusals++ },
		"outage":   func(w *Waits) { w.Outage.Silent += aliked },
		"asked 2":  func(w *Waits) { w.Outage.Asked++ },
		"question": func(w *Waits) { w.Outage.In += aliked },
		"dps":      func(w *Waits) { w.DPS.In += aliked },
		"dps 2":    func(w *Waits) { w.DPS.Asked += aliked },
		"manual":   func(w *Waits) { w.DPS.ManualAsked += aliked },
		"refused":  func(w *Waits) { w.DPS.Refused += aliked },
		"reason":   func(w *Waits) { w.DPS.Reason = ReasonBoot },
		"gap 2":    func(w *Waits) { w.Renewal.Gap -= aliked },
		"renewal":  func(w *Waits) { w.Renewal.HubFailures++ },
	} {
		v := fullWaits()
		change(&v)
		require.False(t, w.Alike(v), name)
		require.False(t, v.Alike(w), name)
	}
}
