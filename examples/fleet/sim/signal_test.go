// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// None is missed, whether the one that waits still looks or sleeps already, and it is not awake
// before it is raised.
func TestASignalWakesTheOneThatWaits(t *testing.T) {
	for _, pause := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			const rounds = 1000
			begin, end := newSignal(), newSignal()
			played := 0
			go func() {
				for n := range uint64(rounds) {
					begin.wait(n + 1)
					time.Sleep(pause)
					played++
					end.raise()
				}
			}()
			for n := range uint64(rounds) {
				time.Sleep(pause)
				require.EqualValues(t, n, played)
				begin.raise()
				end.wait(n + 1)
				require.EqualValues(t, n+1, played)
			}
		})
	}
}
