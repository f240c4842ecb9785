// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

// What is wrong for good costs the services little, and what one of them asks for is kept.

// A hub that takes the device and then does not any more is not one that lags behind DPS.
func TestAHubThatHadAcceptedAndThenRejectsIsAskedAboutAtOnceButOnce(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		reject := func() {
			r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5})
			r.a.Disconnect(rigID)
		}
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5})
		stop := r.run(r.device())
		r.await(0, time.Minute)
		require.Equal(t, 1, r.asked(dpstest.Register))
		time.Sleep(10 * time.Second)
		reject()
		r.await(1, 40*time.Second)
		require.Equal(t, 2, r.asked(dpstest.Register), "at once")
		time.Sleep(10 * time.Second)
		reject()
		r.await(2, 10*time.Minute)
		require.Equal(t, 2, r.asked(dpstest.Register), "but once")

		time.Sleep(time.Minute) // stable
		reject()
		r.await(3, time.Minute)
		require.Equal(t, 3, r.asked(dpstest.Register), "until a stable connection")
		stop()
	})
}

func TestANewHubThatLagsBehindIsReachedWithoutAnotherRegistration(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		r.b.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: always})
		time.AfterFunc(15*time.Second, r.b.ClearFaults) // the fourth try comes after it
		stop := r.run(r.device())
		s := r.await(0, time.Minute)
		stop()
		require.Equal(t, hubB, s.hub)
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.LessOrEqual(t, len(r.b.Attempts()), 4)
	})
}

func TestADeviceThatIsDisabledForADayCostsTheServicesLittle(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}, wiring{x509: true}),
		func(t *testing.T, r *rig) {
			r.boot()
			require.True(t, r.a.Disable(rigID))
			stop := r.run(r.device())
			time.Sleep(24 * time.Hour)
			between(t, 20, 30, time.Duration(r.asked(dpstest.Register)))
			between(t, 24, 80, time.Duration(len(r.a.Attempts())))
			require.Zero(t, r.asked(dpstest.Lookup))
			require.True(t, r.a.Enable(rigID))
			r.await(0, 75*time.Minute)
			stop()
		})
}

func TestADeviceThatKeepsProbingRegistersNothingAndComesBack(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}, wiring{x509: true}),
		func(t *testing.T, r *rig) {
			r.boot()
			require.True(t, r.a.Disable(rigID))
			dev := r.device()
			dev.AfterRejection = provisioning.KeepProbing
			stop := r.run(dev)
			time.Sleep(24 * time.Hour)
			between(t, 24, 80, time.Duration(len(r.a.Attempts())))
			require.True(t, r.a.Enable(rigID))
			r.await(0, 75*time.Minute)
			stop()
			require.Zero(t, r.asked(dpstest.Register, dpstest.Lookup))
		})
}

func TestADeviceThatStopsWhenRejectedReturnsTheHubsError(t *testing.T) {
	each(t, append(hubWirings, wiring{x509: true}), func(t *testing.T, r *rig) {
		r.boot()
		require.True(t, r.a.Disable(rigID))
		dev := r.device()
		dev.AfterRejection = provisioning.StopWhenRejected
		err := dev.Run(context.Background(), r.session)
		failure, ok := errors.AsType[*hubconn.Error](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, hubconn.Rejected, failure.Class)
		require.Zero(t, r.asked(dpstest.Register, dpstest.Lookup))
		require.Less(t, r.elapsed(), time.Minute)
	})
}

func TestMaxAttemptsOfOneSurvivesALostLink(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		dev.Retry.MaxAttempts = 1
		stop := r.run(dev)
		r.await(0, time.Minute)
		time.Sleep(5 * time.Second)
		r.network.Cut(hubA)
		r.await(1, time.Minute)
		time.Sleep(time.Minute)
		r.network.Cut(hubA)
		r.await(2, time.Minute)
		stop()
	})
}

func TestMaxAttemptsBoundsAKickWarSinceTheLastStableConnection(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		dev.Retry.MaxAttempts = 3
		sessions := 0
		err := dev.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
			sessions++
			assert.NoError(t, hub.Send(ctx, hubconn.Message{Body: []byte("x")}))
			if sessions == 3 {
				time.Sleep(time.Minute) // a stable connection in between
			}
			time.Sleep(time.Second)
			r.a.Disconnect(rigID)
			<-ctx.Done()
			return nil
		})
		require.Error(t, err)
		require.NotErrorIs(t, err, context.Canceled)
		between(t, 6, 7, time.Duration(sessions))
		require.Less(t, r.elapsed(), 10*time.Minute)
	})
}

// farAway is a Retry-After that nobody means.
const farAway = "Fri, 31 Dec 9999 23:59:59 GMT"

