// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Modules of the rig's device, each kept connected beside it.

const (
	camera = "camera"
	meter  = "meter"
)

func moduleKey(id string) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "canary-%-25s", id))
}

// guest is a module that runs, and what was seen of it.
type guest struct {
	r      *rig
	id     string
	module *provisioning.Module
	cancel context.CancelCauseFunc
	done   chan error

	mu       sync.Mutex
	sessions []sessionSeen
	ends     []error
}

var errStop = errors.New("stopped by the test")

// creates makes a module known at a hub, with its device, if DPS has not created that yet.
func (r *rig) creates(h *hubtest.Hub, id string) {
	r.t.Helper()
	if _, ok := h.Get(rigID); !ok {
		d, ok := r.a.Get(rigID)
		if !ok {
			d = hubtest.Device{ID: rigID, PrimaryKey: rigKey}
		}
		require.NoError(r.t, h.Put(d))
	}
	require.NoError(r.t, h.PutModule(rigID, hubtest.Module{ID: id, PrimaryKey: moduleKey(id)}))
}

func (r *rig) module(dev *provisioning.Device, id string) *provisioning.Module {
	return &provisioning.Module{
		Device: dev, ID: id, Credential: dps.SymmetricKey{ID: id, Key: moduleKey(id)},
	}
}

// host runs a module.
func (r *rig) host(m *provisioning.Module) *guest {
	g := &guest{r: r, id: m.ID, module: m, done: make(chan error, 1)}
	ctx, cancel := context.WithCancelCause(context.Background())
	g.cancel = cancel
	go func() { defer close(g.done); g.done <- m.Run(ctx, g.session) }()
	r.t.Cleanup(func() { cancel(errStop); <-g.done })
	return g
}

func (g *guest) session(ctx context.Context, hub *hubconn.Conn) error {
	g.mu.Lock()
	at := sessionSeen{hub: hub.Hub().Host, at: time.Since(g.r.start)}
	g.sessions = append(g.sessions, at)
	g.mu.Unlock()
	_ = hub.Send(ctx, hubconn.Message{Body: []byte("from " + hub.Hub().ModuleID)})
	<-ctx.Done()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ends = append(g.ends, context.Cause(ctx))
	return nil
}

func (g *guest) seen() (sessions []sessionSeen, ends []error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append(sessions, g.sessions...), append(ends, g.ends...)
}

// await is a session's beginning, n from 0, and a moment longer.
func (g *guest) await(n int, limit time.Duration) sessionSeen {
	g.r.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(rigStep) {
		if seen, _ := g.seen(); len(seen) > n {
			time.Sleep(rigStep)
			return seen[n]
		}
		require.True(g.r.t, time.Now().Before(end), "no session %d within %v: %+v", n, limit,
			g.module.Status())
	}
}

func (g *guest) stop() {
	g.r.t.Helper()
	g.cancel(errStop)
	require.ErrorIs(g.r.t, <-g.done, errStop)
	require.Equal(g.r.t, provisioning.StateStopped, g.module.Status().State)
}

// tries are the times of a module's tries at a hub, since the rig was reset.
func (r *rig) tries(h *hubtest.Hub, id string) (at []time.Duration) {
	for _, a := range h.Attempts() {
		if a.DeviceID == rigID+"/"+id {
			at = append(at, a.Time.Sub(r.start))
		}
	}
	return at
}

// settled is a device that was assigned, and its modules at the hub.
func (r *rig) settled(ids ...string) *provisioning.Device {
	r.t.Helper()
	r.boot()
	for _, id := range ids {
		r.creates(r.a, id)
	}
	return r.device()
}

// both runs the device and one module of it until both are connected.
func (r *rig) both() (stop func(), g *guest) {
	r.t.Helper()
	dev := r.settled(camera)
	stop, g = r.run(dev), r.host(r.module(dev, camera))
	r.await(0, time.Minute)
	g.await(0, time.Minute)
	return stop, g
}

