// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/provisioning/fleet"
	"github.com/rehome-iot/rehome/retry"
)

// gateway is a Fleet before the simulators, and what its sessions do.
type gateway struct {
	*fleet.Fleet
	*devicetest.Simulation
	t   *testing.T
	ids []string

	mu       sync.Mutex
	session  map[string]func(ctx context.Context, hub *hubconn.Conn) error // other than stays
	sessions map[string]int
	change   func(*provisioning.Device)
}

func newGateway(t *testing.T, s *devicetest.Simulation, n int) *gateway {
	g := &gateway{
		Simulation: s, t: t, sessions: map[string]int{},
		session: map[string]func(context.Context, *hubconn.Conn) error{},
	}
	for i := range n {
		g.ids = append(g.ids, fmt.Sprintf("sensor-%04d", i))
	}
	g.Fleet = &fleet.Fleet{
		Device: func(id string) (*provisioning.Device, error) {
			dev := enrolled(s, id)
			if g.change != nil {
				g.change(dev)
			}
			return dev, nil
		},
		Session: func(ctx context.Context, id string, hub *hubconn.Conn) error {
			g.mu.Lock()
			g.sessions[id]++
			does := g.session[id]
			g.mu.Unlock()
			if does != nil {
				return does(ctx, hub)
			}
			return stays(ctx, hub)
		},
	}
	require.NoError(t, g.Add(g.ids...))
	return g
}

// does has the sessions of an identity do something else.
func (g *gateway) does(id string, what func(ctx context.Context, hub *hubconn.Conn) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.session[id] = what
}

func (g *gateway) ran(id string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sessions[id]
}

// start runs the Fleet; stop ends it and returns how long that took, and its error.
func (g *gateway) start() (stop func() (time.Duration, error)) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	g.t.Cleanup(func() { cancel(errStopped) })
	return func() (time.Duration, error) {
		began := time.Now()
		cancel(errStopped)
		err := <-ended
		return time.Since(began), err
	}
}

func (g *gateway) of(id string) fleet.Status {
	for found, s := range g.Status() {
		if found == id {
			return s
		}
	}
	require.Fail(g.t, "no status of "+id)
	return fleet.Status{}
}

// atHub is who has a connection, as the hub sees it.
func (g *gateway) atHub() (ids []string) {
	synctest.Wait()
	for _, id := range g.Hub.Devices() {
		if g.Hub.Connected(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (g *gateway) connected() int { return g.Count()[provisioning.StateConnected] }

func TestAFleetBootsFromItsStoresAtTheHubsRateAndAsksDPSNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const devices = 1000
		s := devicetest.Start(t)
		g := newGateway(t, s, devices)
		g.Budget = &fleet.Budget{DPSPerMinute: 1e6, DPSUnderWay: devices, HubPerSecond: 1e4}
		stop := g.start()
		wait(time.Minute)
		require.Equal(t, devices, g.connected())
		_, err := stop()
		require.ErrorIs(t, err, errStopped)
		s.DPS.ResetLog()
		s.Hub.ResetLog()

		g = newGateway(t, s, devices)
		began := time.Now()
		stop = g.start()
		wait(devices / fleet.DefaultHubPerSecond * time.Second)
		require.InDelta(t, devices, g.connected(), 60, "as fast as the hub's rate allows")
		wait(2 * time.Second)
		require.Equal(t, devices, g.connected())
		require.Zero(t, s.DPS.Count(), "dps was not needed")
		var at []time.Duration
		for _, a := range s.Hub.Attempts() {
			at = append(at, a.Time.Sub(began))
		}
		require.Len(t, at, devices)
		require.LessOrEqual(t, densest(at, time.Second), fleet.DefaultHubPerSecond*12/10)
		took, err := stop()
		require.ErrorIs(t, err, errStopped)
		require.Less(t, took, 3*time.Second)
		wait(time.Second)
		require.Empty(t, g.atHub())
	})
}

