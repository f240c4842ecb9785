package provisioning_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
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