func TestAModuleConnectsAndSendsAsItself(t *testing.T) {
	each(t, append(hubWirings, wiring{x509: true}), func(t *testing.T, r *rig) {
		stop, g := r.both()
		var of []string
		for _, m := range r.a.Messages() {
			of = append(of, m.DeviceID+"/"+m.ModuleID+": "+string(m.Body))
		}
		require.ElementsMatch(t, []string{
			rigID + "/: hello", rigID + "/camera: from camera",
		}, of)
		s := g.module.Status()
		require.Equal(t, provisioning.StateConnected, s.State)
		require.Equal(t, hubconn.Hub{Host: hubA, DeviceID: rigID, ModuleID: camera}, s.Hub)
		require.Equal(t, 1, s.Connections)
		require.Zero(t, r.asked())
		g.stop()
		stop()
	})
}

func TestAModuleHasACertificateOfItsOwn(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		dev := r.settled()
		pair := r.network.CA().Device(rigID + "/" + camera)
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		require.NoError(t, err)
		require.NoError(t, r.a.PutModule(rigID, hubtest.Module{
			ID: camera, PrimaryThumbprint: hubtest.Thumbprint(leaf),
		}))
		g := r.host(&provisioning.Module{
			Device: dev, ID: camera, Credential: dps.X509{KeyPair: pair},
		})
		g.await(0, time.Minute)
		g.stop()
	})
}

func TestAModuleThatIsCutOffComesBack(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		stop, g := r.both()
		time.Sleep(time.Minute)
		cut := r.elapsed()
		require.True(t, r.a.Disconnect(rigID+"/"+camera))
		s := g.await(1, time.Minute)
		between(t, 5*time.Second, 11*time.Second, s.at-cut)
		require.Len(t, r.seen(), 1, "the device's connection is another")
		g.stop()
		stop()
	})
}

func TestAModuleBacksOffAsADeviceDoes(t *testing.T) {
	for name, c := range map[string]struct {
		fault hubtest.Fault
		check func(t *testing.T, waits []time.Duration)
	}{
		"CONNACK 3": {
			hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: always},
			func(t *testing.T, waits []time.Duration) { checkBackoff(t, waits, 0) },
		},
		"quota": {
			hubtest.Fault{
				On: hubtest.Upgrade, Status: 403, Code: 403002, ErrorCode: "QuotaExceeded",
				Times: always,
			},
			func(t *testing.T, waits []time.Duration) {
				for _, w := range waits {
					require.GreaterOrEqual(t, w, 10*time.Second)
				}
			},
		},
		"429": {
			hubtest.Fault{
				On: hubtest.Upgrade, Status: 429, Code: 429001, RetryAfter: "90", Times: always,
				ErrorCode: "ThrottlingException",
			},
			func(t *testing.T, waits []time.Duration) {
				for _, w := range waits {
					require.GreaterOrEqual(t, w, 90*time.Second)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{ws: true}}, func(t *testing.T, r *rig) {
				stop, g := r.both()
				r.reset()
				r.a.Inject(c.fault)
				require.True(t, r.a.Disconnect(rigID+"/"+camera))
				time.Sleep(14 * time.Minute)
				at := []time.Duration{0} // the lost connection
				for _, a := range r.a.Attempts() {
					at = append(at, a.Time.Sub(r.start))
				}
				require.Greater(t, len(at), 3)
				if name != "CONNACK 3" {
					at = at[1:]
				}
				c.check(t, gaps(at)) // an upgrade names nobody, but the device stays connected
				require.Zero(t, r.asked())
				g.stop()
				stop()
			})
		})
	}
}

