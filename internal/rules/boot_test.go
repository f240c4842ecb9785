// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func TestADeviceThatRemembersItsHubConnectsWithoutARequestToDPS(t *testing.T) {
	s := newScriptWith(t, Settings{Stagger: time.Hour}, boots()[0], highest)
	require.Equal(t, []Action{Connect{Target: boots()[0].Confirmed}}, s.actions, "nor is it spread")
	s.asksNothing()
	s = moved(t)
	require.Equal(t, []Action{Connect{Target: assignedTo("b")}}, s.actions, "what DPS said last")
	s = newScript(t, Boot{Next: retry.Wait, Candidate: assignedTo("b")})
	require.Equal(t, []Action{Connect{Target: assignedTo("b")}}, s.actions)
}

func TestADeviceThatRemembersNothingAsksDPS(t *testing.T) {
	for next, want := range map[retry.Verdict]Action{
		retry.Register: Register{Reason: ReasonBoot},
		retry.Lookup:   Lookup{Reason: ReasonStore},
		retry.Wait:     Register{Reason: ReasonBoot}, // an entry that holds no assignment
	} {
		s := newScript(t, Boot{Next: next})
		require.Equal(t, []Action{want}, s.actions)
		drawn(t, 0, time.Hour, func(r Random) time.Duration {
			settings := Defaults()
			settings.Stagger = time.Hour
			s := State{Settings: settings}
			s, actions := Apply(s, Boot{Next: next}, epochOfScripts, r)
			require.Empty(t, actions)
			return s.DPS.At.Sub(epochOfScripts)
		})
	}
}

func TestADeviceThatIsToAskDPSDoesSoWhateverItRemembers(t *testing.T) {
	s := newScript(t, Boot{Next: retry.Register, Confirmed: assignedTo("a")})
	require.Equal(t, []string{"Connect", "Register"}, s.decided(s.state, s.actions))
	require.Equal(t, ReasonBoot, s.state.DPS.Reason)
}

func TestAfterARestartTheHubGoesBeforeAnOverdueQuestion(t *testing.T) {
	s := warm(t)
	s.fails(retry.Server)
	at := s.state.DPS.At
	s.state.Hubs[0].At, s.state.Hubs[0].NotBefore = s.now, s.now
	require.Equal(t, []string{"Connect"}, s.restarts(at.Sub(s.now)))
	require.Equal(t, 30*time.Second, s.dpsIn(), "or half a minute")
	require.Equal(t, []string{"Lookup"}, s.pass(30*time.Second))
	require.Empty(t, s.fails(retry.Server), "and the answer changes nothing any more")
	require.Equal(t, UnderWay, s.state.DPS.Phase)
}

func TestAfterARestartAnOverdueQuestionFollowsTheHubsFailure(t *testing.T) {
	for _, class := range []retry.Class{retry.Server, retry.Unreachable, retry.Untrusted} {
		drawn(t, 0, 30*time.Second, func(r Random) time.Duration {
			s := warm(t)
			s.fails(retry.Server)
			s.restarts(time.Hour)
			require.Equal(t, UnderWay, s.state.Hub.Phase)
			state, _ := Apply(s.state, HubFailure{Class: class}, s.now, r)
			require.Equal(t, ReasonOutage, state.DPS.Reason)
			return state.DPS.At.Sub(s.now)
		})
	}
	s := warm(t)
	s.fails(retry.Server)
	s.restarts(time.Hour)
	s.draws(highest).fails(retry.Server)
	at := s.state.DPS.At
	s.waitHub()
	s.draws(lowest).fails(retry.Server)
	require.Equal(t, at, s.state.DPS.At, "once")
	require.Equal(t, "Lookup", s.waitDPS())
	s.feed(DPSFailed{Failure: DPSUnavailable})
	at = s.state.DPS.At
	s.waitHub()
	s.fails(retry.Server)
	require.Equal(t, at, s.state.DPS.At)
}

func TestAQuestionThatDidNotWaitForTheHubIsNotBroughtForwardByItsFailure(t *testing.T) {
	s := warm(t)
	s.fails(retry.Server)
	s.restarts(time.Hour)
	s.pass(30 * time.Second)
	s.feed(DPSFailed{Failure: DPSUnavailable})
	at := s.state.DPS.At
	s.draws(lowest).fails(retry.Server)
	require.Equal(t, at, s.state.DPS.At)
}

