// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

func TestFirstBootRegistersAndConnects(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		stop := r.run(r.device())
		s := r.await(0, time.Minute)
		stop()
		require.Equal(t, hubA, s.hub)
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Equal(t, 0, r.asked(dpstest.Lookup))
		require.Len(t, r.a.Messages(), 1)
	})
}

func TestWarmBootAsksDPSNothing(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		r.boot()
		stop := r.run(r.device())
		s := r.await(0, 10*time.Second)
		time.Sleep(72 * time.Hour)
		stop()
		require.Equal(t, hubA, s.hub)
		require.Less(t, s.at, time.Second)
		require.Zero(t, r.asked(), "%v", r.dps.Requests())
		require.Len(t, r.seen(), 1)
	})
}

func TestHubRejectsRegisterThenConnectToTheNewHub(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		r.boot()
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		stop := r.run(r.device())
		s := r.await(0, time.Minute)
		stop()
		require.Equal(t, hubB, s.hub)
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Less(t, s.at, 10*time.Second)
	})
}

func TestReprovisionToTheSameHubLetsTheSessionGoOn(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		var told []dps.Assignment
		dev.Trace = &provisioning.Trace{Assigned: func(a dps.Assignment, moved bool) {
			assert.False(t, moved)
			told = append(told, a)
		}}
		stop := r.run(dev)
		r.await(0, time.Minute)
		a, err := dev.Reprovision(context.Background(), "test")
		require.NoError(t, err)
		require.Equal(t, hubA, a.Hub)
		require.Len(t, told, 1, "and is told")
		require.Equal(t, 1, r.asked(dpstest.Register))
		time.Sleep(time.Minute)
		require.Len(t, r.seen(), 1)
		require.Empty(t, r.ends)
		require.Equal(t, provisioning.StateConnected, dev.Status().State)
		stop()
	})
}

func TestReprovisionToAnotherHubEndsTheSessionWithTheCause(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		stop := r.run(dev)
		r.await(0, time.Minute)
		require.NoError(t, r.dps.Move(rigID, hubB))
		// The old hub cuts the link as soon as DPS has moved the device; hold that back to see the
		// device's own order.
		a, err := dev.Reprovision(context.Background(), "test")
		require.NoError(t, err)
		require.Equal(t, hubB, a.Hub)
		s := r.await(1, time.Minute)
		require.Equal(t, hubB, s.hub)
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Zero(t, r.asked(dpstest.Lookup, dpstest.Clock))
		stop()
	})
}

func TestReprovisionKeepsTheConnectionUntilDPSHasAnswered(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		stop := r.run(dev)
		r.await(0, time.Minute)
		r.dps = dpstest.New(r.network, dpstest.Config{
			Allocate: func(ctx context.Context, a dpstest.Allocation) (dpstest.Allocated, error) {
				time.Sleep(20 * time.Second)
				return dpstest.Allocated{Hub: hubB}, nil
			},
		})
		r.dps.Link(r.a, r.b)
		require.NoError(t, r.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: rigID, Attestation: dpstest.Keys(rigKey, ""),
		}))
		done := make(chan error, 1)
		go func() {
			_, err := dev.Reprovision(context.Background(), "test")
			done <- err
		}()
		time.Sleep(15 * time.Second)
		require.True(t, r.a.Connected(rigID))
		require.NoError(t, <-done)
		s := r.await(1, time.Minute)
		require.Equal(t, hubB, s.hub)
		stop()
	})
}

func TestReprovisionThatFailsChangesNothing(t *testing.T) {
	for name, fault := range map[string]dpstest.Fault{
		"throttled": {On: dpstest.Register, Status: 429, RetryAfter: "600"},
		"down":      {On: dpstest.Register, Status: 503},
		"refused":   {On: dpstest.Register, Code: 401002},
		"silent":    {On: dpstest.Register, NoAnswer: true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				r.boot()
				dev := r.device()
				stop := r.run(dev)
				r.await(0, time.Minute)
				r.dps.Inject(fault)
				_, err := dev.Reprovision(context.Background(), "test")
				require.Error(t, err)
				require.NotContains(t, err.Error(), "\n")
				time.Sleep(24 * time.Hour)
				require.Equal(t, 1, r.asked(dpstest.Register), "it is not repeated")
				require.Len(t, r.seen(), 1)
				require.True(t, r.a.Connected(rigID))
				_, err = dev.Reprovision(context.Background(), "test")
				require.NoError(t, err)
				stop()
			})
		})
	}
}