func TestAModuleThatWasRemovedAsksOnceAndProbesForADay(t *testing.T) {
	each(t, append(hubWirings, wiring{x509: true}, wiring{dps: dps.MQTT}),
		func(t *testing.T, r *rig) {
			dev := r.settled(camera)
			log := &lines{}
			dev.Trace = &provisioning.Trace{Request: func(q provisioning.DPSRequest) {
				_, _ = fmt.Fprintln(log, q.Kind, q.Reason)
			}}
			stop := r.run(dev)
			r.await(0, time.Minute)
			m := r.module(dev, camera)
			m.Trace = &provisioning.Trace{Changed: func(s provisioning.Status) {
				_, _ = fmt.Fprintln(log, s.Hub, s.State, s.Class)
			}}
			g := r.host(m)
			g.await(0, time.Minute)
			time.Sleep(time.Minute)
			r.reset()
			require.True(t, r.a.DeleteModule(rigID, camera))
			time.Sleep(24 * time.Hour)
			s := m.Status()
			require.Equal(t, hubconn.Rejected, s.Class)
			require.Contains(t, s.Cause, "return code 5")
			require.Contains(t, log.String(), rigID+"/camera waiting rejected\n")
			tries := r.tries(r.a, camera)
			t.Log(len(tries), "tries,", r.asked(dpstest.Register), "registrations,",
				r.asked(dpstest.Clock), "questions for the time")
			between(t, 24, 36, time.Duration(len(tries)))
			require.Equal(t, 1, r.asked(dpstest.Register))
			require.Zero(t, r.asked(dpstest.Lookup))
			require.LessOrEqual(t, r.asked(dpstest.Clock), 30)
			require.Contains(
				t, log.String(), "register asked by the program: module camera: rejected\n",
			)
			require.True(t, r.a.Connected(rigID), "the device is not touched")
			require.Len(t, r.seen(), 0)

			r.creates(r.a, camera)
			g.await(1, 75*time.Minute)
			g.stop()
			stop()
		})
}

func TestAModuleWithAnothersKeyIsReportedAndAsksOnce(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		dev := r.settled(camera, meter)
		log := &lines{}
		dev.Logger = slog.New(slog.NewTextHandler(log, nil))
		stop := r.run(dev)
		r.await(0, time.Minute)
		m := r.module(dev, camera)
		m.Credential = dps.SymmetricKey{ID: camera, Key: moduleKey(meter)}
		g := r.host(m)
		time.Sleep(24 * time.Hour)
		between(t, 24, 36, time.Duration(len(r.tries(r.a, camera))))
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Regexp(t, `msg="module waiting" device=\S+ module=camera state=waiting .*return code 5`,
			log.String())
		require.NotContains(t, log.String(), moduleKey(meter))
		g.stop()
		stop()
	})
}

func TestAModuleGoesOnProbingWhenRejectionsAreNoMatterForDPS(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		dev := r.settled()
		dev.AfterRejection = provisioning.KeepProbing
		stop, g := r.run(dev), r.host(r.module(dev, camera))
		time.Sleep(24 * time.Hour)
		between(t, 24, 36, time.Duration(len(r.tries(r.a, camera))))
		require.Zero(t, r.asked(dpstest.Register, dpstest.Lookup))
		g.stop()
		stop()
	})
}

func TestAModuleStopsWhereRejectionsEndTheDevice(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		dev := r.settled()
		dev.AfterRejection = provisioning.StopWhenRejected
		stop := r.run(dev)
		err := r.module(dev, camera).Run(context.Background(), r.session)
		failure, ok := errors.AsType[*hubconn.Error](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, hubconn.Rejected, failure.Class)
		require.Equal(t, camera, failure.Hub.ModuleID)
		stop()
	})
}

// movedWithModule is a device, with its module, whose connections the service has cut to move it:
// the old hub still has both.
func (r *rig) movedWithModule() (dev *provisioning.Device, g *guest, stop func()) {
	dev = r.settled(camera)
	stop, g = r.run(dev), r.host(r.module(dev, camera))
	r.await(0, time.Minute)
	g.await(0, time.Minute)
	time.Sleep(time.Minute)
	require.NoError(r.t, r.stays(r.a, func() error { return r.dps.MoveNow(rigID, hubB) }))
	return dev, g, stop
}

