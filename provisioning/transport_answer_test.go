// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// A service that was reached has no second request of the attempt, whatever it says.

func TestAnAnswerOfTheHubEndsTheAttempt(t *testing.T) {
	for name, f := range map[string]hubtest.Fault{
		"CONNACK 1":         {On: hubtest.Connect, ReturnCode: 1},
		"CONNACK 3":         {On: hubtest.Connect, ReturnCode: 3},
		"CONNACK 5":         {On: hubtest.Connect, ReturnCode: 5},
		"CONNACK 5, late":   {On: hubtest.Connect, ReturnCode: 5, Delay: time.Minute},
		"no CONNACK":        {On: hubtest.Connect, NoAnswer: true},
		"cut after CONNECT": {On: hubtest.Connect, Cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, autoWiring, func(t *testing.T, r *rig) {
				r.boot()
				dev := r.device()
				r.a.Inject(f)
				dials := r.countDials(hubA)
				stop := r.run(dev)
				r.await(0, 3*time.Hour)
				require.Equal(t, hubconn.MQTT, dev.Status().HubTransport)
				stop()
				dials.require(0, len(r.a.Attempts()))
			})
		})
	}
	for name, f := range map[string]hubtest.Fault{
		"upgrade 429": {On: hubtest.Upgrade, Status: 429, ErrorCode: "ThrottlingException"},
		"upgrade 503": {On: hubtest.Upgrade, Status: 503},
		"upgrade 401": {On: hubtest.Upgrade, Status: 401, ErrorCode: "IotHubUnauthorized"},
		"no answer":   {On: hubtest.Upgrade, NoAnswer: true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, autoWiring, func(t *testing.T, r *rig) {
				r.setWays(hubA, wayOpen, wayDropped)
				r.boot()
				r.setWays(hubA, wayOpen, wayOpen)
				r.a.Inject(f)
				dials := r.countDials(hubA)
				dev := r.device()
				stop := r.run(dev)
				r.await(0, time.Hour)
				require.Equal(t, hubconn.MQTTWebSocket, dev.Status().HubTransport)
				stop()
				dials.require(2, 0)
			})
		})
	}
}

func TestAnAnswerOfDPSEndsTheRequest(t *testing.T) {
	for name, f := range map[string]dpstest.Fault{
		"401":          {On: dpstest.Register, Code: 401002},
		"403":          {On: dpstest.Register, Code: 403003},
		"409":          {On: dpstest.Register, Code: 409203},
		"429":          {On: dpstest.Register, Status: 429, RetryAfter: "20"},
		"500":          {On: dpstest.Register, Status: 500},
		"503":          {On: dpstest.Register, Status: 503},
		"a page":       {On: dpstest.Register, Status: 200, Body: []byte("<html>")},
		"no response":  {On: dpstest.Register, NoAnswer: true},
		"cut":          {On: dpstest.Register, Cut: true},
		"a poll is so": {On: dpstest.Poll, Cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{auto: true, x509: true}}, func(t *testing.T, r *rig) {
				r.dps.Inject(f)
				dials := r.countDials(dps.DefaultEndpoint)
				stop := r.run(r.device())
				r.await(0, 10*time.Minute)
				stop()
				now := r.countDials(dps.DefaultEndpoint)
				require.Equal(t, dials.mqtt, now.mqtt)
			})
		})
	}
}

func TestAProxyInPlaceOfTheServiceIsPassedBy(t *testing.T) {
	for _, status := range []int{200, 302, 403, 407, 451} {
		t.Run(fmt.Sprintf("dps %d", status), func(t *testing.T) {
			each(t, []wiring{{auto: true, x509: true}}, func(t *testing.T, r *rig) {
				r.network.Handle(dps.DefaultEndpoint, inspected{r.dps, status})
				dev := r.device()
				stop := r.run(dev)
				require.Less(t, r.await(0, time.Minute).at, 10*time.Second)
				require.Equal(t, dps.MQTT, dev.Status().DPSTransport)
				stop()
			})
		})
	}
	// what an overloaded front end says as well is no reason to ask twice
	for _, status := range []int{429, 500, 503} {
		t.Run(fmt.Sprintf("dps %d", status), func(t *testing.T) {
			each(t, []wiring{{auto: true, x509: true}}, func(t *testing.T, r *rig) {
				r.network.Handle(dps.DefaultEndpoint, inspected{r.dps, status})
				dials := r.countDials(dps.DefaultEndpoint)
				stop := r.run(r.device())
				time.Sleep(10 * time.Minute)
				stop()
				require.Equal(t, dials.mqtt, r.countDials(dps.DefaultEndpoint).mqtt)
			})
		})
	}
	t.Run("dps in the midst of a registration", func(t *testing.T) {
		each(t, []wiring{{auto: true, x509: true}}, func(t *testing.T, r *rig) {
			dials := r.countDials(dps.DefaultEndpoint)
			time.AfterFunc(time.Second, func() {
				r.network.Handle(dps.DefaultEndpoint, inspected{r.dps, 403})
			})
			stop := r.run(r.device())
			time.Sleep(4 * time.Second)
			dials.require(1, 0, "it had answered")
			r.await(0, time.Minute)
			stop()
			require.Equal(t, 1, r.asked(dpstest.Register))
		})
	})
	t.Run("hub 403", func(t *testing.T) {
		each(t, autoWiring, func(t *testing.T, r *rig) {
			r.setWays(hubA, wayOpen, wayDropped)
			r.boot()
			r.setWays(hubA, wayOpen, wayOpen)
			r.a.Inject(hubtest.Fault{On: hubtest.Upgrade, Status: 403, Times: always})
			dev := r.device()
			stop := r.run(dev)
			require.Less(t, r.await(0, time.Minute).at, time.Second)
			require.Equal(t, hubconn.MQTT, dev.Status().HubTransport)
			stop()
		})
	})
}

