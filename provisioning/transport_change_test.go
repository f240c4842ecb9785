// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// What is remembered of the network, and networks that change.

func TestThePreferredTransportIsTriedAgainAfterADay(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.setWays(hubA, wayOpen, wayDropped)
		r.boot()
		boot := func(after time.Duration) (*provisioning.Device, *lines, sessionSeen) {
			time.Sleep(after)
			r.reset()
			dev := r.device()
			out := logged(dev)
			stop := r.run(dev)
			s := r.await(0, time.Minute)
			stop()
			return dev, out, s
		}
		dials := r.countDials(hubA)
		for range 12 {
			_, _, s := boot(time.Hour)
			require.Less(t, s.at, time.Second)
		}
		dials.require(12, 0)

		dials = r.countDials(hubA)
		_, out, s := boot(12 * time.Hour)
		between(t, firstTry, firstTry+time.Second, s.at, "still closed")
		require.Zero(t, out.count(switchedLine), "nothing has changed")
		_, _, s = boot(time.Hour)
		require.Less(t, s.at, time.Second, "and is not tried again for another day")
		dials.require(2, 1)

		r.setWays(hubA, wayOpen, wayOpen)
		dev, _, _ := boot(time.Hour)
		require.Equal(t, hubconn.MQTTWebSocket, dev.Status().HubTransport)
		dev, out, _ = boot(daily)
		require.Equal(t, hubconn.MQTT, dev.Status().HubTransport)
		require.Equal(t, 1, out.count(switchedLine))
		require.Contains(t, out.String(), "from=ws to=mqtt")
		dials = r.countDials(hubA)
		boot(time.Hour)
		dials.require(0, 1)
	})
}

// What is remembered costs the flash nothing that a first boot does not write anyway, and then a
// write a day at the most.
func TestWhatWorkedIsStoredWithTheAssignment(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		puts := func(after time.Duration) int {
			time.Sleep(after)
			store := &countingStore{Store: r.store}
			r.reset()
			dev := r.device()
			dev.Store = store
			stop := r.run(dev)
			r.await(0, time.Minute)
			time.Sleep(time.Minute)
			stop()
			return store.puts
		}
		r.setWays(hubA, wayOpen, wayDropped)
		r.setWays(dps.DefaultEndpoint, wayDropped, wayOpen)
		require.Equal(t, 2, puts(0), "a candidate, and that it is confirmed")
		for range 3 {
			require.Zero(t, puts(time.Hour))
		}
		require.Equal(t, 1, puts(daily))
		require.Zero(t, puts(time.Hour))
		entry, err := r.store.Get(t.Context(), rigID)
		require.NoError(t, err)
		require.LessOrEqual(t, len(entry), 512)
	})
}

func TestWithoutAStoreTheProcessRemembersWhatWorked(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.setWays(hubA, wayOpen, wayDropped)
		r.setWays(dps.DefaultEndpoint, wayOpen, wayOpen)
		dev := r.device()
		dev.Store = nil
		dials := r.countDials(hubA)
		stop := r.run(dev)
		for n := range 3 {
			r.await(n, time.Minute)
			time.Sleep(time.Minute)
			r.network.Cut(hubA)
		}
		r.await(3, time.Minute)
		stop()
		dials.require(4, 1)
	})
}

func TestANetworkThatChangesUnderARunningDevice(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		dev := r.device()
		out := logged(dev)
		stop := r.run(dev)
		r.await(0, time.Minute)
		next := 1
		for range 2 {
			for _, c := range []struct {
				https, mqtt way
				want        hubconn.Transport
			}{{wayOpen, wayDropped, hubconn.MQTTWebSocket}, {wayDropped, wayOpen, hubconn.MQTT}} {
				time.Sleep(time.Minute)
				r.setWays(hubA, c.https, c.mqtt)
				cut := r.elapsed()
				r.network.Cut(hubA)
				s := r.await(next, time.Minute)
				between(t, firstTry, firstTry+12*time.Second, s.at-cut)
				require.Equal(t, c.want, dev.Status().HubTransport)
				require.Equal(t, next, out.count(switchedLine), out.String())
				next++
			}
		}
		stop()
	})
}

