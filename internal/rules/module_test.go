// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// A module has one assignment, that of its device, and asks about its rejection rarely.

func module(t *testing.T) *script {
	s := warm(t)
	s.state.Settings.AfterRejection = ReregisterRarely
	return s
}

func TestAModuleAsksAboutItsRejectionOnceADayAndProbesAtTheGaps(t *testing.T) {
	s := module(t)
	require.Equal(t, []string{"Register"}, s.rejected())
	s.assigned("a")
	tries := 0
	for s.state.Kept(assignedTo("a")).Gap < 2 {
		s.waitHub()
		require.Empty(t, s.rejected())
		tries++
	}
	require.Equal(t, LagRetries+2, tries, "the hub may lag behind")
	asked := s.now
	for gap := 2; gap <= RareGaps; gap++ {
		minutes := map[int]time.Duration{2: 5, 3: 15, 4: 30}[gap]
		s.asksNothing()
		require.Equal(t, cmp.Or(minutes, 60)*time.Minute, s.hubIn())
		s.waitHub()
		if gap < RareGaps {
			require.Empty(t, s.rejected())
		}
	}
	require.Equal(t, []string{"Register"}, s.rejected(), "once a day")
	require.InDelta(t, 22, s.now.Sub(asked).Hours(), 2)
	s.assigned("a")
	s.waitHub()
	s.feed(Connected{})
	s.feed(Stable{})
	require.Equal(t, []string{"Register"}, s.rejected(), "another episode")
}

func TestAModulesRejectionAfterAShortConnectionIsNoNewQuestion(t *testing.T) {
	s := module(t)
	s.rejected()
	s.assigned("a")
	s.waitHub()
	s.feed(Connected{})
	s.feed(Lost{HubFailure: HubFailure{Class: retry.Unreachable}})
	s.waitHub()
	require.NotContains(t, s.rejected(), "Register")
}

func TestAModuleLooksAtTheClockBeforeItAsksAndAtEachGap(t *testing.T) {
	s := module(t).withTokens()
	require.Equal(t, []string{"CheckClock"}, s.rejected())
	require.Equal(t, []string{"Register"}, s.feed(ClockAnswered{Clock: ClockRight}))
	s.assigned("a")
	checks := 0
	for s.state.Kept(assignedTo("a")).Gap < 9 {
		s.waitHub()
		for _, did := range s.rejected() {
			require.Equal(t, "CheckClock", did)
			checks++
			require.Empty(t, s.feed(ClockAnswered{Clock: ClockRight}))
			s.asksNothing()
		}
	}
	require.Positive(t, checks)
	require.LessOrEqual(t, checks, 5)
}

func TestAModulesQuestionOutlivesAClockThatNobodyTells(t *testing.T) {
	s := module(t).withTokens()
	require.Equal(t, []string{"CheckClock"}, s.rejected())
	for s.state.Kept(assignedTo("a")).Gap < 3 {
		if s.state.DPS.Phase == UnderWay {
			s.feed(ClockAnswered{Clock: ClockUnknown})
		}
		s.waitHub()
		s.rejected()
	}
	if s.state.DPS.Phase != UnderWay {
		require.Equal(t, "CheckClock", s.waitDPS())
	}
	require.Equal(t, []string{"Register"}, s.feed(ClockAnswered{Clock: ClockRight}))
}

func TestAModulesQuestionEndsWithTheProcess(t *testing.T) {
	s := module(t)
	require.Equal(t, []string{"Register"}, s.rejected())
	for range 20 { // killed before its device has answered
		s.restarts(5 * time.Second)
		s.asksNothing()
		s.waitHub()
		require.Empty(t, s.rejected())
	}
}

func TestAModuleFollowsItsDevice(t *testing.T) {
	for name, begin := range map[string]func(s *script){
		"connected":  func(s *script) { s.feed(Connected{}) },
		"under way":  func(*script) {},
		"rejected":   func(s *script) { s.rejected() },
		"backed off": func(s *script) { s.fails(retry.Server) },
	} {
		t.Run(name, func(t *testing.T) {
			s := module(t)
			begin(s)
			did := s.feed(Follow{Assignment: assignedTo("b"), Named: true})
			require.Equal(t, "Connect", did[len(did)-1])
			if name == "connected" {
				require.Contains(t, did, "EndSession")
			}
			require.Equal(t, "b", s.state.Hub.Tried.Target.Hub)
			s.asksNothing()
			s.rejected()
			s.asksNothing() // DPS has just named it
			for range 20 {
				require.Equal(t, "b", s.waitHub(), "never the old hub in turn")
				s.rejected()
			}
		})
	}
}