// densest is how many of the times lie within one window, at most.
func densest(at []time.Duration, window time.Duration) (most int) {
	slices.Sort(at)
	for first, last := 0, 0; last < len(at); last++ {
		for at[last]-at[first] >= window {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

func TestAFleetStopsInThreeSecondsWhileItsDialsHang(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := devicetest.Start(t)
		g := newGateway(t, s, 1000)
		s.Network.SetFault(dps.DefaultEndpoint, simnet.Blackhole)
		g.Budget = &fleet.Budget{DPSPerMinute: 1e6, DPSUnderWay: 1000}
		stop := g.start()
		wait(10 * time.Second)
		require.Len(t, g.Count(), 2, "one tries, the others wait for what becomes of it")
		took, err := stop()
		require.ErrorIs(t, err, errStopped)
		require.Less(t, took, time.Second)
		require.Equal(t, map[provisioning.State]int{provisioning.StateStopped: 1000}, g.Count())
	})
}

func TestAFleetStopsInThreeSecondsWhileItsHubSaysNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := devicetest.Start(t)
		g := newGateway(t, s, 50)
		stop := g.start()
		wait(time.Minute)
		require.Equal(t, 50, g.connected())
		s.Hub.Inject(hubtest.Fault{On: hubtest.Connect, NoAnswer: true, Times: -1})
		for _, id := range g.ids[:25] {
			s.Hub.Disconnect(id)
		}
		wait(20 * time.Second)
		require.Equal(t, 25, g.connected())
		took, err := stop()
		require.ErrorIs(t, err, errStopped)
		require.Less(t, took, time.Second)
		require.Empty(t, g.atHub())
	})
}

func TestASessionThatDoesNotReturnHoldsUpNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGateway(t, devicetest.Start(t), 5)
		release := make(chan struct{})
		g.does(g.ids[3], func(context.Context, *hubconn.Conn) error { <-release; return nil })
		stop := g.start()
		wait(time.Minute)
		require.Equal(t, 5, g.connected())
		took, err := stop()
		require.Equal(t, fleet.DefaultStopTimeout, took)
		failure, ok := errors.AsType[*fleet.Error](err)
		require.True(t, ok, err)
		require.Equal(t, []string{g.ids[3]}, failure.IDs)
		require.ErrorIs(t, err, errStopped)
		require.Equal(t, 4, g.Count()[provisioning.StateStopped])

		again := g.Run(context.Background())
		require.ErrorContains(t, again, "has not ended since the run before")
		close(release)
		wait(time.Second)
		stop = g.start()
		wait(time.Minute)
		require.Equal(t, 4, g.connected(), "the fifth has a session that returns nil at once")
		_, err = stop()
		require.ErrorIs(t, err, errStopped)
	})
}

func TestWhatGoesWrongWithOneIdentityIsItsOwnMatter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGateway(t, devicetest.Start(t), 6)
		g.does(g.ids[0], func(context.Context, *hubconn.Conn) error { panic("canary-panic") })
		g.does(g.ids[1], func(context.Context, *hubconn.Conn) error { return errors.New("odd") })
		g.does(g.ids[2], func(context.Context, *hubconn.Conn) error { return nil })
		made := g.Fleet.Device
		g.Fleet.Device = func(id string) (*provisioning.Device, error) {
			switch id {
			case g.ids[3]:
				return nil, errors.New("no key")
			case g.ids[4]:
				return made("somebody-else")
			}
			return made(id)
		}
		stop := g.start()
		wait(4 * time.Hour)
		for i, want := range []string{
			"fleet: session sensor-0000: panic: canary-panic", "odd", "",
			"fleet: device sensor-0003: no key",
			`fleet: device sensor-0004: its registration id is "somebody-else"`, "",
		} {
			s := g.of(g.ids[i])
			if want == "" {
				require.NoError(t, s.Err)
				require.Zero(t, s.Restarts)
				continue
			}
			require.EqualError(t, s.Err, want)
			require.Greater(t, s.Restarts, 5, "it is tried again")
			require.Less(t, s.Restarts, 30, "less and less often")
			require.False(t, s.NextStart.IsZero())
		}
		require.True(t, g.of(g.ids[2]).Finished)
		require.Equal(t, 1, g.ran(g.ids[2]))
		require.Equal(t, 1, g.ran(g.ids[5]), "its session goes on through all of that")
		require.Equal(t, 1, g.connected())
		require.Equal(t, 4, g.DPS.Count(dpstest.Register), "to run one again costs no registration")

		g.does(g.ids[1], nil)
		wait(2 * time.Hour)
		require.Equal(t, 2, g.connected(), "and it is back when that is mended")
		took, err := stop()
		require.ErrorIs(t, err, errStopped)
		require.Less(t, took, time.Second)
	})
}