func TestAfterARestartAHubThatNowThrottlesPutsTheQuestionOff(t *testing.T) {
	s := warm(t)
	s.fails(retry.Server)
	s.restarts(time.Hour)
	s.throttled(time.Minute)
	require.InDelta(t, 23*time.Hour, s.dpsIn(), 1)
}

func TestAHubThatAcceptsAfterARestartMakesTheQuestionVoid(t *testing.T) {
	s := warm(t)
	s.rejected()
	require.Equal(t, []string{"Connect"}, s.restarts(time.Hour))
	s.feed(Connected{})
	s.asksNothing()
}

func TestARestartBringsNoQuestionForward(t *testing.T) {
	for name, play := range map[string]func(s *script){
		"an outage": func(s *script) { s.fails(retry.Server) },
		"Stagger": func(s *script) {
			s.staggered(3 * time.Hour).rejected()
		},
		"back-off": func(s *script) {
			s.rejected()
			s.feed(DPSFailed{Failure: DPSUnavailable})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := warm(t)
			play(s)
			at := s.state.DPS.At
			s.draws(lowest)
			for range 5 {
				hub := &s.state.Hubs[0]
				hub.NotBefore, hub.At, hub.GapAt = s.now, s.now, s.now
				s.restarts(time.Second)
				require.Equal(t, UnderWay, s.state.Hub.Phase)
				require.False(t, s.state.DPS.At.Before(at))
				s.fails(retry.Server)
				require.False(t, s.state.DPS.At.Before(at))
			}
		})
	}
}

func TestAQuestionDoesNotWaitForAHubThatIsToBeLeftAloneForLonger(t *testing.T) {
	for wait, want := range map[time.Duration]time.Duration{
		29 * time.Second: 59 * time.Second, 30 * time.Second: 0, time.Hour: 0,
	} {
		s := warm(t)
		s.fails(retry.Server)
		s.now = s.state.DPS.At
		w := s.state.Waits(s.now)
		w.Hubs[0].In = wait
		s.boots(w)
		if want == 0 {
			require.Equal(t, UnderWay, s.state.DPS.Phase)
			continue
		}
		require.Equal(t, want, s.dpsIn())
	}
}

func TestOverdueQuestionsOfDevicesThatWakeTogetherAreSpreadOverTheWake(t *testing.T) {
	for stagger, window := range map[time.Duration]time.Duration{
		0: 0, 10 * time.Second: 10 * time.Second, time.Hour: 30 * time.Second,
	} {
		drawn(t, 0, window, func(r Random) time.Duration {
			s := State{Settings: Defaults()}
			s.Settings.Stagger = stagger
			w := Waits{DPS: DPSWait{Planned: true, Reason: ReasonBoot}}
			s, _ = Apply(s, Boot{Next: retry.Register, Waits: w}, epochOfScripts, r)
			require.Equal(t, ReasonBoot, s.DPS.Reason)
			return s.DPS.At.Sub(epochOfScripts)
		})
		drawn(t, 0, window, func(r Random) time.Duration {
			s := State{Settings: Defaults()}
			s.Settings.Stagger = stagger
			b := boots()[0]
			b.Waits.DPS = DPSWait{Planned: true, Reason: ReasonRejected}
			b.Waits.Hubs = []HubWait{{
				Hub: hubNames[0], DeviceID: "sensor-042", Class: retry.Throttled, In: time.Hour,
			}}
			s, _ = Apply(s, b, epochOfScripts, r)
			require.Equal(t, ReasonRejected, s.DPS.Reason)
			return s.DPS.At.Sub(epochOfScripts)
		})
	}
}