func TestAModuleKeepsToWhatAHubAskedForWhenItsDeviceComesBack(t *testing.T) {
	s := module(t)
	s.throttled(time.Hour)
	s.feed(Follow{Assignment: assignedTo("b")})
	s.now = s.now.Add(time.Minute)
	s.feed(Follow{Assignment: assignedTo("a")})
	require.GreaterOrEqual(t, s.hubIn(), 59*time.Minute)
}

func TestAModuleThatComesToAnAssignmentTriesIt(t *testing.T) {
	s := newScript(t, Boot{Next: retry.Wait})
	require.Equal(t, ReasonBoot, s.state.DPS.Reason, "it waits for its device")
	require.Equal(t, []string{"CancelDPS", "Connect"}, s.feed(Follow{Assignment: assignedTo("a")}))
	s.asksNothing()
}

func TestAModuleWhoseDeviceForgetsKeepsItsConnectionAndThenWaits(t *testing.T) {
	s := module(t)
	s.feed(Connected{})
	require.Empty(t, s.feed(Follow{}))
	require.True(t, s.state.Connected)
	s.asksNothing()
	require.Empty(t, s.feed(Follow{Assignment: assignedTo("a")}), "the same again")
	require.True(t, s.state.Connected)
	s.feed(Follow{})
	require.Equal(t, []string{"Register"}, s.fails(retry.Unreachable))
	require.Equal(t, Idle, s.state.Hub.Phase)

	s = module(t)
	require.Equal(t, []string{"CancelConnect", "Register"}, s.feed(Follow{}))
	require.Equal(t, Idle, s.state.Hub.Phase)
}

func TestAModuleThatMeetsItsNewHubUnderWayGoesOn(t *testing.T) {
	s := module(t)
	s.assigned("b") // as a candidate; its device says so an instant later
	require.Equal(t, Candidate, s.state.Hub.Tried.Slot)
	require.Empty(t, s.feed(Follow{Assignment: assignedTo("b")}))
	s.feed(Connected{})
	require.Equal(t, "b", s.state.Confirmed.Hub)
}

func TestFromAnyHistoryAModuleConnectsOnceItsHubAnswers(t *testing.T) {
	const events = 5_000
	for seed := range uint64(12) {
		w := newWorld(t, seed, Boot{Next: retry.Wait})
		w.state.Settings.AfterRejection = ReregisterRarely
		follow := func() { w.feed(Follow{assignedTo(w.home), w.rnd.IntN(2) == 0}) }
		for range events {
			switch w.rnd.IntN(40) {
			case 0, 1, 2, 3:
				w.hubs[hubNames[w.rnd.IntN(len(hubNames))]] = hubMode(w.rnd.IntN(int(hubModes)))
			case 4:
				w.dpsMode = dpsMode(w.rnd.IntN(int(dpsModes)))
			case 5:
				w.home = hubNames[w.rnd.IntN(len(hubNames))]
				follow()
			case 6:
				w.feed(Follow{})
			case 7:
				w.drop(retry.Class(w.rnd.IntN(5)))
			case 8:
				w.skewed = w.rnd.IntN(10) == 0
			case 9:
				w.feed(Nudge{})
			case 10:
				w.restart()
			}
			w.advance(w.now.Add(time.Duration(w.rnd.Int64N(int64(20 * time.Minute)))))
		}
		clear(w.hubs)
		w.home = hubNames[w.rnd.IntN(len(hubNames))]
		follow()
		dps := w.registers
		for end := w.now.Add(25 * time.Hour); w.connectedTo == "" && w.now.Before(end); {
			w.advance(end)
		}
		require.Equal(t, w.home, w.connectedTo, "seed %d\n%s", seed, w)
		require.LessOrEqual(t, w.registers-dps, 2, "it needs no DPS for that")
	}
}
