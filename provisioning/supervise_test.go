// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"strings"
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
)

// What the tables leave open: calls that cross each other, sessions that misbehave, and services
// that fail together.

func TestAnUntrustedHubAndALostRegistrationAreNoLoop(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetCertificate(hubA, simnet.UnknownCA)
		require.True(t, r.dps.DeleteRegistration(rigID))
		stop := r.run(r.device())
		time.Sleep(35 * time.Minute)
		require.Equal(t, 1, r.asked(dpstest.Lookup))
		require.Equal(t, 1, r.asked(dpstest.Register), "dps said that there is no registration")
		stop()
	})
}

func TestAClockFoundWrongAfterAnOutageIsCheckedAtOnce(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetCertificate(hubA, simnet.NotYetValid)
		r.network.SetFault(hubA, simnet.NameFailure) // the network comes up after the device
		stop := r.run(r.device())
		time.Sleep(time.Second)
		r.network.SetFault(hubA, simnet.None)
		time.Sleep(time.Minute)
		require.Equal(t, 1, r.asked(dpstest.Clock))
		time.Sleep(14 * time.Minute)
		require.Equal(t, 1, r.asked(dpstest.Clock), "and not again soon")
		require.Zero(t, r.asked(dpstest.Register))
		stop()
	})
}

func TestMinDelayRaisesTheFloor(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: always})
		dev := r.device()
		dev.Retry.MinDelay = 2 * time.Minute
		stop := r.run(dev)
		time.Sleep(4 * time.Hour)
		stop()
		require.Greater(t, len(r.attempts(r.a)), 10)
		for _, wait := range gaps(r.attempts(r.a)) {
			between(t, 2*time.Minute, 7*time.Minute+time.Second, wait)
		}
	})
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 503, Times: 10})
		dev := r.device()
		dev.Retry.MinDelay = 2 * time.Minute
		stop := r.run(dev)
		r.await(0, 30*time.Hour)
		stop()
		_, at := r.requests()
		for _, wait := range gaps(at) {
			require.GreaterOrEqual(t, wait, 2*time.Minute)
		}
	})
}

func TestAMultiplierOfOneKeepsTheRandomWindowAsItIs(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: always})
		dev := r.device()
		dev.Retry.Multiplier = 1
		stop := r.run(dev)
		time.Sleep(10 * time.Minute)
		stop()
		require.Greater(t, len(r.attempts(r.a)), 10)
		for _, wait := range gaps(r.attempts(r.a)) {
			between(t, 5*time.Second, 10*time.Second+rigStep, wait)
		}
	})
}

func TestAStableConnectionThatTheProgramClosedForgetsFailures(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: 20})
		dev := r.device()
		conn, err := dev.Connect(context.Background())
		require.NoError(t, err)
		require.NoError(t, conn.Send(context.Background(), hubconn.Message{Body: []byte("x")}))
		time.Sleep(24 * time.Hour)
		require.NoError(t, conn.Close())

		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		r.reset()
		conn, err = dev.Connect(context.Background())
		require.NoError(t, err)
		require.Equal(t, hubB, conn.Hub().Host)
		require.Less(
			t, r.elapsed(), 10*time.Second, "a first rejection sends the device to DPS at once",
		)
		require.NoError(t, conn.Close())
	})
}

func TestAStableConnectionThatReprovisionEndedForgetsFailures(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: 20})
		dev := r.device()
		stop := r.run(dev)
		r.await(0, 24*time.Hour)
		time.Sleep(time.Hour)
		require.NoError(t, r.dps.Move(rigID, hubB))
		r.reset()
		r.b.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: always})
		_, err := dev.Reprovision(context.Background(), "test")
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		require.Equal(
			t, 2, r.asked(dpstest.Register),
			"the next question a minute after the new hub's first rejection",
		)
		stop()
	})
}

