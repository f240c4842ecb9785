// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/fleet/report"
	"github.com/rehome-iot/rehome/examples/fleet/rivals"
	"github.com/rehome-iot/rehome/examples/fleet/service"
	"github.com/rehome-iot/rehome/internal/rules"
)

// small is a fleet that is played in moments, in front of a hub that has of the rate for a million
// what it is of a million. What is set comes on top.
func small(set ...func(*Options)) Options {
	o := Defaults()
	o.Devices, o.Check = 2000, true
	o.DPSPerMinute, o.HubPerSecond = 100, 12
	for _, one := range set {
		one(&o)
	}
	return o
}

// asOfAMillion sets the quotas so that all takes as long as for a million, and does without the
// check that would take most of the time.
func asOfAMillion(devices int) func(*Options) {
	return func(o *Options) {
		o.Devices, o.Check = devices, false
		o.DPSPerMinute, o.HubPerSecond = float64(devices)/1000, 6*float64(devices)/1000
	}
}

func play(t *testing.T, name string, o Options) report.Figures {
	t.Helper()
	s, ok := Named(name)
	require.True(t, ok, name)
	_, f, err := s.Prepare(o).Run(t.Context())
	require.NoError(t, err)
	if o.Rival == nil {
		require.Zero(t, f.BeforeRetryAfter, "requests before a Retry-After was over")
		require.Zero(t, f.SoonAfterFailure, "requests within 5 s of a 5xx")
	}
	return f
}

func TestAWarmBootAsksDPSForNothing(t *testing.T) {
	for _, spread := range []time.Duration{time.Second, time.Minute} {
		f := play(t, "reboot", small(func(o *Options) { o.BootSpread = spread }))
		require.Equal(t, 2000, f.Arrived)
		require.Zero(t, f.Registrations)
		require.Zero(t, f.Clock)
	}
	require.Zero(t, play(t, "dps-down-warm", small()).Registrations)
}

func TestAFleetIsBackSoonAfterItsHub(t *testing.T) {
	for seed := range uint64(3) {
		f := play(t, "hub-down", small(func(o *Options) { o.Seed = seed }))
		require.Equal(t, 2000, f.Arrived)
		require.LessOrEqual(t, f.OfOptimum, 2.0)
		require.Greater(t, f.OfOptimum, 1.0)
	}
	shaped := play(t, "hub-down", small(func(o *Options) { o.Shaped = true }))
	require.LessOrEqual(t, shaped.OfOptimum, 2.0)
}

// With so few devices the quota has to be that of a larger fleet, or chance alone exceeds it.
func TestStaggerKeepsAMoveWithinTheQuota(t *testing.T) {
	for _, bucket := range []bool{false, true} {
		o := small(func(o *Options) {
			o.Devices, o.DPSPerMinute, o.HubPerSecond, o.X509 = 20_000, 1000, 6000, true
			o.TokenBucket, o.Check = bucket, false
		})
		f := play(t, "move-stagger", o)
		require.Equal(t, 20_000, f.Arrived)
		require.LessOrEqual(t, f.OfOptimum, 1.08)
		require.LessOrEqual(t, f.Wasted, 0.1)
		require.LessOrEqual(t, f.PeakMinute, 1.5)

		hinted, _ := Named("move-hint")
		require.Zero(t, hinted.Prepare(o).Fleet.Settings.Stagger, "nobody but DPS says it")
		f = play(t, "move-hint", o)
		require.Equal(t, 20_000, f.Arrived)
		require.LessOrEqual(t, f.OfOptimum, 1.10)
		require.LessOrEqual(t, f.Wasted, 0.5)
	}
}

// Nobody has said anything, to as many devices as are enough for what a million comes to.
func TestAMoveWithoutAnySpreadIsWithinWhatIsPromised(t *testing.T) {
	f := play(t, "move", small(asOfAMillion(20_000)))
	require.Equal(t, 20_000, f.Arrived)
	require.LessOrEqual(t, f.OfOptimum, 1.15)
	require.LessOrEqual(t, f.Wasted, 8.0)
	require.Greater(t, f.Wasted, 6.0, "it is measured where it is not wasted")
}

func TestEveryoneMovesWithoutStaggerToo(t *testing.T) {
	f := play(t, "move", small())
	require.Equal(t, 2000, f.Arrived)
	require.InDelta(t, 2.5, f.Wasted, 0.3)
	require.Less(t, f.OfOptimum, 3.0)
	wrong := play(t, "move-wrong-stagger", small())
	require.Equal(t, 2000, wrong.Arrived)
	require.Less(t, wrong.PeakMinute, f.PeakMinute)
	costly := play(t, "move", small(func(o *Options) { o.RejectCost = 0.1 }))
	require.Equal(t, 2000, costly.Arrived)
	require.Greater(t, costly.OfOptimum, f.OfOptimum)
}

