// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/fleet/service"
)

// With latency, what lies within the time that an answer takes is one batch, and several cores play
// it. One core that plays one instant after the other, as in the comparison with real Devices, has
// the services asked for the same, in the same order.
func TestBothWaysToPlayMakeTheSameRequests(t *testing.T) {
	const devices = 400
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	released := func(device uint32) time.Duration {
		return time.Minute + time.Duration(device)*137*time.Millisecond
	}
	for name, set := range map[string]func(*Fleet, *Engine){
		"move":                      func(*Fleet, *Engine) {},
		"move, spread":              func(f *Fleet, _ *Engine) { f.Settings.Stagger = time.Hour },
		"move, spread as DPS said":  func(f *Fleet, _ *Engine) { f.Hint = time.Hour },
		"move, with clocks at 1970": func(f *Fleet, _ *Engine) { f.WrongClock = everyOne },
		"move while DPS fails": func(_ *Fleet, e *Engine) {
			e.World.DPS.Failing.To = time.Hour
		},
		"move to a hub that lets wait": func(_ *Fleet, e *Engine) {
			e.World.Hubs[1].Rate = service.Rate{PerSecond: 0.1, Backlog: 54 * time.Second}
		},
		"move in a crash loop": func(f *Fleet, e *Engine) {
			f.Restart, e.Until = 5*time.Second, 2*time.Hour
			f.Life = func(device uint32, n int) time.Duration {
				life := time.Duration(20+(7*int(device)+13*n)%60) * time.Second
				return time.Duration(device%3) * life // of a third, for ever
			}
		},
		"released by an operator": func(f *Fleet, e *Engine) {
			f.Online, f.LinkEnds = everyOne, released
			e.World.Hubs[0].Knows = func(device uint32, at time.Duration) bool {
				return at < released(device)
			}
		},
		"hub back, in tokens": func(_ *Fleet, e *Engine) {
			e.World.Hubs[0] = &service.HubModel{
				Down: service.Interval{To: time.Hour},
				Rate: service.Rate{Quota: &service.TokenBucket{Rate: 2, Burst: 2}},
			}
			e.World.DPS.Assigns = func(uint32, time.Duration) service.Hub { return 0 }
		},
	} {
		t.Run(name, func(t *testing.T) {
			one := func(instantly bool) ([]seen, []Change) {
				return played(t, devices, 100*time.Millisecond, func(f *Fleet, e *Engine) {
					set(f, e)
					e.instantly = instantly
				})
			}
			want, wantChanges := one(true)
			got, gotChanges := one(false)
			require.Greater(t, len(want), devices)
			for i := range min(len(want), len(got)) {
				require.Equal(t, want[i], got[i], "request %d", i)
			}
			require.Len(t, got, len(want))
			require.True(t, slices.Equal(wantChanges, gotChanges), "connections come and go alike")
		})
	}
}

func everyOne(uint32) bool { return true }

// A fleet that is connected when a simulation begins does nothing until it is released, and moves
// then. One that remembers nothing is connected to the first hub.
func TestAFleetThatIsConnectedMovesWhenItIsReleased(t *testing.T) {
	for _, remembers := range []func(uint32) Home{
		nil, func(uint32) Home { return Home{Known: true, Hub: 0} },
	} {
		trace, changes := played(t, 1, 0, func(f *Fleet, e *Engine) {
			f.Remembers, f.Online = remembers, everyOne
			f.LinkEnds = func(uint32) time.Duration { return time.Hour }
		})
		require.Equal(t, Change{Up: true}, changes[0])
		require.Equal(t, Change{At: time.Hour}, changes[1])
		require.Equal(t, uint32(0), changes[2].Device)
		require.Equal(t, service.Hub(1), changes[2].Hub)
		require.Len(t, changes, 3)
		var kinds []service.Kind
		for _, s := range trace {
			kinds = append(kinds, s.Kind)
		}
		require.Equal(t, []service.Kind{
			service.Connect, service.Time, service.Register, service.Poll, service.Connect,
		}, kinds)
		require.Greater(t, trace[0].At, time.Hour)
	}
}