func TestAFirewallThatCutsWhatFollowsTheHandshakeIsFoundOutWithoutMoreRequests(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		dev := r.device()
		firewalled(dev, ":8883")
		out, dials := logged(dev), r.countDials(hubA)
		stop := r.run(dev)
		r.await(0, 5*time.Minute)
		require.Equal(t, hubconn.MQTTWebSocket, dev.Status().HubTransport)
		stop()
		dials.require(1, 3)
		require.Equal(t, 1, out.count(switchedLine))
		require.Contains(t, out.String(), "said nothing over mqtt")

		r.reset()
		dials = r.countDials(hubA)
		dev = r.device()
		dev.Store = nil
		firewalled(dev, ":8883")
		stop = r.run(dev)
		for n := range 3 { // in one process
			r.await(n, 5*time.Minute)
			time.Sleep(time.Minute)
			r.network.Cut(hubA)
		}
		stop()
		dials.require(3, 3)

		r.reset()
		dials = r.countDials(hubA)
		dev = r.device()
		firewalled(dev, ":8883")
		stop = r.run(dev)
		require.Less(t, r.await(0, time.Minute).at, time.Second)
		stop()
		dials.require(1, 0)

		for _, c := range []struct {
			after time.Duration
			tries int // over the preferred transport
		}{{daily, 3}, {time.Hour, 0}} {
			time.Sleep(c.after)
			r.reset()
			dials = r.countDials(hubA)
			dev = r.device()
			firewalled(dev, ":8883")
			stop = r.run(dev)
			r.await(0, 5*time.Minute)
			stop()
			dials.require(1, c.tries)
		}
	})
}

func TestAnAttemptOverTwoPortsIsOne(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.boot()
		r.setWays(hubA, wayRefused, wayRefused)
		dials := r.countDials(hubA)
		dev := r.device()
		dev.Retry.MaxAttempts = 3
		err := dev.Run(t.Context(), r.session)
		require.Equal(t, hubconn.Unreachable, hubconn.ClassOf(err))
		require.Contains(t, err.Error(), "8883")
		require.NotContains(t, err.Error(), "\n")
		dials.require(3, 3)
	})
}

func TestAHubThatIsGoneIsFoundOutThroughEitherPortOfDPS(t *testing.T) {
	for _, closed := range []way{wayOpen, wayRefused, wayDropped} {
		t.Run("443 "+string(closed), func(t *testing.T) {
			each(t, []wiring{{auto: true, x509: true}}, func(t *testing.T, r *rig) {
				r.boot()
				require.NoError(t, r.dps.MoveNow(rigID, hubB))
				r.network.Remove(hubA)
				r.setWays(dps.DefaultEndpoint, closed, wayOpen)
				stop := r.run(r.device())
				require.Equal(t, hubB, r.await(0, 10*time.Minute).hub)
				stop()
				require.Zero(t, r.asked(dpstest.Lookup))
			})
		})
	}
}

func TestAWrongClockIsCorrectedWhateverThePort(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.setWays(hubA, wayOpen, wayDropped)
		dev := r.device()
		stoppedClock(dev, time.Now().AddDate(3, 0, 0)) // every certificate has expired
		stop := r.run(dev)
		r.await(0, 5*time.Minute)
		stop()
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

func TestAStoreThatIsUnreadableBehindAClosedPort443(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.boot()
		require.NoError(t, r.store.Put(t.Context(), rigID, []byte("torn")))
		r.setWays(dps.DefaultEndpoint, wayDropped, wayOpen)
		stop := r.run(r.device())
		r.await(0, 10*time.Minute)
		stop()
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

func TestAFleetThatNothingIsClosedToAsksNoMore(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		f := newFleet(r, fleetSize)
		f.boot()
		dials, toDPS := r.countDials(hubA), r.countDials(dps.DefaultEndpoint)
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: 5 * fleetSize})
		stop := f.run(func(*provisioning.Device) {})
		time.Sleep(time.Hour)
		stop()
		dials.require(0, len(r.a.Attempts()))
		require.Equal(t, toDPS.mqtt, r.countDials(dps.DefaultEndpoint).mqtt)
	})
}
