// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// A device that may use either port, and networks that let one through and not the other.

func TestTheHubIsReachedOverThePortThatIsOpen(t *testing.T) {
	eachPair(t, wiring{auto: true}, func(t *testing.T, r *rig, https, mqtt way) {
		r.setWays(hubA, https, mqtt)
		if https != wayOpen && mqtt != wayOpen {
			r.noWayToTheHub(https, mqtt)
			return
		}
		dials := r.countDials(hubA)
		dev := r.device()
		out := logged(dev)
		stop := r.run(dev)
		s := r.await(0, time.Minute)
		want, first := hubconn.MQTT, time.Duration(0)
		if mqtt != wayOpen {
			want, first = hubconn.MQTTWebSocket, within(mqtt)
		}
		between(t, first, first+7*time.Second, s.at)
		require.Equal(t, want, dev.Status().HubTransport)
		require.Equal(t, want.String(), r.a.Attempts()[0].Transport)
		stop()

		switches := 0
		if want == hubconn.MQTTWebSocket {
			switches = 1
			require.Contains(t, out.String(), "from=mqtt to=ws")
		}
		dials.require(switches, 1)
		require.Equal(t, switches, out.count(switchedLine), out.String())
		r.reset()

		dials = r.countDials(hubA)
		for range 3 { // the next boots begin with what worked, at once
			r.reset()
			dev := r.device()
			out := logged(dev)
			stop := r.run(dev)
			require.Less(t, r.await(0, time.Minute).at, time.Second)
			require.Equal(t, want, dev.Status().HubTransport)
			stop()
			require.Zero(t, out.count(switchedLine))
		}
		dials.require(3*switches, 3*(1-switches))
		require.Zero(t, r.asked())
	})
}

// noWayToTheHub: one attempt is a try over each transport, and the next has its distance.
func (r *rig) noWayToTheHub(https, mqtt way) {
	dev := r.device()
	attempts, dials := (&attemptLog{}).watch(r, dev), r.countDials(hubA)
	out := logged(dev)
	stop := r.run(dev)
	time.Sleep(10 * time.Minute)
	floor := 5 * time.Second
	class := hubconn.Unreachable
	if https == wayPortal || mqtt == wayPortal {
		floor, class = time.Minute, hubconn.Untrusted
	}
	require.Equal(r.t, class, dev.Status().Class)
	stop()
	starts, ends := attempts.of(hubA+":8883"), attempts.of(hubA+":443")
	require.InDelta(r.t, len(starts), len(ends), 1, "the last one may have been cut short")
	require.GreaterOrEqual(r.t, len(ends), 3)
	for i := range len(starts) - 1 {
		require.GreaterOrEqual(r.t, starts[i+1].began-ends[i].ended, floor, "attempt %d", i+2)
		require.Less(r.t, ends[i].began-starts[i].began, 31*time.Second)
	}
	now := r.countDials(hubA)
	require.InDelta(r.t, now.https-dials.https, now.mqtt-dials.mqtt, 1)
	require.Zero(r.t, out.count(switchedLine))
	require.Empty(r.t, r.seen())

	r.setWays(hubA, wayOpen, wayDropped)
	stop = r.run(r.device())
	r.await(0, 10*time.Minute)
	stop()
}

