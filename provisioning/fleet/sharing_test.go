// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
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
)

// Real devices that share a Budget, before the simulators.

// crowd is devices that one program runs.
type crowd struct {
	*devicetest.Simulation
	t       *testing.T
	start   time.Time
	devices []*provisioning.Device
	results chan error
	stop    func() // ends all and waits
}

// enroll makes n devices, as a process has them that starts: again, if there were any.
func enroll(t *testing.T, s *devicetest.Simulation, n int, b provisioning.Budget) *crowd {
	c := &crowd{Simulation: s, t: t}
	for i := range n {
		dev := enrolled(s, fmt.Sprintf("sensor-%04d", i))
		dev.Budget = b
		c.devices = append(c.devices, dev)
	}
	return c
}

// enrolled is a device with one transport and the quickest of handshakes, which take most of the
// tests' time.
func enrolled(s *devicetest.Simulation, id string) *provisioning.Device {
	dev := s.Enroll(id)
	dev.Transport, dev.Hub.Transport = dps.HTTPS, hubconn.MQTT
	dev.TLSConfig.CurvePreferences = []tls.CurveID{tls.CurveP256}
	return dev
}

func (c *crowd) run() {
	c.start = time.Now()
	c.results = make(chan error, len(c.devices))
	ctx, cancel := context.WithCancelCause(context.Background())
	var all sync.WaitGroup
	for _, dev := range c.devices {
		all.Go(func() { c.results <- dev.Run(ctx, stays) })
	}
	c.stop = func() { cancel(errStopped); all.Wait() }
	c.t.Cleanup(c.stop)
}

var errStopped = errors.New("stopped by the test")

// stays is a session that sends something and stays.
func stays(ctx context.Context, hub *hubconn.Conn) error {
	_ = hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
	<-ctx.Done()
	return nil
}

// asked is when dps got requests of some kinds, since the start.
func (c *crowd) asked(ops ...dpstest.Op) (at []time.Duration) {
	for _, r := range c.DPS.Requests() {
		if slices.Contains(ops, r.Op) {
			at = append(at, r.Time.Sub(c.start))
		}
	}
	return at
}

// inState is how many of the devices are.
func (c *crowd) inState(s provisioning.State) (n int) {
	for _, dev := range c.devices {
		if dev.Status().State == s {
			n++
		}
	}
	return n
}

func TestAThousandDevicesAskOnceWhenDPSTellsOneToWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := devicetest.Start(t)
		s.DPS.Inject(dpstest.Fault{On: dpstest.Register, Status: 429, RetryAfter: "60"})
		budget := &fleet.Budget{}
		c := enroll(t, s, 1000, budget)
		c.run()
		wait(time.Minute - time.Millisecond)
		require.LessOrEqual(t, len(c.asked(dpstest.Register, dpstest.Lookup, dpstest.Clock)), 3)
		require.GreaterOrEqual(t, c.inState(provisioning.StateQueued), 999-2)
		for _, load := range budget.Load() {
			require.NotEmpty(t, load.IDScope, "no hub is known yet")
			require.GreaterOrEqual(t, load.Waiting, 999-2)
			require.False(t, load.NotBefore.IsZero())
		}
		wait(15 * time.Second)
		at := c.asked(dpstest.Register)
		require.Greater(t, len(at), 4, "then they follow")
		require.GreaterOrEqual(t, at[1], time.Minute)
		require.Greater(t, at[2]-at[1], 500*time.Millisecond, "a probe goes first")
	})
}

func TestDevicesWithoutABudgetAskEachForThemselves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := devicetest.Start(t)
		s.DPS.Inject(dpstest.Fault{On: dpstest.Register, Status: 429, RetryAfter: "60"})
		c := enroll(t, s, 50, nil)
		c.run()
		wait(10 * time.Second)
		require.Len(t, c.asked(dpstest.Register), 50)
	})
}