func TestAModuleFollowsItsDeviceToAnotherHub(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		dev, g, stop := r.movedWithModule()
		r.creates(r.a, camera)
		r.creates(r.b, camera)
		time.Sleep(time.Hour) // both are at the old hub again
		before, _ := g.seen()
		_, err := dev.Reprovision(context.Background(), "test")
		require.NoError(t, err)
		require.Equal(t, hubB, g.await(len(before), time.Minute).hub)
		_, ends := g.seen()
		require.ErrorIs(t, ends[len(ends)-1], provisioning.ErrReprovisioned)
		require.False(t, r.a.Connected(rigID+"/"+camera))
		require.True(t, r.b.Connected(rigID+"/"+camera))
		require.Equal(t, hubB, g.module.Status().Hub.Host)
		g.stop()
		stop()
	})
}

func TestARejectedModuleFindsOutThatItsDeviceHasMoved(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		_, g, stop := r.movedWithModule()
		r.creates(r.b, camera)
		require.Equal(t, hubB, g.await(1, 2*time.Minute).hub)
		require.Equal(t, hubB, r.await(len(r.seen())-1, time.Minute).hub)
		g.stop()
		stop()
	})
}

func TestAModuleWaitsUntilItsDeviceIsAssigned(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 503, Times: 3})
		dev := r.device()
		g := r.host(r.module(dev, camera)) // even if it is there first
		time.Sleep(500 * time.Millisecond)
		require.Zero(t, r.asked())
		stop := r.run(dev)
		time.Sleep(2 * time.Second)
		s := g.module.Status()
		require.Equal(t, provisioning.StateWaiting, s.State)
		require.Equal(t, "the device has no assignment yet", s.Cause)
		r.await(0, 10*time.Minute)
		r.creates(r.a, camera)
		g.await(0, 2*time.Minute)
		require.Equal(t, 4, r.asked(dpstest.Register), "no request of the module's")
		g.stop()
		stop()
	})
}

func TestAModuleNeedsNoCallThatDrivesItsDevice(t *testing.T) {
	for name, prepare := range map[string]func(r *rig){
		"remembered": func(r *rig) { r.boot() },
		"asks DPS":   func(r *rig) { r.boot(); r.store = &cache.Memory{} },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				prepare(r)
				r.creates(r.a, camera)
				dev := r.device()
				g := r.host(r.module(dev, camera))
				g.await(0, 30*time.Second)
				want := 0
				if name == "asks DPS" {
					want = 1
				}
				require.Equal(t, want, r.asked(dpstest.Register))
				require.Equal(t, 0, countOf(r.tries(r.a, "")))
				stop := r.run(dev)
				r.await(0, time.Minute)
				time.Sleep(time.Hour)
				seen, _ := g.seen()
				require.Len(t, seen, 1, "its connection does not depend on who drives the device")
				require.Equal(t, want, r.asked(dpstest.Register))
				stop()
				time.Sleep(time.Hour)
				seen, _ = g.seen()
				require.Len(t, seen, 1)
				g.stop()
			})
		})
	}
}

func countOf(at []time.Duration) int { return len(at) }

func TestAModuleAloneAsksOnceADay(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		dev := r.settled(camera)
		g := r.host(r.module(dev, camera))
		g.await(0, time.Minute)
		time.Sleep(time.Minute)
		require.True(t, r.a.DeleteModule(rigID, camera))
		time.Sleep(3 * 24 * time.Hour)
		t.Log(r.times(dpstest.Register), len(r.tries(r.a, camera)))
		between(t, 3, 5, time.Duration(r.asked(dpstest.Register)))
		require.NoError(t, r.dps.Move(rigID, hubB))
		r.creates(r.b, camera)
		require.Equal(t, hubB, g.await(1, 30*time.Hour).hub, "it goes where nobody else would")
		r.network.SetFault(hubB, simnet.Refused) // for whoever comes next
		stop := r.run(dev)
		time.Sleep(10 * time.Minute)
		require.True(t, r.b.Connected(rigID+"/"+camera), "and stays there, ahead of its device")
		g.stop()
		stop()
	})
}

