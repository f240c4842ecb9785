// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// While one path is broken for good, the device takes another.

func TestWithoutPort443ADeviceIsMovedOffADeadHubOverMQTT(t *testing.T) {
	for name, c := range map[string]struct {
		dropped bool // or else refused
		fault   simnet.Fault
		limit   time.Duration
		lookups int // which do not get through
	}{
		"refused":              {false, simnet.Refused, 4 * time.Hour, 2},
		"dropped":              {true, simnet.Refused, 4 * time.Hour, 2},
		"refused, hub deleted": {false, simnet.NameNotFound, 10 * time.Minute, 0},
		"dropped, hub deleted": {true, simnet.NameNotFound, 10 * time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{dps: dps.MQTT}, {dps: dps.MQTT, x509: true}},
				func(t *testing.T, r *rig) {
					r.boot()
					r.network.SetFault(hubA, c.fault)
					require.NoError(t, r.dps.MoveNow(rigID, hubB))
					dev := r.device()
					closePort443(dev, c.dropped)
					stop := r.run(dev)
					s := r.await(0, c.limit)
					stop()
					require.Equal(t, hubB, s.hub)
					require.Equal(t, c.lookups, dev.Status().Lookups)
					require.Equal(t, 1, r.asked(dpstest.Register))
				})
		})
	}
}

// A wrong clock, a port that is closed, and a hub that has turned the device away.
func TestWithoutPort443ARejectedDeviceGoesOnWithoutTheTime(t *testing.T) {
	each(t, []wiring{{dps: dps.MQTT}}, func(t *testing.T, r *rig) {
		r.boot()
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		dev := r.device()
		closePort443(dev, true)
		stop := r.run(dev)
		s := r.await(0, time.Hour)
		stop()
		require.Equal(t, hubB, s.hub)
	})
}

func TestWhileTheNewHubThrottlesTheDeviceStaysAtTheOldOne(t *testing.T) {
	each(t, []wiring{{ws: true}, {dps: dps.MQTT, ws: true}}, func(t *testing.T, r *rig) {
		r.boot()
		require.NoError(t, r.stays(r.a, func() error { return r.dps.MoveNow(rigID, hubB) }))
		r.reset()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5})
		r.b.Inject(hubtest.Fault{
			On: hubtest.Upgrade, Status: 429, Code: 429001, RetryAfter: "36000",
			ErrorCode: "ThrottlingException",
		})
		dev := r.device()
		stop := r.run(dev)
		s := r.await(0, 3*time.Minute)
		require.Equal(t, hubA, s.hub)
		require.Len(t, r.b.Attempts(), 1)
		_, err := dev.Reprovision(context.Background(), "which names the new hub again")
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.True(t, r.a.Connected(rigID))
		require.Len(t, r.seen(), 1)

		time.Sleep(9 * time.Hour)
		r.a.Disconnect(rigID)
		require.Equal(t, hubA, r.await(1, time.Minute).hub, "the new hub has asked for 10 h")
		time.Sleep(2 * time.Hour)
		require.True(t, r.a.Connected(rigID), "nothing moves a device that is connected")
		require.Len(t, r.b.Attempts(), 1)
		r.a.Disconnect(rigID)
		require.Equal(t, hubB, r.await(2, time.Minute).hub)
		require.Equal(t, 2, r.asked(dpstest.Register))
		stop()
	})
}

func TestAWrongClockLocksTheDeviceOutNoLongerThanDPSIsAway(t *testing.T) {
	for name, c := range map[string]struct {
		away, off time.Duration
		fault     simnet.Fault
	}{
		"20 s":                  {20 * time.Second, years26, simnet.Refused},
		"20 s, no answer":       {20 * time.Second, years26, simnet.Blackhole},
		"20 s, two hours slow":  {20 * time.Second, 2 * time.Hour, simnet.Refused},
		"5 min":                 {5 * time.Minute, years26, simnet.Blackhole},
		"5 min, two hours slow": {5 * time.Minute, 2 * time.Hour, simnet.Refused},
		"3 h":                   {3 * time.Hour, years26, simnet.Refused},
		"3 h, no answer":        {3 * time.Hour, years26, simnet.Blackhole},
		"3 h, two hours slow":   {3 * time.Hour, 2 * time.Hour, simnet.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
				r.boot()
				r.network.SetClockOffset(c.off)
				r.network.SetFault(dpstest.GlobalEndpoint, c.fault)
				time.AfterFunc(c.away, func() {
					r.network.SetFault(dpstest.GlobalEndpoint, simnet.None)
				})
				stop := r.run(r.device())
				s := r.await(0, c.away+max(10*time.Minute, c.away)+time.Minute)
				stop()
				require.Equal(t, hubA, s.hub)
				if c.away < time.Hour {
					require.Zero(t, r.assigned(), "%v", r.dps.Requests())
				}
			})
		})
	}
}