// The rows of docs/rules.md, of fewer devices: when the last two of 2,000 arrive is a matter of
// chance, and so is much of the time.
func TestTheWindowOfThrottlingTradesRequestsForTime(t *testing.T) {
	took := map[string]float64{}
	for name, c := range map[string]struct {
		throttled         rules.Throttled
		wasted, ofOptimum float64
	}{
		"of other failures": {rules.Throttled{}, 24.7, 1.02},
		"2·t, 4 h":          {throttled(2, 4), 8.3, 1.12},
		"3·t, 4 h":          {Defaults().Throttled, 7.5, 1.13},
		"4·t, 4 h":          {throttled(4, 4), 6.9, 1.14},
		"3·t, 2 h":          {throttled(3, 2), 9.6, 1.06},
		"3·t, 5 h":          {throttled(3, 5), 7.1, 1.17},
	} {
		f := play(t, "move", small(asOfAMillion(2000), func(o *Options) {
			o.Throttled, o.X509 = c.throttled, true
		}))
		require.InEpsilon(t, c.wasted, f.Wasted, 0.03, name)
		require.InDelta(t, c.ofOptimum, f.OfOptimum, 0.2, name)
		took[name] = f.OfOptimum
	}
	require.Less(t, took["of other failures"], took["3·t, 2 h"])
	require.Less(t, took["3·t, 2 h"], took["3·t, 4 h"])
	require.Less(t, took["3·t, 4 h"], took["3·t, 5 h"])
	hasty := play(t, "move", small(asOfAMillion(2000), func(o *Options) {
		o.RetryAfter = time.Second
	}))
	require.InEpsilon(t, 8.7, hasty.Wasted, 0.03, "a Retry-After of 1 s")
}

func throttled(factor, hours int) rules.Throttled {
	t := Defaults().Throttled
	t.Factor, t.Cap = factor, time.Duration(hours)*time.Hour
	return t
}

// What must go wrong does: without chance of their own all devices ask at the same moments.
func TestDevicesThatDrawTheSameAreInEachOthersWay(t *testing.T) {
	same := play(t, "move", small(func(o *Options) { o.SameSeed, o.BootSpread = true, 0 }))
	own := play(t, "move", small(func(o *Options) { o.BootSpread = 0 }))
	require.Greater(t, same.Wasted, 1.3*own.Wasted)
	require.Greater(t, same.LaterMinute, 2*own.LaterMinute)
	require.Greater(t, same.Share, 0.8)
}

func TestClocksAt1970CauseNoRegistration(t *testing.T) {
	f := play(t, "clock-1970", small())
	require.Equal(t, 2000, f.Arrived)
	require.Zero(t, f.Registrations)
	require.Equal(t, 1.0, f.Clock)
	require.Zero(t, f.PeakMinute)
	// they come as fast as the hub, which takes 720 a minute, turns the devices away
	require.InDelta(t, 6.3, f.AllMinute, 0.7, "of a quota of 100 a minute")
}

func TestAFleetMovesOnceDPSIsBack(t *testing.T) {
	f := play(t, "dps-down", small())
	require.Equal(t, 2000, f.Arrived)
	require.Greater(t, f.To999, time.Minute)
}

// What a DPS that fails is owed, devices give it however often they are killed meanwhile: play
// looks for requests that come within 5 s.
func TestADPSThatFailsIsLeftAloneByACrashLoopToo(t *testing.T) {
	failing := 0
	f := play(t, "dps-failing", small(func(o *Options) {
		o.Asked = func(r service.Request, a service.Answer) {
			if r.Kind != service.Connect && a.Outcome == service.Unavailable {
				failing++
			}
		}
	}))
	require.Equal(t, 1800, f.Arrived)
	require.Greater(t, failing, 5*2000, "nobody has met it")
	require.Less(t, failing, 30*2000)
}

func TestACrashLoopIsNoReasonToAskMore(t *testing.T) {
	f := play(t, "crash", small())
	require.Equal(t, 1800, f.Arrived)
	require.Zero(t, f.Registrations)
	require.Greater(t, f.Connects, 4.0, "a tenth connects again and again")
	moved, calm := play(t, "crash-move", small()), play(t, "move", small())
	require.Equal(t, 1800, moved.Arrived)
	require.Less(t, moved.Registrations, 1.3*calm.Registrations)
}

func TestAnOperatorKeepsToTheQuotaByReleasingLess(t *testing.T) {
	f := play(t, Phases, small())
	require.Equal(t, 2000, f.Arrived)
	require.LessOrEqual(t, f.Wasted, 0.1)
	require.InDelta(t, 1/0.95, f.OfOptimum, 0.05)
	over := play(t, Phases, small(func(o *Options) { o.Phase = 1.5 * o.DPSPerMinute }))
	require.Greater(t, over.Wasted, 0.5)
}