func TestARefusalByDPSIsItsDevicesMatter(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		dev := r.settled(camera)
		require.NoError(t, r.dps.SetEnabled(rigID, false))
		require.True(t, r.a.DeleteModule(rigID, camera))
		g := r.host(r.module(dev, camera))
		time.Sleep(15 * time.Hour)
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Equal(t, hubconn.Rejected, g.module.Status().Class)
		g.stop()
	})
}

func TestAModuleDoesNotCutShortWhatItsDeviceWaitsFor(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		dev := r.settled(camera)
		require.NoError(t, r.dps.SetEnabled(rigID, false))
		require.True(t, r.a.Disable(rigID))
		stop, g := r.run(dev), r.host(r.module(dev, camera))
		time.Sleep(10 * time.Minute)
		stop()
		require.Equal(t, 1, r.asked(dpstest.Register))
		time.Sleep(30 * time.Minute)
		require.Equal(t, 1, r.asked(dpstest.Register), "an hour is what a refusal calls for")
		g.stop()
	})
}

func TestAModuleAloneAsksAboutAHubThatIsGone(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		dev := r.settled(camera)
		g := r.host(r.module(dev, camera))
		g.await(0, time.Minute)
		require.NoError(t, r.dps.Move(rigID, hubB))
		r.creates(r.b, camera)
		r.network.SetFault(hubA, simnet.Refused)
		r.network.Cut(hubA)
		require.Equal(t, hubB, g.await(1, 6*time.Hour).hub)
		require.Equal(t, 1, r.asked(dpstest.Register))
		g.stop()
	})
}

func TestDPSThatIsDownIsNoMatterToAModule(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		stop, g := r.both()
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.Refused)
		time.Sleep(time.Minute)
		require.True(t, r.a.Disconnect(rigID+"/"+camera))
		g.await(1, time.Minute)
		time.Sleep(time.Minute)
		require.True(t, r.a.DeleteModule(rigID, camera))
		time.Sleep(time.Hour)
		r.creates(r.a, camera)
		g.await(2, 75*time.Minute)
		require.Len(t, r.seen(), 1)
		g.stop()
		stop()
	})
}

func TestAModuleThatCannotBeReachedAsksNothingBesideItsDevice(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		stop, g := r.both()
		r.a.Inject(hubtest.Fault{
			On: hubtest.Connect, DeviceID: rigID + "/" + camera, ReturnCode: 3, Times: always,
		})
		require.True(t, r.a.Disconnect(rigID+"/"+camera))
		time.Sleep(2 * 24 * time.Hour)
		require.Zero(t, r.asked())
		r.a.ClearFaults()
		g.await(1, 6*time.Minute)
		g.stop()
		stop()
	})
}

func TestAModulesQuestionForTheTimeIsNewsToARegistrationUnderWay(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		dev := r.settled(camera)
		r.network.SetClockOffset(24 * time.Hour)
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, Delay: 20 * time.Second})
		r.dps.Inject(dpstest.Fault{On: dpstest.Connect, Delay: 20 * time.Second})
		done := make(chan error, 1)
		go func() {
			_, err := dev.Reprovision(context.Background(), "test")
			done <- err
		}()
		time.Sleep(rigStep)
		g := r.host(r.module(dev, camera))
		g.await(0, 10*time.Second)
		require.NoError(t, <-done, "its token was of a clock that is right by now")
		g.stop()
	})
}

func TestAModuleOfADeviceThatIsRejectedToo(t *testing.T) {
	each(t, append(hubWirings, wiring{x509: true}), func(t *testing.T, r *rig) {
		stop, g := r.both()
		time.Sleep(time.Minute)
		r.reset()
		require.True(t, r.a.Disable(rigID))
		time.Sleep(24 * time.Hour)
		alone := r.asked(dpstest.Register)
		between(t, 24, 36, time.Duration(alone)) // the device's own
		between(t, 24, 36, time.Duration(len(r.tries(r.a, camera))))
		require.True(t, r.a.Enable(rigID))
		r.await(0, 75*time.Minute)
		g.await(1, 75*time.Minute)
		g.stop()
		stop()
	})
}