func TestReprovisionMovesToTheCandidateFromTheOldHub(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetFault(hubB, simnet.Refused)
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5})
		old, _ := r.a.Get(rigID)
		require.NoError(t, r.dps.Move(rigID, hubB))
		var moved []bool
		dev := r.device()
		dev.Trace = &provisioning.Trace{
			Assigned: func(_ dps.Assignment, m bool) { moved = append(moved, m) },
		}
		stop := r.run(dev)
		for r.network.Dials(hubB) == 0 {
			time.Sleep(time.Second)
		}
		require.NoError(t, r.a.Put(old))
		require.Equal(t, hubA, r.await(0, time.Hour).hub)

		r.network.SetFault(hubB, simnet.None)
		time.Sleep(6 * time.Minute) // the back-off after the tries in vain is over
		a, err := dev.Reprovision(context.Background(), "test")
		require.NoError(t, err)
		require.Equal(t, hubB, a.Hub)
		require.Equal(t, hubB, r.await(1, 10*time.Second).hub)
		require.ErrorIs(t, r.ends[0], provisioning.ErrReprovisioned)
		require.Equal(t, []bool{true, true}, moved)
		stop()
	})
}

func TestReprovisionRemembersBeforeItReturns(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		dev.Store = &slowStore{Store: r.store, put: 5 * time.Second}
		stop := r.run(dev)
		r.await(0, time.Minute)
		require.NoError(t, r.dps.Move(rigID, hubB))
		_, err := dev.Reprovision(context.Background(), "test")
		require.NoError(t, err)
		got, err := r.device().Remembered(context.Background())
		require.NoError(t, err)
		require.NotNil(t, got.Candidate)
		require.Equal(t, hubB, got.Candidate.Hub)
		stop()
	})
}

// slowStore is a disk that takes its time, unless ctx ends.
type slowStore struct {
	cache.Store
	get, put time.Duration
}

func pauseFor(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *slowStore) Get(ctx context.Context, key string) ([]byte, error) {
	if err := pauseFor(ctx, s.get); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, key)
}

func (s *slowStore) Put(ctx context.Context, key string, data []byte) error {
	if err := pauseFor(ctx, s.put); err != nil {
		return err
	}
	return s.Store.Put(ctx, key, data)
}

func TestAStoreThatWasInterruptedIsReadAgain(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		dev.Store = &slowStore{Store: r.store, get: 5 * time.Second}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := dev.Assignment(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		stop := r.run(dev)
		r.await(0, 2*time.Minute)
		stop()
		require.Zero(t, r.asked(), "%v", r.dps.Requests())
	})
}

func TestAReprovisionGivenUpLeavesNoRequestBehind(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, NoAnswer: true})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := dev.Reprovision(ctx, "test")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		r.network.SetFault(hubA, simnet.Refused)
		stop := r.run(dev)
		time.Sleep(10 * time.Minute)
		require.Equal(t, 1, r.asked(dpstest.Register))
		r.network.SetFault(hubA, simnet.None)
		r.await(0, 6*time.Minute)
		stop()
	})
}

func TestForgetAsksDPSNothing(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		for range 2 { // with an entry, and without
			var asked []provisioning.DPSRequest
			dev := r.device()
			dev.Trace = &provisioning.Trace{
				Request: func(q provisioning.DPSRequest) { asked = append(asked, q) },
			}
			require.NoError(t, dev.Forget(context.Background()))
			require.NoError(t, dev.Forget(context.Background()))
			require.Empty(t, asked)
			require.Zero(t, dev.Status().Registrations)
			r.boot()
		}
		dev := r.device()
		require.NoError(t, dev.Forget(context.Background()))
		stop := r.run(dev)
		r.await(0, time.Minute)
		stop()
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

func TestReprovisionWithoutAStoreLooksNothingUp(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.store = nil
		dev := r.device()
		var asked []string
		dev.Trace = &provisioning.Trace{
			Request: func(q provisioning.DPSRequest) { asked = append(asked, q.Kind) },
		}
		_, err := dev.Reprovision(context.Background(), "test")
		require.NoError(t, err)
		require.Equal(t, []string{"register"}, asked)
	})
}

func TestASessionThatFailsBecauseItsConnectionEndedIsNoEndOfRun(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		started := make(chan struct{}, 1)
		done := make(chan error, 1)
		go func() {
			done <- r.device().Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
				started <- struct{}{}
				for hub.Context().Err() == nil {
					runtime.Gosched() // as soon as anybody can know
				}
				return errors.New("cannot send")
			})
		}()
		for range 50 {
			select {
			case <-started:
			case err := <-done:
				require.NoError(t, err, "run has ended")
				return
			}
			r.network.Cut(hubA)
		}
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