func TestReprovisionRespectsRetryAfter(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		stop := r.run(dev)
		r.await(0, time.Minute)
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 429, RetryAfter: "600"})
		_, err := dev.Reprovision(context.Background(), "test")
		require.Error(t, err)
		time.Sleep(time.Minute)
		_, err = dev.Reprovision(context.Background(), "test")
		require.Error(t, err)
		require.InDelta(t, 540, retry.After(err).Seconds(), 5, "the rest of the time")
		require.Equal(t, 1, r.asked(dpstest.Register), "no request in between")
		stop()
	})
}

func TestAThousandReprovisionsAtOnceShareOneRegistration(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		stop := r.run(dev)
		r.await(0, time.Minute)
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				_, err := dev.Reprovision(context.Background(), "test")
				assert.NoError(t, err)
			})
		}
		all.Wait()
		require.Equal(t, 1, r.asked(dpstest.Register))
		stop()
	})
}

func TestReprovisionWithoutRunRegistersAndRemembers(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		require.NoError(t, r.dps.Move(rigID, hubB))
		dev := r.device()
		a, err := dev.Reprovision(context.Background(), "test")
		require.NoError(t, err)
		require.Equal(t, hubB, a.Hub)
		require.Empty(t, r.b.Attempts(), "nothing connects")
		stop := r.run(r.device())
		s := r.await(0, time.Minute)
		stop()
		require.Equal(t, hubB, s.hub)
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

func TestReprovisionMovesAConnectionFromConnect(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		conn, err := dev.Connect(context.Background())
		require.NoError(t, err)
		require.NoError(t, r.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: rigID, Attestation: dpstest.Keys(rigKey, ""), IoTHubs: []string{hubB},
			AllocationPolicy: dpstest.PolicyStatic,
		}))
		_, err = dev.Connect(context.Background())
		require.ErrorIs(t, err, provisioning.ErrRunning)
		_, err = dev.Reprovision(context.Background(), "test")
		require.NoError(t, err)
		<-conn.Context().Done()
		conn, err = dev.Connect(context.Background())
		require.NoError(t, err)
		require.Equal(t, hubB, conn.Hub().Host)
		require.NoError(t, conn.Close())
		conn, err = dev.Connect(context.Background())
		require.NoError(t, err, "a connection that the program closed is no failure")
		require.NoError(t, conn.Close())
	})
}

func TestConnectReturnsAConnectionAndCountsHowItEnded(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		dev := r.device()
		conn, err := dev.Connect(context.Background())
		require.NoError(t, err)
		require.Equal(t, provisioning.StateConnected, dev.Status().State)
		require.NoError(t, conn.Send(context.Background(), hubconn.Message{Body: []byte("x")}))
		r.a.Disconnect(rigID)
		<-conn.Context().Done()
		before := time.Now()
		conn, err = dev.Connect(context.Background())
		require.NoError(t, err)
		between(t, 5*time.Second, 11*time.Second, time.Since(before), "a lost link backs off")
		require.NoError(t, conn.Close())
	})
}

func TestAssignmentForProgramsWithTheirOwnClient(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		dev := r.device()
		a, err := dev.Assignment(context.Background())
		require.NoError(t, err)
		require.Equal(t, hubA, a.Hub)
		require.Equal(t, rigID, a.DeviceID)
		a, err = r.device().Assignment(context.Background())
		require.NoError(t, err)
		require.Equal(t, hubA, a.Hub)
		require.Equal(t, 1, r.asked(dpstest.Register), "the second time from the store")
		require.Empty(t, r.a.Attempts())
	})
}