func TestAModuleInFlappingTroubleAsksAtMostOnceAConnectionOfItsDevice(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		stop, g := r.both()
		for range 20 {
			time.Sleep(time.Minute)
			n, _ := g.seen()
			require.True(t, r.a.DeleteModule(rigID, camera))
			time.Sleep(time.Minute)
			r.creates(r.a, camera)
			g.await(len(n), 20*time.Minute)
		}
		require.Equal(t, 1, r.asked(dpstest.Register))
		g.stop()
		stop()
	})
}

func TestTwoModulesOfOneDeviceAskTogether(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		dev := r.settled(camera, meter)
		stop := r.run(dev)
		one, two := r.host(r.module(dev, camera)), r.host(r.module(dev, meter))
		r.await(0, time.Minute)
		one.await(0, time.Minute)
		two.await(0, time.Minute)
		time.Sleep(time.Minute)
		r.reset()
		require.True(t, r.a.DeleteModule(rigID, camera))
		require.True(t, r.a.DeleteModule(rigID, meter))
		time.Sleep(12 * time.Hour)
		require.Equal(t, 1, r.asked(dpstest.Register))
		r.creates(r.a, camera)
		r.creates(r.a, meter)
		one.await(1, 75*time.Minute)
		two.await(1, 75*time.Minute)
		one.stop()
		stop()
		two.stop()
	})
}

func TestTwoModulesAloneShareARegistration(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		dev := r.settled(camera, meter)
		require.True(t, r.a.DeleteModule(rigID, camera))
		require.True(t, r.a.DeleteModule(rigID, meter))
		one, two := r.host(r.module(dev, camera)), r.host(r.module(dev, meter))
		time.Sleep(12 * time.Hour)
		require.Equal(t, 1, r.asked(dpstest.Register))
		one.stop()
		two.stop()
	})
}

func TestAModulesRejectionByAWrongClockIsNoRegistration(t *testing.T) {
	for name, drive := range map[string]bool{"beside its device": true, "alone": false} {
		t.Run(name, func(t *testing.T) {
			each(t, append(hubWirings, wiring{x509: true}), func(t *testing.T, r *rig) {
				slow := years26
				if r.wiring.x509 {
					slow = 0 // its certificate is of now
				}
				r.network.SetClockOffset(time.Duration(slow))
				dev := r.settled(camera)
				r.network.SetClockOffset(time.Duration(slow) + 24*time.Hour) // without power
				stop := func() {}
				if drive {
					stop = r.run(dev)
				}
				g := r.host(r.module(dev, camera))
				g.await(0, 2*time.Minute)
				require.Zero(t, r.asked(dpstest.Register, dpstest.Lookup))
				between(t, 1, 2, time.Duration(r.asked(dpstest.Clock)))
				require.LessOrEqual(t, len(r.tries(r.a, camera)), 3)
				g.stop()
				stop()
			})
		})
	}
}

func TestAModulesFirstBootIn1970(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.network.SetClockOffset(years26)
		dev := r.device()
		stop, g := r.run(dev), r.host(r.module(dev, camera))
		r.await(0, 2*time.Minute)
		r.creates(r.a, camera)
		g.await(0, 2*time.Minute)
		require.LessOrEqual(t, r.asked(dpstest.Register), 2)
		g.stop()
		stop()
	})
}

