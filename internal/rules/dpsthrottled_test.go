// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// dpsThrottles is DPS's 429 to a request that has no operation yet.
func (s *script) dpsThrottles(retryAfter time.Duration) *script {
	s.t.Helper()
	s.feed(DPSFailed{Failure: DPSThrottled, RetryAfter: retryAfter})
	return s
}

// throttledFor is a device that DPS began to throttle so long ago, and whose next request is under
// way.
func throttledFor(t *testing.T, lasted time.Duration) *script {
	s := fresh(t).dpsThrottles(time.Second)
	s.now = s.now.Add(lasted)
	s.state.DPS.At, s.state.DPS.NotBefore = s.now, s.now
	s.waitDPS()
	return s
}

func TestADPSThatThrottlesIsAskedAgainAfterAsLongAsItHasOrThreeTimesThat(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for name, c := range map[string]struct {
		lasted, asked, lo, hi time.Duration
	}{
		"first":                          {0, 30 * s, 0, 30 * s},
		"first, nothing asked":           {0, 0, 0, 30 * s},
		"first, and a long Retry-After":  {0, 5 * m, 0, 30 * s},
		"soon after":                     {m, 30 * s, m, 3 * m},
		"after two minutes":              {2 * m, 30 * s, 2 * m, 6 * m},
		"after ten minutes":              {10 * m, 30 * s, 10 * m, 30 * m},
		"after an hour":                  {h, 30 * s, h, 3 * h},
		"after two hours":                {2 * h, 30 * s, 2 * h, 4 * h},
		"after a day":                    {24 * h, 30 * s, 2 * h, 4 * h},
		"after a year":                   {365 * 24 * h, 30 * s, 2 * h, 4 * h},
		"after an hour, for a day":       {h, 24 * h, h, 3 * h},
		"for longer than is honoured":    {h, 70_000 * h, h, 3 * h},
		"after an hour, nothing at all":  {h, 0, h, 3 * h},
		"after an hour, for ten minutes": {h, 10 * m, h, 3 * h},
	} {
		t.Run(name, func(t *testing.T) {
			floor := min(c.asked, 24*h)
			if floor == 0 {
				floor = 5 * s
			}
			drawn(t, floor+c.lo, floor+c.hi, func(r Random) time.Duration {
				d := fresh(t)
				if c.lasted > 0 {
					d = throttledFor(t, c.lasted)
				}
				return d.draws(r).dpsThrottles(c.asked).dpsIn()
			})
		})
	}
}

// A simulation compares windows of other factors and caps.
func TestTheWindowOfThrottlingIsOneOfTheSettings(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for name, c := range map[string]struct {
		Throttled
		lasted, lo, hi time.Duration
	}{
		"twice":             {Throttled{2, 10 * s, 4 * h}, 10 * m, 10 * m, 20 * m},
		"four times":        {Throttled{4, 10 * s, 4 * h}, 10 * m, 10 * m, 40 * m},
		"beginning later":   {Throttled{3, m, 4 * h}, 0, 0, 3 * m},
		"up to an hour":     {Throttled{3, 10 * s, h}, 50 * m, 30 * m, h},
		"of other failures": {Throttled{}, h, 0, 5 * s},
	} {
		t.Run(name, func(t *testing.T) {
			drawn(t, 30*s+c.lo, 30*s+c.hi, func(r Random) time.Duration {
				d := fresh(t)
				d.state.Settings.Throttled = c.Throttled
				d.state.DPS.ThrottledSince = d.now.Add(-c.lasted)
				return d.draws(r).dpsThrottles(30 * s).dpsIn()
			})
		})
	}
}

func TestALookupThatIsThrottledWaitsAsARegistrationDoes(t *testing.T) {
	s := newScript(t, Boot{Next: retry.Lookup}).dpsThrottles(30 * time.Second)
	require.Equal(t, 45*time.Second, s.dpsIn())
	require.Equal(t, "Lookup", s.waitDPS())
	lasted := s.now.Sub(s.state.DPS.ThrottledSince)
	s.dpsThrottles(30 * time.Second)
	require.Equal(t, 30*time.Second+2*lasted, s.dpsIn())
	require.Equal(t, "Lookup", s.waitDPS())
	lasted = s.now.Sub(s.state.DPS.ThrottledSince)
	s.feed(NotRegistered{})
	s.dpsThrottles(30 * time.Second)
	require.Equal(t, 30*time.Second+2*lasted, s.dpsIn(), "the registration goes on from there")
}

