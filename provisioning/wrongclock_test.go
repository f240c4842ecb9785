// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// System clocks that are wrong while every certificate is valid, and what they leave behind.

const days20 = 20 * 24 * time.Hour

// withFastClock gives the device a system clock that is ahead of the services', until it is set.
func withFastClock(
	dev *provisioning.Device, ahead time.Duration,
) (same *provisioning.Device, set func(ahead time.Duration)) {
	var now atomic.Int64
	now.Store(int64(ahead))
	dev.TLSConfig.Time = func() time.Time { return time.Now().Add(time.Duration(now.Load())) }
	return dev, func(ahead time.Duration) { now.Store(int64(ahead)) }
}

func (r *rig) saved() time.Time {
	r.t.Helper()
	got, err := r.device().Remembered(context.Background())
	require.NoError(r.t, err)
	require.Empty(r.t, got.Problem)
	return got.Saved
}

func TestAClockThatIsFastIsCorrectedByWhateverDPSAnswers(t *testing.T) {
	for name, fault := range map[string]dpstest.Fault{
		"assigned":  {},
		"throttled": {On: dpstest.Register, Status: 429, RetryAfter: "86400"},
		"refused":   {On: dpstest.Register, Code: 401002},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{}, {ws: true, x509: true}}, func(t *testing.T, r *rig) {
				dev, _ := withFastClock(r.device(), days20)
				if name != "assigned" {
					r.dps.Inject(fault)
				}
				stop := r.run(dev)
				time.Sleep(20 * time.Second)
				require.InDelta(t, -days20.Seconds(), dev.Status().ClockOffset.Seconds(), 2)
				stop()
				if name == "assigned" {
					require.WithinDuration(t, r.network.Now(), r.saved(), time.Minute)
				}
			})
		})
	}
}

func TestALookupTellsTheTimeToo(t *testing.T) {
	each(t, []wiring{{}, {dps: dps.MQTT}}, func(t *testing.T, r *rig) {
		r.boot()
		r.store = nil
		dev, set := withFastClock(r.device(), days20)
		stop := r.run(dev)
		r.await(0, time.Minute)
		require.Equal(t, 1, r.asked(dpstest.Lookup))
		require.InDelta(t, -days20.Seconds(), dev.Status().ClockOffset.Seconds(), 2)
		set(0) // by NTP
		time.Sleep(time.Hour)
		r.a.Disconnect(rigID)
		r.await(1, time.Minute)
		require.Zero(t, dev.Status().ClockOffset)
		stop()
	})
}

// A registration over MQTT tells no time, so a clock that is fast is remembered.
func poisoned(r *rig, ahead time.Duration) *fullDisk {
	disk := &fullDisk{Store: r.store}
	r.store = disk
	first, _ := withFastClock(r.device(), ahead)
	first.Transport = dps.MQTT
	stop := r.run(first)
	r.await(0, time.Minute)
	stop()
	require.WithinDuration(r.t, time.Now().Add(ahead), r.saved(), time.Minute)
	r.reset()
	disk.stored = 0
	return disk
}

func TestARememberedTimeFromTheFutureHeals(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		disk := poisoned(r, days20)
		dev := r.device()
		stop := r.run(dev)
		r.await(0, time.Minute)
		require.InDelta(t, days20.Seconds(), dev.Status().ClockOffset.Seconds(), 60)
		for range 2 {
			_, err := dev.Reprovision(context.Background(), "test")
			require.NoError(t, err)
			time.Sleep(2 * time.Minute)
		}
		require.Zero(t, dev.Status().ClockOffset)
		require.False(t, dev.Status().ClockSuspect)
		stop()
		require.WithinDuration(t, r.network.Now(), r.saved(), 5*time.Minute)

		r.reset()
		disk.stored = 0
		for n := range 3 {
			steady := r.device()
			stop = r.run(steady)
			r.await(n, time.Minute)
			require.Zero(t, steady.Status().ClockOffset)
			stop()
		}
		require.Zero(t, disk.puts(), "a steady boot writes nothing")
		require.Zero(t, r.asked())
	})
}

func TestARememberedTimeAfterTheCertificatesEndHealsWithoutARegistration(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		years := 10 * 365 * 24 * time.Hour
		r.network.SetClockOffset(years) // where the device was made, every clock was wrong
		disk := poisoned(r, years)
		r.network.SetClockOffset(0)
		dev := r.device()
		stop := r.run(dev)
		r.await(0, 10*time.Minute)
		require.Zero(t, dev.Status().ClockOffset)
		stop()
		require.Zero(t, r.asked(dpstest.Register, dpstest.Lookup))
		require.Equal(t, 2, r.asked(dpstest.Clock), "two answers, a minute apart")
		require.Equal(t, 1, disk.puts(), "what was remembered wrong is written once")
		require.WithinDuration(t, r.network.Now(), r.saved(), time.Minute)
	})
}

func TestOneLieAboutTheTimeDoesNotTurnTheClockBack(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		saved := r.saved()
		time.Sleep(24 * time.Hour)
		r.reset()
		r.network.SetClockOffset(-days20) // a peer on the way, with a certificate of that time
		r.network.SetCertificate(hubA, simnet.Valid)
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5})
		dev := r.device()
		stop := r.run(dev)
		for r.asked(dpstest.Clock) == 0 {
			time.Sleep(rigStep)
		}
		time.Sleep(time.Second)
		r.network.SetClockOffset(0)
		require.GreaterOrEqual(t, dev.Status().ClockOffset, -time.Second)
		r.await(0, 10*time.Minute)
		require.Zero(t, dev.Status().ClockOffset)
		stop()
		require.False(t, r.saved().Before(saved))
	})
}

// Any answer tells the time. One that asks to be left alone is left alone all the same.
func TestNothingFollowsSoonOnAQuestionForTheTimeThatDPSCouldNotServe(t *testing.T) {
	for _, c := range []struct {
		fault       dpstest.Fault
		least, most time.Duration
	}{
		{dpstest.Fault{Status: 503}, 5 * time.Second, 10 * time.Second},
		{dpstest.Fault{Status: 500, RetryAfter: "60"}, time.Minute, 65 * time.Second},
		{dpstest.Fault{Code: 429001, RetryAfter: "60"}, time.Minute, 90 * time.Second},
	} {
		each(t, []wiring{{}}, func(t *testing.T, r *rig) {
			r.boot()
			require.True(t, r.a.Delete(rigID))
			c.fault.On = dpstest.Clock
			r.dps.Inject(c.fault)
			stop := r.run(r.device())
			r.await(0, 5*time.Minute)
			stop()
			ops, at := r.requests()
			require.Equal(t, []dpstest.Op{dpstest.Clock, dpstest.Register}, ops[:2])
			between(t, c.least, c.most+time.Second, at[1]-at[0], "%+v", c.fault)
		})
	}
}