func TestASessionMayCallEveryMethod(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		dev := r.device()
		done := errors.New("done")
		err := dev.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
			assert.Equal(t, provisioning.StateConnected, dev.Status().State)
			_, err := dev.Reprovision(ctx, "test")
			assert.NoError(t, err)
			_, err = dev.Assignment(ctx)
			assert.NoError(t, err)
			_, err = dev.Connect(ctx)
			assert.ErrorIs(t, err, provisioning.ErrRunning)
			_, err = dev.Remembered(ctx)
			assert.NoError(t, err)
			assert.NoError(t, dev.Forget(ctx))
			return done
		})
		require.ErrorIs(t, err, done)
	})
}

func TestASessionThatExitsItsGoroutineEndsRun(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		err := r.device().Run(context.Background(), func(context.Context, *hubconn.Conn) error {
			runtime.Goexit() // as FailNow of package testing does
			return nil
		})
		require.ErrorContains(t, err, "session")
		synctest.Wait()
		require.False(t, r.a.Connected(rigID))
	})
}

func TestReprovisionFailsWithAnErrorOfDPSWhateverTheHubDoes(t *testing.T) {
	each(t, []wiring{{dps: dps.MQTT}, {dps: dps.MQTTWebSocket}}, func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetFault(hubA, simnet.Refused)
		dev := r.device()
		stop := r.run(dev)
		time.Sleep(time.Second)
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, Code: 401002})
		r.dps.Inject(dpstest.Fault{On: dpstest.Clock, Delay: 25 * time.Second})
		r.network.SetFault(hubA, simnet.None) // the hub is back while the clock is checked
		_, err := dev.Reprovision(context.Background(), "test")
		failure, ok := errors.AsType[*dps.Error](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, 401, failure.Status)
		require.Equal(t, provisioning.StateConnected, dev.Status().State)
		stop()
	})
}

func TestAWrongHubSettingIsReportedBeforeAnyNetworkUse(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		for name, spoil := range map[string]func(d *provisioning.Device){
			"TokenTTL":  func(d *provisioning.Device) { d.Hub.TokenTTL = time.Second },
			"KeepAlive": func(d *provisioning.Device) { d.Hub.KeepAlive = -time.Second },
			"payload":   func(d *provisioning.Device) { d.Payload = make(chan int) },
		} {
			dev := r.device()
			spoil(dev)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			err := dev.Run(ctx, r.session)
			cancel()
			require.ErrorContains(t, err, name)
			require.NotErrorIs(t, err, context.DeadlineExceeded, name)
		}
		require.Zero(t, r.network.Dials(dpstest.GlobalEndpoint))
		require.Zero(t, r.network.Dials(hubA))
	})
}

func TestAProxyWhoseNameIsUnknownIsNoHubThatIsGone(t *testing.T) {
	each(t, []wiring{{ws: true}}, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		dev.Hub.Proxy = proxyAt("http://proxy.example.net:3128")
		stop := r.run(dev)
		time.Sleep(10 * time.Minute)
		require.Zero(t, r.asked(dpstest.Register, dpstest.Clock, dpstest.Lookup))
		require.Equal(t, hubconn.Unreachable, dev.Status().Class)
		stop()
	})
}

func TestStatusSaysThatAConnectionFromConnectHasEnded(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		dev := r.device()
		conn, err := dev.Connect(context.Background())
		require.NoError(t, err)
		require.Equal(t, provisioning.StateConnected, dev.Status().State)
		r.network.Cut(hubA)
		<-conn.Context().Done()
		require.Equal(t, provisioning.StateStopped, dev.Status().State)
		require.Contains(t, dev.Status().Cause, hubA)
	})
}

func TestARefusalByDPSIsAnErrorOnce(t *testing.T) {
	for name, warm := range map[string]bool{"first boot": false, "with a hub": true} {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				if warm {
					r.boot()
					r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: always})
				}
				require.NoError(t, r.dps.SetEnabled(rigID, false))
				var out bytes.Buffer
				dev := r.device()
				dev.Logger = slog.New(
					slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError}),
				)
				stop := r.run(dev)
				time.Sleep(30 * time.Minute)
				stop()
				require.Equal(t, 1, strings.Count(out.String(), "\n"), out.String())
				require.Contains(t, out.String(), "disabled")
			})
		})
	}
}