func TestAModulesSessionEndsAsADevicesDoes(t *testing.T) {
	own := errors.New("the program's own")
	for name, c := range map[string]struct {
		session func(ctx context.Context, hub *hubconn.Conn) error
		want    error
	}{
		"returns nil":   {func(context.Context, *hubconn.Conn) error { return nil }, nil},
		"returns error": {func(context.Context, *hubconn.Conn) error { return own }, own},
		"closes": {func(_ context.Context, hub *hubconn.Conn) error {
			_ = hub.Close()
			return own
		}, own},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, hubWirings, func(t *testing.T, r *rig) {
				dev := r.settled(camera)
				m := r.module(dev, camera)
				require.ErrorIs(t, m.Run(context.Background(), c.session), c.want)
				time.Sleep(rigStep)
				require.False(t, r.a.Connected(rigID+"/"+camera))
				require.ErrorIs(t, m.Run(context.Background(), c.session), c.want, "and again")
			})
		})
	}
	t.Run("exits", func(t *testing.T) {
		each(t, hubWirings, func(t *testing.T, r *rig) {
			dev := r.settled(camera)
			err := r.module(dev, camera).Run(context.Background(),
				func(context.Context, *hubconn.Conn) error { runtime.Goexit(); return nil })
			require.ErrorContains(t, err, "the session ended its goroutine")
		})
	})
}

func TestModuleRunTellsTheLastFailure(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		dev := r.settled()
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errStop)
		defer cancel()
		err := r.module(dev, camera).Run(ctx, r.session)
		require.ErrorIs(t, err, errStop)
		failure, ok := errors.AsType[*hubconn.Error](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, hubconn.Rejected, failure.Class)
	})
}

func TestAModuleIsRunOnceAtATime(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		stop, g := r.both()
		err := g.module.Run(context.Background(), g.session)
		require.ErrorIs(t, err, provisioning.ErrRunning)
		g.stop()
		stop()
	})
}

func TestMaxAttemptsBoundsAModuleToo(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		dev := r.settled()
		dev.Retry.MaxAttempts = 3
		err := r.module(dev, camera).Run(context.Background(), r.session)
		require.Equal(t, hubconn.Rejected, hubconn.ClassOf(err), "%v", err)
		require.Len(t, r.tries(r.a, camera), 3)
	})
}

func TestWrongFieldsOfAModuleAreToldBeforeAnyUseOfTheNetwork(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		r.boot()
		dialled := r.network.Dials(hubA)
		for want, change := range map[string]func(m *provisioning.Module){
			`module "camera": device is nil`:  func(m *provisioning.Module) { m.Device = nil },
			`module "": id is empty`:          func(m *provisioning.Module) { m.ID = "" },
			`module ID "a/b" has a character`: func(m *provisioning.Module) { m.ID = "a/b" },
			"credential is nil":               func(m *provisioning.Module) { m.Credential = nil },
			"credential: symmetric key: key is not base64": func(m *provisioning.Module) {
				m.Credential = dps.SymmetricKey{ID: camera, Key: "canary?"}
			},
			"credential: x509: there is no certificate": func(m *provisioning.Module) {
				m.Credential = dps.X509{}
			},
			"model id": func(m *provisioning.Module) { m.ModelID = "dtmi" },
			"id scope": func(m *provisioning.Module) { m.Device.IDScope = "" },
		} {
			m := r.module(r.device(), camera)
			change(m)
			err := m.Run(context.Background(), r.session)
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "canary")
		}
		require.ErrorContains(t, r.module(r.device(), camera).Run(context.Background(), nil),
			"session is nil")
		require.Equal(t, dialled, r.network.Dials(hubA))
		require.Zero(t, r.asked())
	})
}

func TestAModuleAnnouncesItsOwnModel(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		dev := r.settled(camera, meter)
		dev.ModelID = "dtmi:com:example:thermostat;1"
		m := r.module(dev, camera)
		m.ModelID = "dtmi:com:example:camera;1"
		one, two := r.host(m), r.host(r.module(dev, meter))
		one.await(0, time.Minute)
		two.await(0, time.Minute)
		models := map[string]string{}
		for _, a := range r.a.Attempts() {
			models[a.DeviceID] = a.ModelID
		}
		require.Equal(t, map[string]string{
			rigID + "/camera": "dtmi:com:example:camera;1", rigID + "/meter": "",
		}, models)
		one.stop()
		two.stop()
	})
}

