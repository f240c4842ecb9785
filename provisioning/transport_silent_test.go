package provisioning_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// Ports through which a handshake passes, and nothing after it.

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
				require.Len(t, r.seen(), 1)
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