func TestAssignmentDuringRunWaitsForItsAnswer(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		dev := r.device()
		stop := r.run(dev)
		a, err := dev.Assignment(context.Background())
		require.NoError(t, err)
		require.Equal(t, hubA, a.Hub)
		r.await(0, time.Minute)
		require.LessOrEqual(
			t, r.asked(dpstest.Register), 2, "a second one if Run took over from Assignment",
		)
		stop()
	})
}

func TestForgetWhileConnectedRegistersAfterTheConnection(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		stop := r.run(dev)
		r.await(0, time.Minute)
		require.NoError(t, dev.Forget(context.Background()))
		time.Sleep(time.Hour)
		require.True(t, r.a.Connected(rigID), "a live connection is not touched")
		r.a.Disconnect(rigID)
		r.await(1, time.Minute)
		require.Equal(t, 1, r.asked(dpstest.Register))
		stop()
	})
}

func TestRunReturnsWhatTheSessionReturns(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		require.NoError(t, dev.Run(context.Background(),
			func(ctx context.Context, hub *hubconn.Conn) error {
				return hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
			}))
		synctest.Wait()
		require.Len(t, r.a.Messages(), 1)
		require.False(t, r.a.Connected(rigID))
		failure := errors.New("the sensor broke")
		require.ErrorIs(t, dev.Run(
			context.Background(), func(context.Context, *hubconn.Conn) error { return failure },
		), failure)
		require.NoError(t, dev.Run(
			context.Background(),
			func(_ context.Context, hub *hubconn.Conn) error { return hub.Close() },
		))
	})
}

func TestSessionContextEndsWithTheCause(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		stop := r.run(r.device())
		r.await(0, time.Minute)
		r.network.Cut(hubA)
		r.await(1, time.Minute)
		stop()
		_, ok := errors.AsType[*hubconn.Error](r.ends[0])
		require.True(t, ok, "%v", r.ends[0])
	})
}

func TestTheNextSessionWaitsForTheOneBefore(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var running, sessions atomic.Int32
		done := make(chan error, 1)
		go func() {
			done <- r.device().Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
				sessions.Add(1)
				assert.EqualValues(t, 1, running.Add(1))
				<-ctx.Done()
				time.Sleep(10 * time.Minute) // a slow end
				running.Add(-1)
				return nil
			})
		}()
		time.Sleep(time.Second)
		for range 5 {
			r.network.Cut(hubA)
			time.Sleep(15 * time.Minute)
		}
		require.GreaterOrEqual(t, int(sessions.Load()), 4)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

func TestWhenCtxEndsRunReturnsItsCauseAndTheLastError(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.Refused)
		stopped := errors.New("power button")
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Hour, stopped)
		defer cancel()
		err := r.device().Run(ctx, r.session)
		require.ErrorIs(t, err, stopped)
		failure, ok := errors.AsType[*dps.Error](err)
		require.True(t, ok)
		require.NotEmpty(t, failure.Op)
	})
}

func TestCtxEndsRunAtOnceAtAnyMoment(t *testing.T) {
	moments := map[string]func(r *rig){
		"dialling DPS":  func(r *rig) { r.network.SetFault(dpstest.GlobalEndpoint, simnet.Blackhole) },
		"waiting DPS":   func(r *rig) { r.dps.Inject(dpstest.Fault{On: dpstest.Register, NoAnswer: true}) },
		"stalled DPS":   func(r *rig) { r.network.Stall(dpstest.GlobalEndpoint, true) },
		"dialling hub":  func(r *rig) { r.network.SetFault(hubA, simnet.Blackhole) },
		"CONNACK":       func(r *rig) { r.a.Inject(hubtest.Fault{On: hubtest.Connect, NoAnswer: true}) },
		"stalled hub":   func(r *rig) { r.network.Stall(hubA, true) },
		"connected":     func(r *rig) {},
		"backing off":   func(r *rig) { r.network.SetFault(hubA, simnet.Refused) },
		"stalled later": func(r *rig) { time.AfterFunc(20*time.Second, func() { r.network.Stall(hubA, true) }) },
	}
	for name, prepare := range moments {
		t.Run(name, func(t *testing.T) {
			each(t, allWirings, func(t *testing.T, r *rig) {
				prepare(r)
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() { done <- r.device().Run(ctx, r.session) }()
				time.Sleep(25 * time.Second)
				cancel()
				before := time.Now()
				require.ErrorIs(t, <-done, context.Canceled)
				require.Less(t, time.Since(before), 2*time.Second)
				r.network.Stall(hubA, false)
				r.network.Stall(dpstest.GlobalEndpoint, false)
			})
		})
	}
}

