// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/fleet/service"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/retry"
)

// seen is one line of a trace.
type seen struct {
	service.Request
	service.Answer
}

// moved plays a fleet whose hub is gone, and returns every request.
func moved(t *testing.T, devices int, latency time.Duration, set func(*Fleet)) []seen {
	t.Helper()
	trace, changes := played(t, devices, latency, func(f *Fleet, _ *Engine) {
		if set != nil {
			set(f)
		}
	})
	require.Equal(t, devices, connected(changes))
	return trace
}

// connected is how many devices are connected in the end.
func connected(changes []Change) (n int) {
	for _, c := range changes {
		if c.Up {
			n++
		} else {
			n--
		}
	}
	return n
}

// played plays a fleet whose hub is gone unless set says otherwise. It returns every request, and
// every connection that came or went.
func played(
	t *testing.T, devices int, latency time.Duration, set func(*Fleet, *Engine),
) (trace []seen, changes []Change) {
	t.Helper()
	f := Fleet{
		Devices: devices, Hubs: []string{"old", "new"}, Settings: rules.Defaults(), Seed: 1,
		Boot: func(device uint32) time.Duration {
			return time.Duration(device) * time.Millisecond
		},
		Remembers: func(uint32) Home { return Home{Known: true, Hub: 0} },
	}
	f.Settings.Tokens = true
	e := Engine{
		Devices: devices, Latency: latency, Check: true,
		World: &service.World{
			DPS: service.DPS{
				Quota:     &service.FixedWindow{Limit: 20, Span: time.Minute},
				PollAfter: 3 * time.Second,
				Assigns:   func(uint32, time.Duration) service.Hub { return 1 },
			},
			Hubs: []*service.HubModel{
				{Knows: func(uint32, time.Duration) bool { return false }}, {},
			},
		},
		Asked:   func(r service.Request, a service.Answer) { trace = append(trace, seen{r, a}) },
		Changed: func(c Change) { changes = append(changes, c) },
		Until:   48 * time.Hour,
	}
	set(&f, &e)
	e.Behaviour = NewFleet(f)
	require.NoError(t, e.Run(t.Context()))
	require.Zero(t, e.Ledger.BeforeRetryAfter())
	return trace, changes
}

func TestTheSeedDecidesAndNotTheCores(t *testing.T) {
	want := moved(t, 400, 100*time.Millisecond, nil)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	require.Equal(t, want, moved(t, 400, 100*time.Millisecond, nil))
	other := moved(t, 400, 100*time.Millisecond, func(f *Fleet) { f.Seed = 2 })
	require.NotEqual(t, want, other)
}

// Requests are answered in the order of their moments, whichever way the fleet is played.
func TestTheServicesSeeRequestsInOrder(t *testing.T) {
	for _, latency := range []time.Duration{0, 100 * time.Millisecond} {
		trace := moved(t, 200, latency, nil)
		require.True(t, slices.IsSortedFunc(trace, func(a, b seen) int {
			return int(a.Request.At - b.Request.At)
		}))
	}
}

// A device alone, without latency, is asked for what the rules say: the old hub, the time, a
// registration, its poll, the new hub.
func TestADeviceMovesAsTheRulesSay(t *testing.T) {
	var drawn []uint32
	trace := moved(t, 1, 0, func(f *Fleet) {
		random := rand.New(rand.NewPCG(7, 7))
		f.Random = func(device uint32, _ int) rules.Random {
			drawn = append(drawn, device)
			return random
		}
	})
	var kinds []service.Kind
	for _, s := range trace {
		kinds = append(kinds, s.Kind)
	}
	require.Equal(t, []service.Kind{
		service.Connect, service.Time, service.Register, service.Poll, service.Connect,
	}, kinds)
	require.Equal(t, 3*time.Second, trace[4].At, "all at once, but for the poll")
	require.NotEmpty(t, drawn)
}

// What the simulation has from other packages is as there.
func TestWaitsAreThoseOfTheLibrary(t *testing.T) {
	wait, ok := retry.ParseRetryAfter("0", Start)
	require.True(t, ok)
	require.Equal(t, wait, leastPoll)
	untrusted := &hubconn.Error{Class: hubconn.Untrusted}
	require.Equal(t, untrusted.RetryAfter(), untrustedWait)
}

// A device in a crash loop has as many lives as it takes, each of a length of its own.
func TestADeviceHasAnyNumberOfLives(t *testing.T) {
	const lives = 1000
	var begun []int
	played(t, 1, 0, func(f *Fleet, e *Engine) {
		f.Restart, e.Until = time.Second, 2*lives*time.Second
		f.Life = func(_ uint32, n int) time.Duration {
			begun = append(begun, n)
			return time.Second
		}
	})
	require.Len(t, begun, lives)
	for i, n := range begun {
		require.Equal(t, i+1, n)
	}
}

// Whatever a state is, it comes back as it was: also one that is too large for its slot.
func TestStatesComeBackAsTheyWere(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	packed := newStates(3, rules.State{Settings: rules.Defaults()})
	apartBefore := 0
	for range 300 {
		device := uint32(random.IntN(3))
		want := rules.State{Settings: rules.Defaults()}
		for i := range want.Hubs {
			if random.IntN(2) == 0 {
				want.Hubs[i] = rules.HubRecord{
					Hub: "hub", DeviceID: deviceID, Class: retry.Rejected, Failures: random.IntN(9),
					NotBefore: Start.Add(time.Duration(random.Int64())), GapAt: Start, At: Start,
					Accepted: true, Missing: 2, MissingSince: Start, Gap: 1, Quick: 3,
				}
			}
		}
		want.DPS = rules.DPSTimer{
			Phase: rules.Waiting, At: Start, Operation: operation, NotBefore: Start,
			Rejecting: rules.Assignment{Hub: "hub", DeviceID: deviceID}, RefusedUntil: Start,
		}
		want.Outage = rules.Outage{Since: Start, Asked: 2, AskAt: Start}
		want.Confirmed = rules.Assignment{Hub: "hub", DeviceID: deviceID}
		packed.save(device, &want)
		if packed.extra[device] != nil {
			apartBefore++
		}
		got := rules.State{Connected: true} // of another device
		packed.load(device, &got)
		require.Equal(t, want, got)
	}
	require.Greater(t, apartBefore, 10, "some did not fit")
	require.Less(t, apartBefore, 290, "and some did")
}
