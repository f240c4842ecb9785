// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// course is what one device does in one world, by exact times: draws are all the same, a request
// takes a second, or 30 if nobody answers.
type course struct {
	x         *exploration
	s         situation
	random    Random
	now       time.Duration // since the start
	hubs, dps []time.Duration
}

func newCourse(w *exploredWorld, draws float64, stored byte) *course {
	w.grid = 1 // ns: nothing is rounded
	c := &course{x: newExploration(w), random: constant(draws)}
	blank := blankSituation()
	blank.stored[0] = stored
	c.take(c.x.restarted(&blank, 0, restart{}, c.random), 0)
	return c
}

// take notes which requests have begun.
func (c *course) take(s situation, elapsed time.Duration) {
	c.now += elapsed
	if s.hubDue == 0 {
		s.hubDue = time.Second
	}
	if s.dpsDue == 0 {
		s.dpsDue = time.Second
	}
	if s.hubDue != never && c.s.hubDue == never {
		c.hubs = append(c.hubs, c.now)
	}
	if s.dpsDue != never && c.s.dpsDue == never {
		c.dps = append(c.dps, c.now)
	}
	c.s = s
}

// until follows the device for so long.
func (c *course) until(t *testing.T, end time.Duration) {
	for {
		in, first := c.s.next()
		if c.now+in > end || len(first) == 0 {
			break
		}
		around := c.x.around(&c.s)
		s := c.s.later(in)
		switch first[0] {
		case timerDue:
			c.x.happen(&s, in, nil, c.random)
		case hubAnswers:
			answers := around.hubAnswers(c.s.hubTried, c.s.hubClock)
			s = c.x.hubAnswered(&c.s, in, &answers[0], c.random)
		case dpsAnswers:
			answers := around.dpsAnswers(
				c.s.asking, c.s.dpsClock, c.x.world.tokens, !c.x.world.mqtt)
			s = c.x.dpsAnswered(&c.s, in, &answers[0], c.random)
		default:
			return // connected
		}
		c.take(s, in)
	}
	require.Empty(t, c.x.violations)
}

func TestExploreRejectedDeviceIsModest(t *testing.T) {
	for name, test := range map[string]struct {
		hub                     way
		attempts, registrations int
	}{
		"rejected":     {rejecting, 80, 30},
		"incompatible": {foreign, 30, 24},
		"gone":         {gone, 100, 30},
	} {
		for _, draws := range []float64{0, 0.5, highestDraw} {
			w := &exploredWorld{
				phases: []surroundings{{hubs: [2]way{test.hub, fine}, home: 1}}, tokens: true,
			}
			c := newCourse(w, draws, 1)
			c.until(t, 24*time.Hour)
			t.Logf("%s, draws at %.1f: %d attempts and %d requests to dps in a day", name, draws,
				len(c.hubs), len(c.dps))
			if draws == 0.5 {
				assert.LessOrEqual(t, len(c.hubs), test.attempts, name)
				assert.LessOrEqual(t, len(c.dps), test.registrations, name)
			}
		}
	}
}

func TestExploreFirstQuestionIsSpreadOverTheWindow(t *testing.T) {
	const stagger = time.Hour
	around := func(hub way, clock clockFault) []surroundings {
		return []surroundings{{hubs: [2]way{hub, fine}, home: 1, clock: clock}}
	}
	for name, test := range map[string]struct {
		stored byte
		store  storeKind
		tokens bool
		phases []surroundings
		after  time.Duration // the event that calls for the question
		window time.Duration
	}{
		"nothing remembered": {0, storeWorks, false, around(fine, clockRight), 0, stagger},
		"store is blind":     {0, storeIsBlind, false, around(fine, clockRight), 0, stagger},
		"rejected": {
			1, storeWorks, false, around(rejecting, clockRight), time.Second, stagger,
		},
		"rejected, and the clock may be wrong": {
			1, storeWorks, true, around(rejecting, clockRight), time.Second, ClockStagger,
		},
		"certificate out of date": {
			1, storeWorks, false, around(expired, clockRight), time.Second, ClockStagger,
		},
		"silent": {
			1, storeWorks, false, around(silent, clockRight), silence, OutageMax + stagger,
		},
		"incompatible": {
			1, storeWorks, false, around(foreign, clockRight), time.Second, IncompatibleWait,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &exploredWorld{
				phases: test.phases, tokens: test.tokens, store: test.store, stagger: stagger,
			}
			c := newCourse(w, highestDraw, test.stored)
			c.until(t, test.after+test.window-10*time.Microsecond)
			assert.Empty(t, c.dps, "asked too early")
			c.until(t, test.after+2*test.window)
			assert.NotEmpty(t, c.dps, "not asked at all")
		})
	}
}
