// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A simulation takes its steps in place, a device does not: what follows is the same.
func TestStepsInPlaceDecideAsTheOthersDo(t *testing.T) {
	for seed := range uint64(6) {
		w := newWorld(t, seed, boots()[seed%5])
		for range 500 {
			if w.rnd.IntN(3) == 0 {
				w.disturb()
			}
			w.advance(w.now.Add(time.Duration(w.rnd.Int64N(int64(20 * time.Minute)))))
		}
		require.Greater(t, len(w.history), 200)
		copied, moved := State{Settings: w.state.Settings}, InPlace{}
		*moved.State() = copied
		mine, theirs := rand.New(rand.NewPCG(seed, 2)), rand.New(rand.NewPCG(seed, 2))
		for i, p := range w.history {
			var want, got []Action
			if p.event == nil {
				copied, want = Fire(copied, p.at, mine)
				got = moved.Fire(p.at, theirs)
			} else {
				copied, want = Step(copied, p.event, p.at, mine)
				got = moved.Step(p.event, p.at, theirs)
			}
			require.Equal(t, copied, *moved.State(), "seed %d, event %d", seed, i)
			require.Len(t, got, len(want))
			for j := range want {
				require.Equal(t, want[j], got[j])
			}
		}
	}
}