func TestMaxAttemptsBoundsTheFailures(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 503, Times: always})
		dev := r.device()
		dev.Retry.MaxAttempts = 3
		err := dev.Run(context.Background(), r.session)
		failure, ok := errors.AsType[*dps.Error](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, 503, failure.Status)
		require.Equal(t, 3, r.asked(dpstest.Register))
		_, err = dev.Connect(context.Background())
		require.Error(t, err)
		require.Equal(t, 6, r.asked(dpstest.Register))
	})
}

func TestOneRunAtATime(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		stop := r.run(dev)
		r.await(0, time.Minute)
		require.ErrorIs(t, dev.Run(context.Background(), r.session), provisioning.ErrRunning)
		_, err := dev.Connect(context.Background())
		require.ErrorIs(t, err, provisioning.ErrRunning)
		stop()
		stop = r.run(dev)
		r.await(1, time.Minute)
		stop()
	})
}

func TestStatusSaysWhy(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		dev := r.device()
		require.Equal(t, provisioning.StateStopped, dev.Status().State)
		stop := r.run(dev)
		r.await(0, time.Minute)
		s := dev.Status()
		require.Equal(t, provisioning.StateConnected, s.State)
		require.Equal(t, hubconn.Hub{Host: hubA, DeviceID: rigID}, s.Hub)
		require.Equal(t, provisioning.SourceRegistration, s.Source)
		require.True(t, s.Confirmed)
		require.Empty(t, s.Cause)
		require.Equal(t, 1, s.Registrations)
		require.Equal(t, 1, s.Connections)

		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: always})
		r.a.Disconnect(rigID)
		time.Sleep(5 * time.Minute)
		s = dev.Status()
		require.NotEqual(t, provisioning.StateConnected, s.State)
		require.Contains(t, s.Cause, hubA)
		require.NotContains(t, s.Cause, "\n")
		require.Positive(t, s.HubAttempts)
		require.False(t, s.NextDPS.IsZero())
		require.Equal(t, hubconn.Server, s.Class)
		stop()
		stop = r.run(r.device())
		time.Sleep(time.Second)
		stop()
	})
}

func TestEveryWrongFieldIsOneLineBeforeAnyNetworkUse(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		key := dps.SymmetricKey{ID: rigID, Key: rigKey}
		for field, spoil := range map[string]func(d *provisioning.Device){
			"id scope":    func(d *provisioning.Device) { d.IDScope = "" },
			"scope":       func(d *provisioning.Device) { d.IDScope = "0ne/../x" },
			"attestation": func(d *provisioning.Device) { d.Attestation = nil },
			"key": func(d *provisioning.Device) {
				d.Attestation = dps.SymmetricKey{ID: rigID, Key: "canary-key not base64!"}
			},
			"id":          func(d *provisioning.Device) { d.Attestation = dps.SymmetricKey{ID: "", Key: rigKey} },
			"character":   func(d *provisioning.Device) { d.Attestation = dps.SymmetricKey{ID: "a/b", Key: rigKey} },
			"certificate": func(d *provisioning.Device) { d.Attestation = dps.X509{} },
			"store directory is empty: name one": func(d *provisioning.Device) {
				d.Store = cache.Dir("")
			},
			"stagger":           func(d *provisioning.Device) { d.Stagger = -1 },
			"retry.maxattempts": func(d *provisioning.Device) { d.Retry.MaxAttempts = -1 },
		} {
			dev := r.device()
			dev.Attestation = key
			spoil(dev)
			err := dev.Run(context.Background(), r.session)
			require.Error(t, err, field)
			require.NotContains(t, err.Error(), "\n", field)
			require.Contains(t, err.Error(), field)
			require.NotContains(t, err.Error(), "canary", field)
			require.Equal(t, retry.Stop, retry.Classify(err), field)
		}
		require.Error(t, r.device().Run(context.Background(), nil))
		require.Zero(t, r.network.Dials(dpstest.GlobalEndpoint))
		require.Zero(t, r.network.Dials(hubA))
	})
}

