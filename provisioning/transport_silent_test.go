// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Ports through which a handshake passes, and nothing after it, or one that takes long.

func TestAnOutageBehindAClosedPortWearsOutNoFlash(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.boot()
		r.setWays(hubA, wayOpen, wayDropped)
		r.a.Inject(hubtest.Fault{On: hubtest.Upgrade, NoAnswer: true, Times: always})
		dev := r.device()
		store := &countingStore{Store: r.store}
		dev.Store = store
		out := logged(dev)
		stop := r.run(dev)
		time.Sleep(24 * time.Hour)
		stop()
		require.LessOrEqual(t, store.puts, 4, "since when the hub is silent")
		require.Zero(t, out.count(switchedLine))
	})
}

func TestLivesThatAreShorterThanTheSilenceOfAPortGetThrough(t *testing.T) {
	for name, c := range map[string]struct {
		life   time.Duration
		killed bool
	}{
		"switched off": {2 * time.Minute, true},
		"a minute":     {time.Minute, false},
		"45 s":         {45 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, autoWiring, func(t *testing.T, r *rig) {
				r.boot()
				for range 2 {
					dev := r.device()
					blackholed(dev, ":8883")
					if c.killed {
						r.life(dev, c.life)
					} else {
						stop := r.run(dev)
						time.Sleep(c.life)
						stop()
					}
					r.store = coldStore{r.waits()}
					time.Sleep(10 * time.Minute)
				}
				require.NotEmpty(t, r.seen())
			})
		})
	}
}

func TestAPortThatFailsOnceIsNotGivenUpForOneThatSaysNothing(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		firewalled(dev, ":8883")
		out := logged(dev)
		stop := r.run(dev)
		r.await(0, 5*time.Minute)
		require.Equal(t, hubconn.MQTTWebSocket, dev.Status().HubTransport)
		for n := range 5 {
			time.Sleep(time.Minute)
			r.setWays(hubA, wayRefused, wayOpen)
			r.network.Cut(hubA)
			time.Sleep(12 * time.Second) // for an attempt
			r.setWays(hubA, wayOpen, wayOpen)
			at := r.elapsed()
			require.Less(t, r.await(n+1, 5*time.Minute).at-at, 25*time.Second)
		}
		stop()
		require.Equal(t, 1, out.count(switchedLine))
	})
}

func TestASlowLinkIsNoPortThatIsClosed(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.boot()
		const slow = 20 * time.Second // longer than the first of two ports has
		store := &countingStore{Store: r.store}
		switches := 0
		for range 3 {
			r.reset()
			dev := r.device()
			dev.Store = store
			slowTo(dev, "s.net:8883", slow)
			slowTo(dev, "s.net:443", slow)
			out := logged(dev)
			stop := r.run(dev)
			for n := range 4 {
				at := r.elapsed()
				s := r.await(n, 2*time.Minute)
				if n == 0 {
					between(t, slow, firstTry+slow+time.Second, s.at-at)
				} else {
					between(t, slow, slow+11*time.Second, s.at-at)
				}
				time.Sleep(time.Minute)
				r.network.Cut(hubA)
			}
			stop()
			switches += out.count(switchedLine)
		}
		require.Zero(t, switches)
		require.Zero(t, store.puts)
	})
}

func TestAPortThatIsClosedOnASlowLinkIsFoundOut(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.boot()
		const slow = 20 * time.Second
		r.setWays(hubA, wayOpen, wayDropped)
		dials := r.countDials(hubA)
		dev := r.device()
		slowTo(dev, "s.net:443", slow)
		out := logged(dev)
		stop := r.run(dev)
		for n := range 4 {
			r.await(n, 2*time.Minute)
			time.Sleep(time.Minute)
			r.network.Cut(hubA)
		}
		r.await(4, 2*time.Minute)
		stop()
		dials.require(5, 2)
		require.Equal(t, 1, out.count(switchedLine))
	})
}

// A firewall may take some packets to know what it sees.
func TestAPortThatLetsNoConnectionLastIsFoundOut(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.boot()
		dials := r.countDials(hubA)
		dev := r.device()
		shortLived(dev, ":8883")
		out := logged(dev)
		stop := r.run(dev)
		between(t, 0, 2*time.Minute, r.await(3, 3*time.Minute).at)
		require.Zero(t, out.count(switchedLine), "it may not last over the other either")
		time.Sleep(time.Minute)
		require.Equal(t, hubconn.MQTTWebSocket, dev.Status().HubTransport)
		require.Equal(t, 1, out.count(switchedLine))
		require.Contains(t, out.String(), "no connection lasted over mqtt")
		r.network.Cut(hubA)
		r.await(4, time.Minute)
		stop()
		dials.require(2, 3)

		r.reset() // remembered
		dials = r.countDials(hubA)
		dev = r.device()
		shortLived(dev, ":8883")
		stop = r.run(dev)
		require.Less(t, r.await(0, time.Minute).at, time.Second)
		stop()
		dials.require(1, 0)
	})
}

// What ends the connections may be another device of the same identity.
func TestConnectionsThatDoNotLastOverAnyPortAreNoNews(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		shortLived(dev, "s.net:8883")
		shortLived(dev, "s.net:443")
		store := &countingStore{Store: r.store}
		dev.Store = store
		out := logged(dev)
		dials := r.countDials(hubA)
		stop := r.run(dev)
		time.Sleep(24 * time.Hour)
		stop()
		require.Zero(t, out.count(switchedLine))
		require.LessOrEqual(t, store.puts, 8)
		now := r.countDials(hubA)
		require.Equal(t, len(r.a.Attempts()), now.https-dials.https+now.mqtt-dials.mqtt)
		require.InDelta(t, now.https-dials.https, now.mqtt-dials.mqtt, 3)
	})
}

// The waits of a service that says nothing outgrow the lives, which have one attempt each then.
func TestAServiceThatSaysNothingToShortLivesIsAskedOverTheOtherPort(t *testing.T) {
	each(t, []wiring{{auto: true, x509: true}}, func(t *testing.T, r *rig) {
		live := func(port string, life time.Duration) {
			for lives := 0; len(r.seen()) == 0; lives++ {
				require.Less(t, lives, 100)
				dev := r.device()
				firewalled(dev, port)
				r.life(dev, life)
			}
		}
		live("ioning.net:443", 16*time.Second)
		require.Equal(t, 1, r.asked(dpstest.Register))
		r.reset()
		live("s.net:8883", 5*time.Second) // the hub's
	})
}