// Their sources are public; what they come to here has been computed elsewhere, too: 999 wasted
// requests a device for whoever takes a Retry-After of 30 s exactly, at T = 60,000 s. Here it is
// T = 3,000 s.
func TestOtherSDKsAskTheQuotaManyTimesOver(t *testing.T) {
	wasted := map[string]float64{
		"csharp": 49, "node": 28, "python": 49, "c": 48.6, "embedded-c": 26.5, "unified": 27.4,
		"unified-reprovision": 25, "unified-retry-hub": 0,
	}
	for i := range rivals.All {
		r := &rivals.All[i]
		f := play(t, "move", small(func(o *Options) {
			o.Devices, o.DPSPerMinute, o.Rival = 500, 10, r
		}))
		require.Contains(t, wasted, r.Name)
		require.InDelta(t, wasted[r.Name], f.Wasted, 1.5, r.Name)
		arrived := 500
		if r.Name == "unified-retry-hub" {
			arrived = 0
		}
		require.Equal(t, arrived, f.Arrived, r.Name)
		require.NotEmpty(t, r.Source)
	}
}

// A hub that rejects the device is where the unified SDK's two ways part: one goes back there,
// after five minutes and then ever more rarely, and so never hears where it belongs.
func TestTheUnifiedSDKsDefaultStaysAtAHubThatRejectsIt(t *testing.T) {
	const least = 5 * time.Minute * 3 / 4
	meet := func(name string) (f report.Figures, rejected, registered [][]time.Duration) {
		rejected, registered = make([][]time.Duration, 200), make([][]time.Duration, 200)
		f = play(t, "move", small(func(o *Options) {
			o.Devices, o.DPSPerMinute, o.Until = 200, 200, 12*time.Hour
			o.Rival = rival(t, name)
			o.Asked = func(r service.Request, a service.Answer) {
				switch {
				case a.Outcome == service.Rejected:
					rejected[r.Device] = append(rejected[r.Device], r.At)
				case r.Kind == service.Register:
					registered[r.Device] = append(registered[r.Device], r.At)
				}
			}
		}))
		return f, rejected, registered
	}
	f, rejected, registered := meet("unified-retry-hub")
	require.Zero(t, f.Arrived)
	for device, tries := range rejected {
		require.Empty(t, registered[device])
		require.InDelta(t, 15, len(tries), 4)
		for i := range tries[1:] {
			gap := tries[i+1] - tries[i]
			require.GreaterOrEqual(t, gap, min(least<<i, 45*time.Minute), "the %d. try", i+1)
			require.LessOrEqual(t, gap, 76*time.Minute)
		}
	}
	f, rejected, registered = meet("unified-reprovision")
	require.Equal(t, 200, f.Arrived)
	for device, tries := range rejected {
		require.Len(t, tries, 1)
		require.GreaterOrEqual(t, registered[device][0]-tries[0], least)
	}
	f, rejected, _ = meet("unified")
	require.Equal(t, 200, f.Arrived)
	require.Empty(t, slices.Concat(rejected...), "what has just started knows no hub")
}

func rival(t *testing.T, name string) *rivals.Rival {
	t.Helper()
	for i := range rivals.All {
		if rivals.All[i].Name == name {
			return &rivals.All[i]
		}
	}
	require.Fail(t, "no such rival", name)
	return nil
}

// Who looks for requests that come too early finds them.
func TestTheLedgerFindsWhatComesTooEarly(t *testing.T) {
	hasty := &rivals.Rival{Name: "hasty", Policy: rivals.All[0].Policy}
	hasty.Policy.DPS = func(int, time.Duration, func() float64) time.Duration { return time.Second }
	f := play(t, "move", small(func(o *Options) { o.Rival, o.Until = hasty, 10*time.Minute }))
	require.Positive(t, f.BeforeRetryAfter)
	s, _ := Named("reboot")
	o := Defaults()
	o.Devices, o.Rival, o.Until = 100, hasty, time.Minute
	p := s.Prepare(o)
	p.World.Hubs[OldHub].Failing = service.Interval{To: time.Hour}
	_, f, err := p.Run(t.Context())
	require.NoError(t, err)
	require.Positive(t, f.SoonAfterFailure)
}

func TestAnInterruptedSimulationHasWhatItHas(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	o := Defaults()
	o.Devices, o.DPSPerMinute = 2000, 2
	why := errors.New("enough")
	o.Progress = func(time.Duration, *report.Measure) { cancel(why) }
	s, _ := Named("move")
	m, f, err := s.Prepare(o).Run(ctx)
	require.ErrorIs(t, err, why)
	require.Positive(t, f.Registrations)
	require.NotEmpty(t, m.Seconds)
}