func TestLogsOneLinePerChangeAndNoSecret(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		var out bytes.Buffer
		dev := r.device()
		dev.Logger = slog.New(
			slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}),
		)
		stop := r.run(dev)
		r.await(0, time.Minute)
		r.network.Cut(hubA)
		r.await(1, time.Minute)
		stop()
		require.NotContains(t, out.String(), "canary")
		require.NotContains(t, out.String(), rigKey)
		require.NotContains(t, out.String(), "sig=")
		var states, messages []string
		for line := range strings.Lines(out.String()) {
			var fields map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &fields))
			require.Equal(t, rigID, fields["device"], line)
			require.Equal(t, "INFO", fields["level"], line)
			if state, ok := fields["state"].(string); ok {
				states = append(states, state)
			} else {
				messages = append(messages, fields["msg"].(string))
			}
			if fields["state"] == "waiting" {
				require.IsType(t, 0.0, fields["wait"], line)
				require.Equal(t, "unreachable", fields["class"], line)
				require.Equal(
					t, "connection: read: connection reset by peer", fields["cause"], line,
				)
			}
		}
		require.Equal(t, []string{"message acknowledged", "message acknowledged"}, messages)
		require.Contains(t, out.String(), `"connected to `+hubA+` (from registration)"`)
		require.Equal(t, []string{
			"registering", "connecting", "connected", "waiting", "connecting", "connected",
			"stopped",
		}, states)
	})
}

func TestADevicePrintsNoSecret(t *testing.T) {
	dev := &provisioning.Device{
		IDScope: "0ne00000001", Attestation: dps.SymmetricKey{ID: rigID, Key: rigKey},
	}
	_ = dev.Forget(context.Background()) // builds what a Device holds inside
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(verb, dev), rigKey, verb)
	}
}

func TestRunTakesOverFromCallsThatDriveTheDeviceInItsPlace(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.Refused)
		dev := r.device()
		got := make(chan error, 2)
		go func() {
			_, err := dev.Assignment(context.Background())
			got <- err
		}()
		go func() {
			_, err := dev.Reprovision(context.Background(), "test")
			got <- err
		}()
		time.Sleep(time.Minute)
		stop := r.run(dev)
		time.Sleep(time.Second)
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.None)
		r.await(0, 10*time.Minute)
		<-got
		<-got
		stop()
	})
}

func TestReprovisionsOneAfterAnotherLeaveFiveSecondsAfterAFailure(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		stop := r.run(dev)
		r.await(0, time.Minute)
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 503, Times: always})
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(
			100 * time.Millisecond,
		) {
			_, err := dev.Reprovision(context.Background(), "test")
			require.Error(t, err)
		}
		require.LessOrEqual(t, r.asked(dpstest.Register), 12)
		stop()
	})
}

func TestASendThatFailsReturnsToASessionWhoseContextHasEnded(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		type key struct{}
		ctx, cancel := context.WithTimeout(
			context.WithValue(context.Background(), key{}, "kept"), 10*time.Hour,
		)
		defer cancel()
		sessions := 0
		err := r.device().Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
			assert.Equal(t, "kept", ctx.Value(key{}))
			deadline, ok := ctx.Deadline()
			assert.True(t, ok)
			assert.Equal(t, r.start.Add(10*time.Hour), deadline)
			if sessions++; sessions == 30 {
				return nil
			}
			time.AfterFunc(time.Duration(sessions)*time.Millisecond, func() { r.network.Cut(hubA) })
			for {
				if err := hub.Send(ctx, hubconn.Message{Body: []byte("x")}); err != nil {
					assert.Error(t, ctx.Err(), "the context ends first")
					assert.ErrorIs(t, err, context.Cause(ctx))
					return err
				}
				time.Sleep(100 * time.Microsecond)
			}
		})
		require.NoError(t, err)
		require.Equal(t, 30, sessions)
	})
}