func TestWhatNobodyAnsweredIsTriedAgainSoonAfterARestart(t *testing.T) {
	drawn(t, 0, 5*time.Second, func(r Random) time.Duration {
		s := silentHub(t)
		state, _ := Apply(State{Settings: s.state.Settings}, Boot{
			Next: retry.Wait, Confirmed: assignedTo("a"), Waits: s.state.Waits(s.now),
		}, s.now, r)
		return state.Hub.At.Sub(s.now)
	})
	drawn(t, 0, 30*time.Second, func(r Random) time.Duration {
		s := fresh(t).dpsStaysSilent()
		state, _ := Apply(State{Settings: s.state.Settings}, Boot{
			Next: retry.Register, Waits: s.state.Waits(s.now),
		}, s.now, r)
		return state.DPS.At.Sub(s.now)
	})
}

func TestARestartShortensNoWaitThatSomebodyAskedFor(t *testing.T) {
	s := warm(t)
	s.feed(HubFailure{Class: retry.Unreachable, RetryAfter: time.Minute})
	s.draws(lowest).restarts(time.Second)
	require.Equal(t, 59*time.Second, s.hubIn())

	for _, class := range []retry.Class{retry.Server, retry.Throttled, retry.Untrusted} {
		s = warm(t)
		for range 9 {
			s.fails(class)
			s.waitHub()
		}
		s.fails(class)
		at := s.state.Hub.At
		s.draws(lowest).restarts(time.Second)
		require.Equal(t, at, s.state.Hub.At, class)
	}

	s = fresh(t)
	s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true, RetryAfter: time.Hour})
	s.draws(lowest).restarts(time.Second)
	require.Equal(t, time.Hour-time.Second, s.dpsIn())

	s = fresh(t)
	for range 9 {
		s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
		s.waitDPS()
	}
	s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true})
	s.draws(lowest).restarts(time.Second)
	require.Equal(t, DPSFloor-time.Second, s.dpsIn())

	s = fresh(t)
	s.feed(DPSFailed{Failure: DPSUnavailable})
	at := s.state.DPS.At
	s.draws(lowest).restarts(time.Second)
	require.Equal(t, at, s.state.DPS.At)
}

func TestASilentQuestionLeavesTheHubItsTurnAfterARestart(t *testing.T) {
	s := warm(t)
	s.rejected()
	s.dpsStaysSilent()
	s.state.Hubs[0].At, s.state.Hubs[0].NotBefore = s.now, s.now
	require.Equal(t, []string{"Connect"}, s.restarts(0))
	require.Equal(t, 30*time.Second, s.dpsIn())
	s.feed(HubFailure{Class: retry.Server})
	require.Equal(t, 15*time.Second, s.dpsIn())
}

func TestADeviceThatDoesNotKnowWhatItWasAskedSpreadsItsFirstRequestsOverAMinute(t *testing.T) {
	play := func(b Boot, of func(s *State) time.Time) {
		drawn(t, 0, time.Minute, func(r Random) time.Duration {
			b.WaitsUnknown = true
			s, _ := Apply(State{Settings: Defaults()}, b, epochOfScripts, r)
			return of(&s).Sub(epochOfScripts)
		})
	}
	hub := func(s *State) time.Time { return s.Hub.At }
	dps := func(s *State) time.Time { return s.DPS.At }
	for _, b := range boots()[:3] {
		play(b, hub)
	}
	one := newScript(t, Boot{Next: retry.Wait, Confirmed: assignedTo("a"), WaitsUnknown: true})
	require.Zero(t, one.state.Hubs[1], "there is no other hub")
	play(Boot{Next: retry.Register}, dps)
	play(Boot{Next: retry.Lookup}, dps)

	b := boots()[1]
	b.WaitsUnknown = true
	s := newScriptWith(t, Defaults(), b, middle)
	require.Equal(t, hubNames[1], s.waitHub())
	s.throttled(time.Hour)
	require.Equal(t, hubNames[0], s.waitHub(), "both hubs wait")

	b = boots()[0]
	b.WaitsUnknown = true
	b.Waits = Waits{DPS: DPSWait{Planned: true, Reason: ReasonOutage}}
	s = newScriptWith(t, Defaults(), b, highest)
	require.InDelta(t, 90*time.Second, s.dpsIn(), float64(time.Second), "the hub goes first")

	settings := Defaults()
	settings.Stagger = time.Hour
	s = newScriptWith(t, settings, Boot{Next: retry.Register, WaitsUnknown: true}, middle)
	require.Equal(t, 30*time.Minute, s.dpsIn(), "Stagger is not shortened")
}