func TestAPollThatIsThrottledWaitsForItsOwnWindowAlone(t *testing.T) {
	for failures, width := range []time.Duration{5, 10, 20, 40} {
		drawn(t, 30*time.Second, (30+width)*time.Second, func(r Random) time.Duration {
			s := throttledFor(t, time.Hour)
			s.state.DPS.Failures = failures
			s.feed(Progress{Operation: "op-1", RetryAfter: 3 * time.Second})
			s.draws(r).feed(DPSFailed{
				Failure: DPSThrottled, RetryAfter: 30 * time.Second, Operation: "op-1",
			})
			require.Zero(t, s.state.DPS.ThrottledSince)
			return s.dpsIn()
		})
	}
}

func TestThrottlingIsOverOnceDPSHasResponded(t *testing.T) {
	for name, answer := range map[string]Event{
		"with a place":   Progress{Operation: "op-1"},
		"with a refusal": DPSFailed{Failure: DPSRefused},
		"with a hub":     Assigned{Assignment: assignedTo("a")},
	} {
		s := throttledFor(t, time.Hour)
		s.feed(answer)
		require.Zero(t, s.state.DPS.ThrottledSince, name)
		s.state.DPS.Phase, s.state.DPS.Operation = UnderWay, ""
		s.state.DPS.RefusedUntil = time.Time{}
		s.dpsThrottles(time.Second)
		require.Equal(t, 16*time.Second, s.state.DPS.At.Sub(s.now), name)
	}
	for name, answer := range map[string]Event{
		"5xx":     DPSFailed{Failure: DPSUnavailable},
		"silence": DPSFailed{Failure: DPSUnavailable, Silent: true},
	} {
		s := throttledFor(t, time.Hour)
		s.feed(answer)
		require.Equal(t, 10*time.Second, s.dpsIn(), "%s backs off as ever", name)
		s.waitDPS()
		s.dpsThrottles(time.Second)
		require.Greater(t, s.dpsIn(), time.Hour, "%s is no end of it", name)
	}
}

func TestThrottlingGoesOnWhereAnEarlierProcessHasLeftIt(t *testing.T) {
	s := throttledFor(t, 10*time.Minute).dpsThrottles(30 * time.Second)
	left := s.dpsIn()
	require.Equal(t, 20*time.Minute+30*time.Second, left)
	for range 10 { // a crash loop is not early, and does not begin anew
		s.restarts(time.Second)
		left -= time.Second
		require.Equal(t, left, s.dpsIn())
	}
	s.waitDPS()
	lasted := s.now.Sub(epochOfScripts)
	s.restarts(0) // in the middle of the next request
	require.Equal(t, UnderWay, s.state.DPS.Phase)
	s.dpsThrottles(30 * time.Second)
	require.InDelta(t, 30*time.Second+2*lasted, s.dpsIn(), float64(time.Minute))
}

func TestANudgeDoesNotShortenWhatADPSThatThrottlesIsLeftAlone(t *testing.T) {
	s := throttledFor(t, time.Hour).dpsThrottles(time.Second)
	in := s.dpsIn()
	s.feed(Nudge{})
	require.Equal(t, in, s.dpsIn())
}

func TestAProgramMayRegisterOnceRetryAfterIsOver(t *testing.T) {
	s := throttledFor(t, time.Hour).dpsThrottles(30 * time.Second)
	s.now = s.now.Add(29 * time.Second)
	require.Equal(t, []string{"ReplyTooSoon"}, s.feed(Reprovision{}))
	s.now = s.now.Add(time.Second)
	require.Equal(t, []string{"Register"}, s.feed(Reprovision{}))
}