// assigned counts the registrations and lookups that DPS has carried out.
func (r *rig) assigned() (n int) {
	for _, q := range r.dps.Requests() {
		if (q.Op == dpstest.Register || q.Op == dpstest.Lookup) && q.Status/100 == 2 {
			n++
		}
	}
	return n
}

func TestAHubThatDropsEveryConnectionIsAnOutageToo(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		r.a.Inject(hubtest.Fault{On: hubtest.Publish, Close: true, Times: always})
		require.NoError(t, r.stays(r.a, func() error { return r.dps.MoveNow(rigID, hubB) }))
		r.reset()
		stop := r.run(r.device())
		for n := 0; r.await(n, time.Hour).hub != hubB; n++ {
			require.Less(t, r.elapsed(), 2*time.Hour)
		}
		stop()
		require.Less(t, r.elapsed(), 70*time.Minute)
		require.Less(t, len(r.attempts(r.a)), 40)
		require.LessOrEqual(t, r.asked(dpstest.Lookup, dpstest.Register), 2)
	})
}

func TestAHubThatThrottlesForADayIsAnOutageToo(t *testing.T) {
	each(t, []wiring{{ws: true}, {dps: dps.MQTT, ws: true}}, func(t *testing.T, r *rig) {
		r.boot()
		r.a.Inject(hubtest.Fault{
			On: hubtest.Upgrade, Status: 429, Code: 429001, RetryAfter: "1800", Times: always,
			ErrorCode: "ThrottlingException",
		})
		require.NoError(t, r.stays(r.a, func() error { return r.dps.MoveNow(rigID, hubB) }))
		r.reset()
		stop := r.run(r.device())
		s := r.await(0, 26*time.Hour)
		stop()
		require.Equal(t, hubB, s.hub)
		require.GreaterOrEqual(t, s.at, 24*time.Hour)
		require.Less(t, len(r.attempts(r.a)), 50)
		require.Equal(t, 1, r.asked(dpstest.Lookup))
	})
}

func TestAShortSessionThatTheProgramClosesEndsAnOutage(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetFault(hubA, simnet.Refused)
		r.life(r.device(), 10*time.Minute)
		_, err := r.store.Get(context.Background(), rigID+"~waits")
		require.NoError(t, err)
		time.Sleep(time.Hour)
		r.network.SetFault(hubA, simnet.None)

		finished := errors.New("sent")
		send := func(ctx context.Context, hub *hubconn.Conn) error {
			if err := hub.Send(ctx, hubconn.Message{Body: []byte("x")}); err != nil {
				return err
			}
			return finished
		}
		err = r.device().Run(context.Background(), send)
		require.ErrorIs(t, err, finished)
		_, err = r.store.Get(context.Background(), rigID+"~waits")
		require.ErrorIs(t, err, cache.ErrMiss)
		_, _, err = r.waits().GetWaits(context.Background(), rigID)
		require.ErrorIs(t, err, cache.ErrMiss)
		require.Zero(t, r.asked())
	})
}

func TestAMovedDeviceLeavesAHubWhoseCertificateIsBadForGood(t *testing.T) {
	for _, kind := range []simnet.CertificateKind{simnet.UnknownCA, simnet.WrongName} {
		t.Run(kind.String(), func(t *testing.T) {
			each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
				r.boot()
				r.network.SetCertificate(hubA, kind)
				require.NoError(t, r.dps.Move(rigID, hubB)) // of which only a registration tells
				stop := r.run(r.device())
				s := r.await(0, 4*time.Hour)
				stop()
				require.Equal(t, hubB, s.hub)
				ops, _ := r.requests()
				require.Equal(
					t, []dpstest.Op{dpstest.Lookup, dpstest.Lookup, dpstest.Register}, ops,
				)
				require.Empty(t, r.a.Attempts())
			})
		})
	}
}

func TestNothingIsSentWhereTheCertificateOfDPSIsBadToo(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		for _, host := range []string{hubA, dpstest.GlobalEndpoint} {
			r.network.SetCertificate(host, simnet.UnknownCA)
		}
		require.NoError(t, r.dps.Move(rigID, hubB))
		dev := r.device()
		stop := r.run(dev)
		time.Sleep(24 * time.Hour)
		require.Greater(t, dev.Status().Registrations, 1)
		stop()
		require.Zero(t, r.asked())
		require.Empty(t, r.a.Attempts())
	})
}

func TestAHubWhoseNameVanishesForAMinuteIsNotLeft(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetFault(hubA, simnet.NameNotFound)
		time.AfterFunc(time.Minute, func() { r.network.SetFault(hubA, simnet.None) })
		stop := r.run(r.device())
		s := r.await(0, 7*time.Minute) // the longest delay that may be drawn is 305 s
		stop()
		require.Equal(t, hubA, s.hub)
		require.Zero(t, r.asked())
	})
}
