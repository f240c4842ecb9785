// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// A million devices draw once each, in every row of the tables that a service may ask to be left
// alone by: whatever they draw, and however often they have failed before, none comes before that
// is over.
func TestOfAMillionDrawsNoneIsEarly(t *testing.T) {
	atHub, atDPS := warm(t).state, fresh(t).state
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		state State
		asks  func(r *rand.Rand) time.Duration // Retry-After
		event func(retryAfter time.Duration) Event
	}{
		"a hub's 5xx": {atHub, noWait, func(time.Duration) Event {
			return HubFailure{Class: retry.Server}
		}},
		"a hub's 429": {atHub, within(0, day), func(wait time.Duration) Event {
			return HubFailure{Class: retry.Throttled, RetryAfter: wait}
		}},
		"a hub's 429 for years": {atHub, within(day, 200*365*day), func(wait time.Duration) Event {
			return HubFailure{Class: retry.Throttled, RetryAfter: wait}
		}},
		"a 5xx of DPS": {atDPS, noWait, func(time.Duration) Event {
			return DPSFailed{Failure: DPSUnavailable}
		}},
		"a 5xx of DPS with Retry-After": {atDPS, within(0, day), func(wait time.Duration) Event {
			return DPSFailed{Failure: DPSUnavailable, RetryAfter: wait}
		}},
		"a 429 of DPS": {atDPS, within(0, day), func(wait time.Duration) Event {
			return DPSFailed{Failure: DPSThrottled, RetryAfter: wait}
		}},
		"a 429 of DPS for years": {atDPS, within(day, 200*365*day), func(wait time.Duration) Event {
			return DPSFailed{Failure: DPSThrottled, RetryAfter: wait}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d InPlace
			random := rand.New(rand.NewPCG(1, 0))
			early, soonest := 0, day
			for i := range draws {
				*d.State() = c.state
				d.State().DPS.Failures, d.State().Hubs[0].Failures = i%16, i%16
				if since := random.Int64N(int64(day)); i%2 == 0 {
					d.State().DPS.ThrottledSince = epochOfScripts.Add(-time.Duration(since))
				}
				asked := c.asks(random)
				d.Step(c.event(asked), epochOfScripts, random)
				least := min(asked, day)
				if asked == 0 {
					least = 5 * time.Second
				}
				at, ok := d.State().Wake()
				if !ok || at.Sub(epochOfScripts) < least {
					early++
				}
				soonest = min(soonest, at.Sub(epochOfScripts)-least)
			}
			require.Zero(t, early, "of %d draws", draws)
			require.Less(t, soonest, time.Minute, "the draws are of something else")
		})
	}
}

func noWait(*rand.Rand) time.Duration { return 0 }

// within is whole seconds between two durations, as a Retry-After has them.
func within(lo, hi time.Duration) func(*rand.Rand) time.Duration {
	return func(r *rand.Rand) time.Duration {
		return lo + time.Second + time.Duration(r.Int64N(int64((hi-lo)/time.Second)))*time.Second
	}
}