func TestCtxThatEndsARequestIsNotTheLastError(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.store = struct{ cache.Store }{r.store} // which keeps no waits: each run begins at once
		for range 30 {
			r.network.SetFault(hubA, simnet.Refused)
			time.AfterFunc(time.Second, func() { r.network.SetFault(hubA, simnet.Blackhole) })
			ctx, cancel := context.WithTimeout(context.Background(), 11*time.Second)
			dev := r.device()
			dev.Store = struct{ cache.Store }{r.store} // which keeps no waits
			err := dev.Run(ctx, r.session)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, "refused")
		}
	})
}

func proxyAt(address string) func(*http.Request) (*url.URL, error) {
	u, err := url.Parse(address)
	return func(*http.Request) (*url.URL, error) { return u, err }
}

func TestAConnectionOnWhichNothingIsAcknowledgedIsNotStable(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
				time.AfterFunc(40*time.Second, func() { r.a.Disconnect(rigID) })
				<-ctx.Done()
				return nil
			})
		}()
		time.Sleep(10 * time.Minute)
		require.GreaterOrEqual(t, dev.Status().HubAttempts, 3)
		cancel()
		<-done
		time.Sleep(time.Minute)
	})
}

func TestAFailedReprovisionDoesNotCountAgainstMaxAttempts(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		dev.Retry.MaxAttempts = 1
		stop := r.run(dev)
		r.await(0, time.Minute)
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 503})
		_, err := dev.Reprovision(context.Background(), "test")
		require.Error(t, err)
		time.Sleep(time.Minute)
		require.True(t, r.a.Connected(rigID))
		stop()
	})
}

const years26 = 26 * 365 * 24 * time.Hour

func TestAWarmBootIn1970GoesByTheTimeRemembered(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.network.SetClockOffset(years26)
		r.boot()
		stop := r.run(r.device())
		r.await(0, time.Minute)
		stop()
		require.Zero(t, r.asked(), "%v", r.dps.Requests())
	})
}

func TestASuspectClockThatDPSDoesNotTellCausesNoRegistration(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.network.SetClockOffset(years26)
		r.boot()
		r.network.SetClockOffset(years26 + 24*time.Hour) // a day without power
		r.dps.Inject(dpstest.Fault{On: dpstest.Clock, Cut: true, Times: 2})
		stop := r.run(r.device())
		r.await(0, 6*time.Minute)
		stop()
		require.Equal(t, 3, r.asked(dpstest.Clock))
		require.Zero(t, r.asked(dpstest.Register, dpstest.Lookup))
	})
}

func TestACertificateThatDPSRefusesIsNoMatterOfTheClock(t *testing.T) {
	each(t, []wiring{{x509: true}}, func(t *testing.T, r *rig) {
		r.network.SetClockOffset(2 * time.Hour)
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, Code: 401002})
		stop := r.run(r.device())
		time.Sleep(30 * time.Second)
		stop()
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

func TestWithoutAnyNameResolutionTheHubIsUnreachable(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetFault(hubA, simnet.NameNotFound)
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.NameNotFound)
		dev := r.device()
		stop := r.run(dev)
		time.Sleep(time.Minute)
		require.Equal(t, hubconn.Unreachable, dev.Status().Class)
		stop()
	})
}

// When a connection ends while the loop is busy, the loop learns of that and of the session's end
// in either order. The session must not be called for a connection that is over.
func TestASessionIsCalledOnceForEachConnection(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		dev.Trace = &provisioning.Trace{
			Request: func(provisioning.DPSRequest) { time.Sleep(time.Second) },
		}
		stop := r.run(dev)
		for n := range 20 {
			r.await(n, 10*time.Minute) // the delays grow
			done := make(chan error, 1)
			go func() {
				_, err := dev.Reprovision(context.Background(), "test")
				done <- err
			}()
			time.Sleep(time.Second / 2) // the loop is in Trace.Request
			r.network.Cut(hubA)
			time.Sleep(time.Second) // and is not any more; the next connection is seconds away
			require.Len(t, r.seen(), n+1, "a session on a connection that had ended")
			require.NoError(t, <-done)
		}
		stop()
		require.Len(t, r.seen(), dev.Status().Connections)
	})
}
