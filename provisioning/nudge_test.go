// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestANudgeConnectsSoonAfterALongOutageOfTheNetwork(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		hosts := []string{hubA, dpstest.GlobalEndpoint}
		for _, host := range hosts {
			r.network.SetFault(host, simnet.NameFailure)
		}
		dev := r.device()
		dev.Nudge() // nobody drives it yet
		stop := r.run(dev)
		for n := range 6 {
			time.Sleep(3 * time.Hour)
			asked := dev.Status().HubAttempts
			require.Greater(t, asked, 20)
			for _, host := range hosts {
				r.network.SetFault(host, simnet.None)
			}
			back := r.elapsed()
			var all sync.WaitGroup
			for range 10 {
				all.Go(dev.Nudge)
			}
			all.Wait()
			s := r.await(n, 6*time.Minute)
			require.LessOrEqual(t, s.at-back, 11*time.Second)
			time.Sleep(time.Minute) // stable
			for _, host := range hosts {
				r.network.SetFault(host, simnet.NameFailure)
			}
			r.a.Disconnect(rigID)
		}
		stop()
		dev.Nudge()
		require.Equal(t, provisioning.StateStopped, dev.Status().State)
	})
}

func TestANudgeOfADeviceThatWasNeverConnectedRegistersSoon(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.NameFailure)
		dev := r.device()
		stop := r.run(dev)
		time.Sleep(12 * time.Hour)
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.None)
		back := r.elapsed()
		dev.Nudge()
		s := r.await(0, time.Hour)
		stop()
		require.LessOrEqual(t, s.at-back, 20*time.Second)
	})
}

// nudged nudges a device every ten seconds.
func nudged(dev *provisioning.Device, times int) {
	for range times {
		time.Sleep(10 * time.Second)
		dev.Nudge()
	}
}

func TestNoNudgeComesBeforeWhatTheHubHasAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		fault hubtest.Fault
		least []time.Duration
	}{
		"Retry-After": {
			hubtest.Fault{
				On: hubtest.Upgrade, Status: 429, Code: 429001, RetryAfter: "600", Times: 2,
				ErrorCode: "ThrottlingException",
			},
			[]time.Duration{600 * time.Second, 600 * time.Second},
		},
		"Retry-After of a server in trouble": {
			hubtest.Fault{
				On: hubtest.Upgrade, Status: 503, Code: 503003, RetryAfter: "600", Times: 2,
				ErrorCode: "ServiceUnavailable",
			},
			[]time.Duration{600 * time.Second, 600 * time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{ws: true}}, func(t *testing.T, r *rig) {
				r.boot()
				r.a.Inject(c.fault)
				dev := r.device()
				stop := r.run(dev)
				nudged(dev, 200)
				stop()
				waits := gaps(r.attempts(r.a))
				require.Len(t, waits, len(c.least))
				for i, least := range c.least {
					require.GreaterOrEqual(t, waits[i], least)
				}
			})
		})
	}
}

func TestNoNudgeComesBeforeAGapOrStagger(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		dev := r.device()
		dev.Stagger = 5 * time.Hour
		stop := r.run(dev)
		time.Sleep(time.Millisecond)
		drawn := max(dev.Status().NextDPS.Sub(r.start), 0) // zero where the turn has come at once
		nudged(dev, 1810)                                  // it is after 5 hours at the latest
		at := r.times(dpstest.Register)
		require.Len(t, at, 1)
		require.InDelta(t, drawn.Seconds(), at[0].Seconds(), 0.1)
		require.NotEmpty(t, r.seen())
		stop()

		r.reset()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: always})
		dev = r.device()
		stop = r.run(dev)
		nudged(dev, 360) // an hour
		stop()
		at = r.times(dpstest.Register)
		for i, wait := range gaps(at) {
			gap := []time.Duration{1, 5, 15, 30, 60}[i] * time.Minute
			require.GreaterOrEqual(t, wait, gap*8/10, "%v", at)
		}
		require.LessOrEqual(t, len(r.attempts(r.a)), 14)
	})
}