func TestADeviceThatWaitsForDPSGoesOnTryingItsHub(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := devicetest.Start(t)
		budget := &fleet.Budget{}
		c := enroll(t, s, 1, budget)
		c.run()
		wait(time.Minute)
		require.Equal(t, 1, c.inState(provisioning.StateConnected))
		budget.Enter(provisioning.Entrant{
			RegistrationID: "other", Host: dps.DefaultEndpoint, IDScope: s.DPS.IDScope(),
		}).Done(throttledFor(10 * time.Hour)) // dps tells another device to wait
		s.Network.SetFault(devicetest.HubHost, simnet.Refused)
		wait(2 * time.Hour) // the question about the outage has fallen due meanwhile
		require.Empty(t, c.asked(dpstest.Lookup))
		require.Equal(t, 1, budget.Load()[0].Waiting)
		s.Network.SetFault(devicetest.HubHost, simnet.None)
		wait(6 * time.Minute)
		require.Equal(t, 1, c.inState(provisioning.StateConnected))
		require.Empty(t, c.asked(dpstest.Lookup))
	})
}

func TestWhatIsWaitedForInTheBudgetCountsAsNoFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := devicetest.Start(t)
		budget := &fleet.Budget{}
		budget.Enter(provisioning.Entrant{
			Host: dps.DefaultEndpoint, IDScope: s.DPS.IDScope(),
		}).Done(throttledFor(time.Hour))
		c := enroll(t, s, 1, budget)
		dev := c.devices[0]
		dev.Retry.MaxAttempts = 1
		var seen []provisioning.State
		dev.Trace = &provisioning.Trace{Changed: func(s provisioning.Status) {
			seen = append(seen, s.State)
		}}
		c.run()
		wait(30 * time.Minute)
		status := dev.Status()
		require.Equal(t, provisioning.StateQueued, status.State)
		require.NoError(t, status.Err)
		require.Zero(t, status.DownAttempts+status.DPSAttempts+status.HubAttempts)
		require.Zero(t, status.Registrations, "nothing has been sent")
		wait(40 * time.Minute)
		require.Equal(t, provisioning.StateConnected, dev.Status().State)
		require.Equal(t, []provisioning.State{
			provisioning.StateQueued, provisioning.StateRegistering, provisioning.StateConnecting,
			provisioning.StateConnected,
		}, seen)
	})
}

func TestADeviceThatIsStoppedInTheQueueLeavesIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := devicetest.Start(t)
		budget := &fleet.Budget{}
		budget.Enter(provisioning.Entrant{
			Host: dps.DefaultEndpoint, IDScope: s.DPS.IDScope(),
		}).Done(throttledFor(time.Hour))
		c := enroll(t, s, 10, budget)
		c.run()
		wait(time.Second)
		require.Equal(t, 10, budget.Load()[0].Waiting)
		began := time.Now()
		c.stop()
		require.Zero(t, time.Since(began))
		require.ErrorIs(t, <-c.results, errStopped)
		require.Zero(t, budget.Load()[0].Waiting)
		require.Equal(t, 10, c.inState(provisioning.StateStopped))

		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.ErrorIs(t, c.devices[0].Run(ctx, stays), context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(began))
	})
}

func TestAHubsRetryAfterHoldsForItsOtherDevices(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := devicetest.Start(t)
		budget := &fleet.Budget{}
		c := enroll(t, s, 3, budget)
		c.run()
		wait(time.Minute)
		c.stop()
		s.Hub.Inject(hubtest.Fault{On: hubtest.Send, Status: 429, RetryAfter: "600"})
		s.Hub.ResetLog()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		reading := hubconn.Message{Body: []byte("21.5")}
		require.Error(t, c.devices[0].Send(ctx, reading))
		again := enroll(t, s, 3, budget)
		again.run()
		wait(9 * time.Minute)
		require.Equal(t, 2, again.inState(provisioning.StateQueued))
		require.Equal(t, 1, again.inState(provisioning.StateWaiting), "it was told itself")
		wait(3 * time.Minute)
		require.Equal(t, 3, again.inState(provisioning.StateConnected))
	})
}