func TestANudgeOfTheDeviceReachesItsModules(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		stop, g := r.both()
		r.network.SetFault(hubA, simnet.Refused)
		r.network.Cut(hubA)
		time.Sleep(time.Hour)
		r.network.SetFault(hubA, simnet.None)
		g.module.Device.Nudge()
		g.await(1, 11*time.Second)
		g.stop()
		stop()
	})
}

func TestAModuleOfADeviceThatForgetsGoesOnAndFollowsLater(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		stop, g := r.both()
		time.Sleep(time.Minute)
		require.NoError(t, g.module.Device.Forget(context.Background()))
		time.Sleep(time.Hour)
		seen, _ := g.seen()
		require.Len(t, seen, 1)
		require.True(t, r.a.Disconnect(rigID+"/"+camera))
		time.Sleep(time.Hour)
		require.Equal(t, provisioning.StateWaiting, g.module.Status().State)
		require.Zero(t, r.asked(), "it asks nothing while its device is connected")
		require.True(t, r.a.Disconnect(rigID))
		r.await(1, time.Minute)
		g.await(1, time.Minute)
		require.Equal(t, 1, r.asked(dpstest.Register))
		g.stop()
		stop()
	})
}

// A process that is killed every few seconds keeps to what the hub has told the module.
func TestACrashLoopKeepsToWhatWasAskedOfAModule(t *testing.T) {
	for name, c := range map[string]struct {
		fault       hubtest.Fault
		apart       time.Duration
		tries, asks int
	}{
		"CONNACK 3": {
			hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: always},
			5 * time.Second, 14, 0,
		},
		"removed": {hubtest.Fault{}, 0, 10, 1},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{}}, func(t *testing.T, r *rig) {
				r.settled(camera)
				if name == "removed" {
					require.True(t, r.a.DeleteModule(rigID, camera))
				} else {
					c.fault.DeviceID = rigID + "/" + camera
					r.a.Inject(c.fault)
				}
				r.crashLoop(kills, func(dev *provisioning.Device) {
					time.AfterFunc(rigStep, func() { // when the device has its store
						g := r.host(r.module(dev, camera))
						time.AfterFunc(1800*time.Millisecond, func() { g.cancel(errStop) })
					})
				})
				at := r.tries(r.a, camera)
				require.Greater(t, len(at), 1)
				require.LessOrEqual(t, len(at), c.tries, "%v", at)
				apart(t, c.apart, at)
				require.LessOrEqual(t, r.asked(dpstest.Register), c.asks)
				t.Log(len(at), r.asked(dpstest.Register))
			})
		})
	}
}

func TestAModulesWaitsAreItsOwn(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		dev := r.settled(camera)
		r.a.Inject(hubtest.Fault{
			On: hubtest.Connect, DeviceID: rigID + "/" + camera, ReturnCode: 3, Times: always,
		})
		g := r.host(r.module(dev, camera))
		time.Sleep(10 * time.Minute)
		g.stop()
		stop := r.run(r.device())
		require.Less(t, r.await(0, time.Minute).at-10*time.Minute, time.Second)
		stop()
	})
}

func TestAModuleTakesThePortThatItsDeviceHasFoundOpen(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		dev := r.settled(camera)
		dev.Hub.Transport = hubconn.Auto
		r.network.SetPortFault(hubA, simnet.PortMQTT, simnet.Blackhole)
		stop := r.run(dev)
		found := r.await(0, time.Minute).at
		began := r.elapsed()
		g := r.host(r.module(dev, camera))
		require.Greater(t, found, 10*time.Second, "8883 goes first where nobody knows")
		require.Less(t, g.await(0, time.Minute).at-began, 5*time.Second)
		r.network.SetPortFault(hubA, simnet.PortMQTT, simnet.None)
		r.network.SetPortFault(hubA, simnet.PortHTTPS, simnet.Refused)
		r.network.Cut(hubA)
		g.await(1, time.Minute)
		g.stop()
		stop()
	})
}