func TestAnIdentityThatMayBeRunSoOftenEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGateway(t, devicetest.Start(t), 1)
		g.Fleet.Retry = retry.Policy{MaxAttempts: 3}
		g.does(g.ids[0], func(context.Context, *hubconn.Conn) error { return errors.New("odd") })
		g.start()
		wait(time.Hour)
		s := g.of(g.ids[0])
		require.Equal(t, 3, g.ran(g.ids[0]))
		require.Equal(t, 2, s.Restarts)
		require.EqualError(t, s.Err, "odd")
		require.True(t, s.NextStart.IsZero())
	})
}

func TestIdentitiesComeAndGoWhileTheFleetRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGateway(t, devicetest.Start(t), 2)
		stop := g.start()
		wait(time.Minute)
		require.ErrorContains(t, g.Add("Sensor-0001"), "in the fleet already")
		require.ErrorContains(t, g.Add("new", "NEW"), "in the fleet already")
		require.Error(t, g.Add(""))
		require.Nil(t, g.Get("new"), "nothing of a list that is wrong is added")
		require.NoError(t, g.Add("new"))
		wait(time.Minute)
		require.Equal(t, 3, g.connected())
		require.Equal(t, "new", g.Get("NEW").Status().RegistrationID)

		require.NoError(t, g.Remove(context.Background(), "sensor-0000"))
		require.Error(t, g.Remove(context.Background(), "sensor-0000"))
		require.Nil(t, g.Get("sensor-0000"))
		require.Equal(t, []string{"new", "sensor-0001"}, g.atHub())
		var ids []string
		for id := range g.Status() {
			ids = append(ids, id)
		}
		require.Equal(t, []string{"new", "sensor-0001"}, ids)

		require.NoError(t, g.Add("sensor-0000"))
		wait(time.Minute)
		require.Equal(t, 3, g.connected())
		require.Equal(t, 2, g.ran("sensor-0000"))
		require.Equal(t, 3, g.DPS.Count(dpstest.Register), "it was remembered")
		_, err := stop()
		require.ErrorIs(t, err, errStopped)
		require.NoError(t, g.Remove(context.Background(), "new"))
		require.Len(t, g.ids, 2)
	})
}

func TestASessionMayRemoveItsOwnIdentity(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGateway(t, devicetest.Start(t), 1)
		removed := make(chan error, 1)
		g.does(g.ids[0], func(ctx context.Context, hub *hubconn.Conn) error {
			removed <- g.Remove(ctx, g.ids[0])
			return nil
		})
		g.start()
		wait(time.Minute)
		require.Error(t, <-removed)
		require.Empty(t, g.Count())
	})
}

func TestAFleetIsRunOnceAtATimeAndSaysWhatItLacks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx := context.Background()
		require.ErrorContains(t, (&fleet.Fleet{}).Run(ctx), "device is nil")
		g := newGateway(t, devicetest.Start(t), 1)
		session := g.Session
		g.Session = nil
		require.ErrorContains(t, g.Run(ctx), "session is nil")
		g.Session, g.StopTimeout = session, -1
		require.ErrorContains(t, g.Run(ctx), "stoptimeout is negative")
		g.StopTimeout = 0
		g.start()
		wait(time.Second)
		require.ErrorContains(t, g.Run(ctx), "running already")
	})
}

func TestDevicesThatWaitToBootHoldUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := devicetest.Start(t)
		g := newGateway(t, s, 100) // which wait for nothing but a moment of their own
		g.change = func(dev *provisioning.Device) { dev.Stagger = time.Hour }
		stop := g.start()
		wait(time.Second)
		require.Zero(t, g.Count()[provisioning.StateStopped], "all have booted")
		require.Greater(t, g.Count()[provisioning.StateWaiting], 80)
		_, err := stop()
		require.ErrorIs(t, err, errStopped)
	})
}