func TestANetworkThatChangesBetweenTwoRegistrations(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		dev := r.device()
		out := logged(dev)
		stop := r.run(dev)
		r.await(0, time.Minute)
		switches := 0
		for range 2 {
			for _, c := range []struct {
				https, mqtt way
				want        dps.Transport
			}{{wayDropped, wayOpen, dps.MQTT}, {wayOpen, wayDropped, dps.HTTPS}} {
				time.Sleep(time.Minute)
				r.setWays(dps.DefaultEndpoint, c.https, c.mqtt)
				for _, took := range []time.Duration{firstTry, 0} {
					began := r.elapsed()
					_, err := dev.Reprovision(t.Context(), "a test")
					require.NoError(t, err)
					between(t, took, took+10*time.Second, r.elapsed()-began)
					require.Equal(t, c.want, dev.Status().DPSTransport)
				}
				switches++
				require.Equal(t, switches, out.count(switchedLine), out.String())
			}
		}
		stop()
		require.Len(t, r.seen(), 1, "the connection to the hub is none of it")
	})
}

func TestLivesOfTwoMinutesGetThrough(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.setWays(hubA, wayOpen, wayDropped)
		r.setWays(dps.DefaultEndpoint, wayDropped, wayOpen)
		lives := 0
		for ; len(r.seen()) == 0; lives++ {
			require.Less(t, lives, 2)
			r.life(r.device(), 2*time.Minute)
			r.store = coldStore{r.waits()} // switched off
		}
		for range 5 {
			r.reset()
			r.life(r.device(), 2*time.Minute)
			require.Less(t, r.seen()[0].at, time.Second)
			time.Sleep(10 * time.Minute)
		}
	})
}

func TestAPortThatIsSlowIsGivenItsTimeWhereNoOtherIsOpen(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.setWays(dps.DefaultEndpoint, wayOpen, wayDropped)
		r.setWays(hubA, wayRefused, wayOpen)
		dev := r.device()
		slowTo(dev, "s.net:8883", 25*time.Second) // the hub
		slowTo(dev, "ioning.net:443", 25*time.Second)
		stop := r.run(dev)
		between(t, 0, 4*time.Minute, r.await(0, 10*time.Minute).at)
		stop()
	})
}

func TestTheProgramSetsHowLongTheFirstTryTakes(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.boot()
		r.setWays(hubA, wayOpen, wayDropped)
		entry, err := r.store.Get(t.Context(), rigID)
		require.NoError(t, err)
		for _, limit := range []time.Duration{4 * time.Second, 40 * time.Second} {
			require.NoError(t, r.store.Put(t.Context(), rigID, entry)) // as it was
			r.reset()
			dev := r.device()
			dev.Hub.DialTimeout = limit
			stop := r.run(dev)
			between(t, limit, limit+time.Second, r.await(0, time.Minute).at)
			stop()
		}
	})
}

func TestARenewalKeepsTheTransport(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.setWays(hubA, wayOpen, wayRefused)
		dials := r.countDials(hubA)
		stop := r.run(r.device())
		time.Sleep(5 * time.Hour)
		stop()
		attempts := len(r.a.Attempts())
		require.GreaterOrEqual(t, attempts, 5)
		dials.require(attempts, 1)
		require.Len(t, r.seen(), 1)
	})
}

func TestARegistrationGoesOnOverTheOtherPort(t *testing.T) {
	each(t, []wiring{{auto: true, x509: true}}, func(t *testing.T, r *rig) {
		r.dps.Inject(dpstest.Fault{On: dpstest.Poll, Cut: true})
		time.AfterFunc(time.Second, func() { r.setWays(dps.DefaultEndpoint, wayRefused, wayOpen) })
		stop := r.run(r.device())
		r.await(0, time.Minute)
		stop()
		require.Equal(t, 1, r.asked(dpstest.Register))
		log := r.dps.Requests()
		last := log[len(log)-1]
		require.Equal(t, dpstest.Poll, last.Op)
		require.Equal(t, dpstest.MQTT, last.Transport)
		require.Equal(t, log[0].OperationID, last.OperationID)
	})
}