func TestAHubThatAsksForCenturiesIsTriedAgainAfterADay(t *testing.T) {
	for name, fault := range map[string]hubtest.Fault{
		"429": {On: hubtest.Upgrade, Status: 429, Code: 429001, ErrorCode: "ThrottlingException"},
		"503": {On: hubtest.Upgrade, Status: 503, Code: 503003, ErrorCode: "ServiceUnavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{ws: true}}, func(t *testing.T, r *rig) {
				r.boot()
				asking := fault
				asking.RetryAfter = farAway
				r.a.Inject(asking)
				stop := r.run(r.device())
				s := r.await(0, 25*time.Hour)
				stop()
				between(t, 24*time.Hour, 24*time.Hour+6*time.Second, s.at)
			})
		})
	}
}

func TestADPSThatAsksForCenturiesIsAskedAgainAfterADay(t *testing.T) {
	for name, c := range map[string]struct {
		fault dpstest.Fault
		more  time.Duration
	}{
		"429":  {dpstest.Fault{On: dpstest.Register, Status: 429}, 4*time.Hour + 10*time.Second},
		"503":  {dpstest.Fault{On: dpstest.Register, Status: 503}, 40 * time.Second},
		"poll": {dpstest.Fault{On: dpstest.Poll, Status: 429}, 40 * time.Second},
		"202":  {dpstest.Fault{On: dpstest.Register, Perform: true}, 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				asking := c.fault
				asking.RetryAfter = farAway
				r.dps.Inject(asking)
				stop := r.run(r.device())
				s := r.await(0, 29*time.Hour)
				stop()
				between(t, 24*time.Hour, 24*time.Hour+c.more, s.at)
			})
		})
	}
}

func TestForgetAndReprovisionToTheSameHubLetTheSessionGoOn(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		stop := r.run(dev)
		r.await(0, time.Minute)
		require.NoError(t, dev.Forget(context.Background()))
		_, err := dev.Reprovision(context.Background(), "factory reset")
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.Len(t, r.seen(), 1)
		require.True(t, r.a.Connected(rigID))
		require.Len(t, r.a.Attempts(), 1)
		stop()
		remembered, err := r.device().Remembered(context.Background())
		require.NoError(t, err)
		require.NotNil(t, remembered.Confirmed)
		require.Equal(t, hubA, remembered.Confirmed.Hub)
		require.NotErrorIs(t, r.ends[0], provisioning.ErrReprovisioned)
	})
}

func TestTheReasonOfAReprovisionIsToldEverywhere(t *testing.T) {
	const told = "asked by the program: direct method of the operator"
	for name, state := range map[string]provisioning.State{
		"stopped": provisioning.StateRegistering, "connected": provisioning.StateConnected,
		"while the hub fails": provisioning.StateRegistering,
	} {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				r.boot()
				if name == "while the hub fails" {
					r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: always})
				}
				var reasons []string
				causes := map[provisioning.State]string{}
				var out bytes.Buffer
				dev := r.device()
				dev.Logger = slog.New(slog.NewTextHandler(&out, nil))
				dev.Trace = &provisioning.Trace{
					Request: func(q provisioning.DPSRequest) {
						reasons = append(reasons, q.Reason)
					},
					Changed: func(s provisioning.Status) {
						if s.Cause != "" {
							causes[s.State] = s.Cause
						}
					},
				}
				stop := func() {}
				if name != "stopped" {
					stop = r.run(dev)
					time.Sleep(time.Minute)
				}
				_, err := dev.Reprovision(context.Background(), "direct method of\nthe operator")
				require.NoError(t, err)
				status := dev.Status()
				stop()
				require.Equal(t, []string{told}, reasons)
				require.Equal(t, told, causes[state])
				require.Contains(t, out.String(), told)
				require.NotEqual(t, told, status.Cause, "that is over")
			})
		})
	}
}

func TestAReprovisionThatComesTooSoonSaysForHowLong(t *testing.T) {
	for name, c := range map[string]struct {
		fault dpstest.Fault
		wait  time.Duration
	}{
		"after a failure":   {dpstest.Fault{On: dpstest.Register, Status: 503}, 5 * time.Second},
		"after Retry-After": {dpstest.Fault{On: dpstest.Register, Status: 429, RetryAfter: "60"}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				r.boot()
				dev := r.device()
				stop := r.run(dev)
				r.await(0, time.Minute)
				r.dps.Inject(c.fault)
				_, err := dev.Reprovision(context.Background(), "first")
				failure, ok := errors.AsType[*dps.Error](err)
				require.True(t, ok)
				require.Equal(t, c.fault.Status, failure.Status)
				time.Sleep(time.Second)

				_, err = dev.Reprovision(context.Background(), "second")
				soon, ok := errors.AsType[*provisioning.TooSoonError](err)
				require.True(t, ok, "%v", err)
				_, answered := errors.AsType[*dps.Error](err)
				require.False(t, answered, "no response of DPS: none was asked for")
				require.Equal(t, retry.Wait, retry.Classify(err))
				between(t, c.wait-2*time.Second, c.wait, retry.After(err))
				require.Equal(t, soon.Wait, retry.After(err))
				require.Equal(t, 1, r.asked(dpstest.Register))

				time.Sleep(retry.After(err))
				_, err = dev.Reprovision(context.Background(), "third")
				require.NoError(t, err)
				stop()
			})
		})
	}
}