func TestModulesAskInTheirDevicesBudget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := devicetest.Start(t)
		budget := &fleet.Budget{}
		c := enroll(t, s, 1, budget)
		c.run()
		wait(time.Minute)
		wait(2 * time.Hour) // by then the time that dps has told is to be asked for again
		budget.Enter(provisioning.Entrant{
			Host: dps.DefaultEndpoint, IDScope: s.DPS.IDScope(),
		}).Done(throttledFor(time.Hour))
		s.DPS.ResetLog()
		module := &provisioning.Module{ // its hub does not know it
			Device: c.devices[0], ID: "health", Credential: s.Credential("sensor-0000"),
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- module.Run(ctx, stays) }()
		wait(time.Minute)
		require.Equal(t, 1, budget.Load()[0].Waiting)
		require.Zero(t, s.DPS.Count())
		wait(70 * time.Minute)
		require.Equal(t, 1, s.DPS.Count(dpstest.Clock))
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

// witness is a Budget that lets everybody pass, and keeps who has wanted what.
type witness struct {
	mu       sync.Mutex
	entrants []provisioning.Entrant
	open     int // turns that have not been done
}

func (w *witness) Enter(e provisioning.Entrant) *provisioning.Turn {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entrants = append(w.entrants, e)
	w.open++
	return &provisioning.Turn{Done: func(error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.open--
	}}
}

func (w *witness) took() []provisioning.Entrant {
	w.mu.Lock()
	defer w.mu.Unlock()
	took := w.entrants
	w.entrants = nil
	return took
}

func TestADeviceTellsTheBudgetWhatItWants(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, w := devicetest.Start(t), &witness{}
		toDPS := provisioning.Entrant{
			RegistrationID: "sensor-0000", Host: dps.DefaultEndpoint, IDScope: s.DPS.IDScope(),
		}
		toHub := provisioning.Entrant{RegistrationID: "sensor-0000", Host: devicetest.HubHost}
		c := enroll(t, s, 1, w)
		c.run()
		wait(time.Minute)
		require.Equal(t, []provisioning.Entrant{toDPS, toHub}, w.took(), "first boot")
		c.stop()
		require.Zero(t, w.open)

		c = enroll(t, s, 1, w)
		c.run()
		wait(time.Minute)
		require.Equal(t, []provisioning.Entrant{known(toHub)}, w.took(), "warm boot")
		_, err := c.devices[0].Reprovision(context.Background(), "test")
		require.NoError(t, err)
		require.Equal(t, []provisioning.Entrant{known(toDPS)}, w.took(), "by hand")
		wait(2 * time.Hour)
		s.Hub.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5})
		s.Hub.Disconnect("sensor-0000")
		wait(time.Minute)
		clock := known(toDPS)
		clock.Clock = true
		require.Equal(t, []provisioning.Entrant{
			known(toHub), clock, known(toDPS), known(toHub),
		}, w.took(), "a rejection")
		require.Equal(t, 1, c.inState(provisioning.StateConnected))
		c.stop()
		require.Zero(t, w.open)
	})
}

func TestAClientOfTheProgramsOwnGetsItsHubWhileDPSIsToBeLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := devicetest.Start(t)
		budget := &fleet.Budget{}
		dev := enroll(t, s, 1, budget).devices[0]
		ctx := context.Background()
		a, err := dev.NextAttempt(ctx)
		require.NoError(t, err)
		require.NoError(t, dev.Confirm(ctx, a))
		budget.Enter(provisioning.Entrant{
			Host: dps.DefaultEndpoint, IDScope: s.DPS.IDScope(),
		}).Done(throttledFor(10 * time.Hour))
		s.DPS.ResetLog()
		for range 60 { // the question about the outage falls due meanwhile
			_, err := dev.Rejected(ctx, a, errors.New("connection refused"))
			require.NoError(t, err)
			began := time.Now()
			a, err = dev.NextAttempt(ctx)
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(began), 6*time.Minute)
		}
		require.Zero(t, s.DPS.Count())
		require.NoError(t, dev.Closed(ctx, a))
	})
}
