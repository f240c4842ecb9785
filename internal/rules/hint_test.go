// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// hinted is an assignment with which DPS has said for how long to spread the next questions.
func hinted(hub string, stagger time.Duration) Assignment {
	a := assignedTo(hub)
	a.Stagger = stagger
	return a
}

// bootsInto is a device that an earlier process has left with assignments, and whose hub turns it
// away at once.
func bootsInto(t *testing.T, program time.Duration, confirmed, candidate Assignment) *script {
	settings := Defaults()
	settings.Stagger = program
	s := newScriptWith(
		t, settings, Boot{Next: retry.Wait, Confirmed: confirmed, Candidate: candidate}, middle,
	)
	for s.state.DPS.Phase != Waiting && s.state.DPS.Phase != UnderWay {
		s.waitHub()
		s.rejected()
	}
	return s
}

func TestWhatDPSHasSaidSpreadsTheQuestionWhereTheProgramSaysNothing(t *testing.T) {
	const h = time.Hour
	none := Assignment{}
	for name, c := range map[string]struct {
		program              time.Duration
		confirmed, candidate Assignment
		want                 time.Duration
	}{
		"nobody":           {0, assignedTo("a"), none, 0},
		"DPS":              {0, hinted("a", 2*h), none, h},
		"the program":      {4 * h, assignedTo("a"), none, 2 * h},
		"both":             {4 * h, hinted("a", 2*h), none, 2 * h},
		"DPS, lately":      {0, hinted("a", 2*h), hinted("b", 8*h), 4 * h},
		"DPS, but no more": {0, hinted("a", 2*h), assignedTo("b"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := bootsInto(t, c.program, c.confirmed, c.candidate)
			if c.want == 0 {
				require.Equal(t, UnderWay, s.state.DPS.Phase)
				return
			}
			require.Equal(t, c.want, s.dpsIn())
		})
	}
}

func TestANewerAnswerReplacesWhatDPSHasSaid(t *testing.T) {
	s := bootsInto(t, 0, hinted("a", 2*time.Hour), Assignment{})
	s.waitDPS()
	s.feed(Assigned{Assignment: hinted("a", 6*time.Hour)})
	require.Equal(t, 6*time.Hour, s.state.Stagger(), "for the same hub")
	require.Equal(t, 6*time.Hour, s.actions[1].(Remember).Confirmed.Stagger, "and it is stored")
	s.feed(Reprovision{})
	s.feed(Assigned{Assignment: assignedTo("a")})
	require.Zero(t, s.state.Stagger())
	s.feed(Reprovision{})
	s.feed(Assigned{Assignment: hinted("b", time.Hour)})
	require.Equal(t, time.Hour, s.state.Stagger(), "another")
	s.feed(Connected{})
	require.Equal(t, time.Hour, s.state.Stagger(), "once it is confirmed, too")
	s.feed(Reprovision{})
	s.feed(Assigned{Assignment: assignedTo("b")})
	require.Zero(t, s.state.Stagger(), "and the one that is connected")
}

func TestWhatDPSHasSaidSpreadsEveryKindOfQuestion(t *testing.T) {
	for name, play := range map[string]func(s *script){
		"a silent hub": func(s *script) { s.fails(retry.Server) },
		"a look at the clock": func(s *script) {
			s.withTokens()
			s.rejected()
		},
	} {
		plain, spread := warm(t).draws(highest), warm(t).draws(highest)
		spread.state.Confirmed.Stagger = 5 * time.Minute
		spread.state.Hub.Tried.Target.Stagger = 5 * time.Minute
		play(plain)
		play(spread)
		at := plain.now
		if plain.state.DPS.Phase == Waiting {
			at = plain.state.DPS.At
		}
		require.InDelta(t, 5*time.Minute, spread.state.DPS.At.Sub(at), 1e9, name)
	}
}

func TestAModuleSpreadsItsQuestionAsItsDeviceDoes(t *testing.T) {
	s := module(t)
	s.feed(Follow{Assignment: hinted("b", time.Hour)})
	require.Equal(t, time.Hour, s.state.Stagger())
	s.feed(Follow{Assignment: assignedTo("b")})
	require.Zero(t, s.state.Stagger())
}

func TestAResetDeviceDoesNotKnowWhatDPSHasSaid(t *testing.T) {
	s := bootsInto(t, 0, hinted("a", 2*time.Hour), Assignment{})
	s.feed(Forget{})
	require.Equal(t, UnderWay, s.state.DPS.Phase)
}
