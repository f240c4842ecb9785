// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func boots() []Boot {
	a, b := assignedTo(hubNames[0]), assignedTo(hubNames[1])
	return []Boot{
		{Next: retry.Wait, Confirmed: a},
		{Next: retry.Wait, Confirmed: a, Candidate: b},
		{Next: retry.Wait, Candidate: b},
		{Next: retry.Register},
		{Next: retry.Lookup},
	}
}

func TestFromAnyHistoryTheDeviceConnectsOnceServicesAnswer(t *testing.T) {
	const events = 10_000
	for seed := range uint64(15) {
		w := newWorld(t, seed, boots()[seed%5])
		for fed := 0; fed < events; fed++ {
			if w.rnd.IntN(4) == 0 {
				w.disturb()
			}
			w.advance(w.now.Add(time.Duration(w.rnd.Int64N(int64(20 * time.Minute)))))
		}
		clear(w.hubs)
		w.dpsMode, w.home = dpsAssigns, hubNames[w.rnd.IntN(len(hubNames))]
		if w.connectedTo != "" {
			w.drop(retry.Unreachable)
		}
		for deadline := w.now.Add(30 * time.Hour); w.connectedTo == "" && w.now.Before(deadline); {
			w.advance(deadline)
		}
		require.NotEmpty(
			t, w.connectedTo, "seed %d: not connected a day after everything works again\n%s", seed,
			w,
		)
	}
}

func TestNoRequestToDPSWhileTheConfirmedHubAccepts(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, boots()[0])
		for range 2_000 {
			switch {
			case !w.stable: // a hub that drops every connection is not one that accepts
			case w.rnd.IntN(3) == 0:
				w.drop(retry.Unreachable)
			case w.rnd.IntN(2) == 0:
				w.drop(retry.Server)
			}
			w.advance(w.now.Add(time.Duration(w.rnd.Int64N(int64(3 * time.Minute)))))
		}
		require.Zero(t, w.registers+w.lookups+w.clocks, "seed %d", seed)
	}
}

func TestStepLeavesItsArgumentAlone(t *testing.T) {
	w := newWorld(t, 4, boots()[0])
	before := w.state
	same := before
	_, _ = Step(before, HubFailure{Class: retry.Rejected}, w.now, w.rnd)
	require.Equal(t, same, before)
}