func TestDPSIsReachedOverThePortThatIsOpen(t *testing.T) {
	// with a certificate no rejection is blamed on the clock, which HTTPS alone tells
	eachPair(t, wiring{auto: true, x509: true}, func(t *testing.T, r *rig, https, mqtt way) {
		r.setWays(dps.DefaultEndpoint, https, mqtt)
		dials := r.countDials(dps.DefaultEndpoint)
		dev := r.device()
		out := logged(dev)
		if https != wayOpen && mqtt != wayOpen {
			stop := r.run(dev)
			time.Sleep(10 * time.Minute)
			require.Equal(t, "dps", strings.SplitN(dev.Status().Err.Error(), ":", 2)[0])
			stop()
			require.Zero(t, out.count(switchedLine))
			require.Zero(t, r.asked())
			now := r.countDials(dps.DefaultEndpoint)
			require.GreaterOrEqual(t, now.mqtt-dials.mqtt, 3)
			// each once an attempt, the last of which may have been cut short
			require.InDelta(t, now.https-dials.https, now.mqtt-dials.mqtt, 1)
			r.setWays(dps.DefaultEndpoint, wayDropped, wayOpen)
			stop = r.run(r.device())
			r.await(0, 15*time.Minute)
			stop()
			return
		}
		stop := r.run(dev)
		s := r.await(0, time.Minute)
		want, switches, first := dps.HTTPS, 0, time.Duration(0)
		if https != wayOpen {
			want, switches, first = dps.MQTT, 1, within(https)
		}
		between(t, first, first+10*time.Second, s.at)
		require.Equal(t, want, dev.Status().DPSTransport)
		stop()
		require.Equal(t, switches, out.count(switchedLine), out.String())
		dials.require(1, switches)
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Equal(t, want.String(), r.dps.Requests()[0].Transport)

		// the next boot that has to register begins with what worked
		r.reset()
		dials = r.countDials(dps.DefaultEndpoint)
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5})
		dev = r.device()
		out = logged(dev)
		stop = r.run(dev)
		r.await(0, time.Minute)
		stop()
		dials.require(1-switches, switches)
		require.Zero(t, out.count(switchedLine))
	})
}

func TestTransportsThatAreNamedAreTheOnlyOnes(t *testing.T) {
	for name, c := range map[string]struct {
		wiring      wiring
		https, mqtt way
	}{
		"mqtt": {wiring{}, wayOpen, wayDropped},
		"ws":   {wiring{ws: true}, wayRefused, wayOpen},
	} {
		t.Run("hub "+name, func(t *testing.T) {
			each(t, []wiring{c.wiring}, func(t *testing.T, r *rig) {
				r.boot()
				r.setWays(hubA, c.https, c.mqtt)
				dials := r.countDials(hubA)
				stop := r.run(r.device())
				time.Sleep(10 * time.Minute)
				stop()
				require.Empty(t, r.seen())
				now := r.countDials(hubA)
				if c.mqtt == wayOpen {
					require.Equal(t, dials.mqtt, now.mqtt)
				} else {
					require.Equal(t, dials.https, now.https)
				}
			})
		})
	}
	t.Run("dps by a port", func(t *testing.T) {
		each(t, autoWiring, func(t *testing.T, r *rig) {
			r.setWays(dps.DefaultEndpoint, wayRefused, wayOpen)
			dev := r.device()
			dev.Endpoint = dps.DefaultEndpoint + ":443"
			dials := (&attemptLog{}).watch(r, dev)
			stop := r.run(dev)
			time.Sleep(10 * time.Minute)
			stop()
			at := dials.of(dev.Endpoint)
			require.Greater(t, len(at), 2)
			for i := range at[1:] {
				require.GreaterOrEqual(t, at[i+1].began-at[i].ended, 5*time.Second)
			}
			require.Zero(t, r.network.PortDials(dps.DefaultEndpoint, simnet.PortMQTT))
		})
	})
	for name, c := range map[string]struct {
		wiring      wiring
		https, mqtt way
	}{
		"https": {wiring{}, wayDropped, wayOpen},
		"mqtt":  {wiring{dps: dps.MQTT}, wayOpen, wayRefused},
		"ws":    {wiring{dps: dps.MQTTWebSocket}, wayReset, wayOpen},
	} {
		t.Run("dps "+name, func(t *testing.T) {
			each(t, []wiring{c.wiring}, func(t *testing.T, r *rig) {
				r.setWays(dps.DefaultEndpoint, c.https, c.mqtt)
				stop := r.run(r.device())
				time.Sleep(10 * time.Minute)
				stop()
				require.Zero(t, r.asked())
				require.Empty(t, r.seen())
			})
		})
	}
}
