// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/provisioning/fleet"
	"github.com/rehome-iot/rehome/provisioning/lease/leasetest"
)

const leaseTime = 15 * time.Second

// replica is a gateway that shares its identities with others.
type replica struct {
	*gateway
	leases *leasetest.Replica
	stop   func() (time.Duration, error)
}

// replicas run the same identities, of which each is stored where all of them look.
func replicas(
	t *testing.T, s *devicetest.Simulation, group *leasetest.Group, identities int, names ...string,
) (all []*replica) {
	store := &cache.Memory{}
	for _, name := range names {
		r := &replica{newGateway(t, s, identities), group.Join(name), nil}
		r.change = func(dev *provisioning.Device) { dev.Store = store }
		r.Leases = r.leases
		r.stop = r.start()
		all = append(all, r)
	}
	return all
}

func TestTheDeathOfAReplicaMovesItsIdentitiesAloneAndAsksDPSNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const identities = 90
		s, group := devicetest.Start(t), &leasetest.Group{Lease: leaseTime}
		all := replicas(t, s, group, identities, "a", "b", "c")
		wait(5 * time.Minute)
		require.Len(t, all[0].atHub(), identities)
		require.Equal(t, identities, len(s.Hub.Attempts()), "each by one replica alone")
		require.Equal(t, identities, s.DPS.Count(dpstest.Register))
		lost := all[2].connected()
		for _, r := range all {
			require.Greater(t, r.connected(), identities/6, "they share them out")
			require.Equal(t, r.connected(), r.Leased().Held)
			require.Equal(t, []string{"a", "b", "c"}, r.Leased().Members)
		}

		all[2].leases.Cut(true) // it cannot say that it dies
		_, err := all[2].stop()
		require.ErrorIs(t, err, errStopped)
		require.Len(t, all[0].atHub(), identities-lost)
		wait(leaseTime - time.Second)
		require.Equal(t, identities, len(s.Hub.Attempts()), "it might be alive")
		wait(16 * time.Second)
		require.Len(t, all[0].atHub(), identities)
		require.Equal(t, identities+lost, len(s.Hub.Attempts()), "nothing else has moved")
		require.Equal(t, identities, s.DPS.Count(dpstest.Register, dpstest.Lookup))
		require.Equal(t, identities, all[0].connected()+all[1].connected())
	})
}

func TestAReplicaThatIsCutOffNeverConnectsAnewWhatOthersHaveTakenOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const identities = 60
		s, group := devicetest.Start(t), &leasetest.Group{Lease: leaseTime}
		all := replicas(t, s, group, identities, "a", "b", "c")
		wait(5 * time.Minute)
		cut := all[2].connected()
		require.NotZero(t, cut)
		all[2].leases.Cut(true)
		wait(10 * time.Second)
		require.Equal(t, cut, all[2].connected(), "what is connected stays so")
		wait(30 * time.Minute) // later on tokens are renewed
		require.Len(t, all[0].atHub(), identities)
		require.Equal(t, identities+cut, len(s.Hub.Attempts()), "none came back")
		require.Zero(t, all[2].connected())
		require.Equal(t, cut, all[2].Count()[provisioning.StateQueued])
		require.Error(t, all[2].Leased().Away)

		all[2].leases.Cut(false) // and then each goes home
		wait(time.Minute)
		require.Equal(t, cut, all[2].connected())
		require.Len(t, all[0].atHub(), identities)
		require.LessOrEqual(t, len(s.Hub.Attempts()), identities+2*cut)
		require.Equal(t, identities, s.DPS.Count(dpstest.Register, dpstest.Lookup))
	})
}

func TestWhileLeasesAreAwayDevicesStayAndNoneIsConnectedAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const identities = 30
		s, group := devicetest.Start(t), &leasetest.Group{Lease: leaseTime}
		all := replicas(t, s, group, identities, "a", "b")
		wait(5 * time.Minute)
		group.Away(true)
		wait(leaseTime + time.Second)
		s.Hub.Disconnect(all[0].ids[7])
		wait(5 * time.Minute)
		require.Len(t, all[0].atHub(), identities-1)
		require.Equal(t, identities, len(s.Hub.Attempts()))
		queued := 0
		for _, r := range all {
			require.Error(t, r.Leased().Away, "which its status says")
			queued += r.Count()[provisioning.StateQueued]
		}
		require.Equal(t, 1, queued)
		group.Away(false)
		wait(time.Minute)
		require.Len(t, all[0].atHub(), identities)
		require.Equal(t, identities+1, len(s.Hub.Attempts()), "nothing has moved")
		require.Equal(t, identities, s.DPS.Count(dpstest.Register, dpstest.Lookup))
		require.NoError(t, all[0].Leased().Away)
	})
}

func TestAReplicaThatEndsHandsItsIdentitiesOverAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const identities = 40
		s, group := devicetest.Start(t), &leasetest.Group{Lease: leaseTime}
		all := replicas(t, s, group, identities, "a", "b")
		wait(5 * time.Minute)
		took, err := all[1].stop()
		require.ErrorIs(t, err, errStopped)
		require.Less(t, took, 3*time.Second)
		require.NoError(t, all[1].leases.Close(t.Context()), "it has left")
		wait(5 * time.Second)
		require.Len(t, all[0].atHub(), identities)
		require.Equal(t, identities, all[0].connected())

		// One that is removed is given back, one that has finished is not.
		require.NoError(t, all[0].Remove(t.Context(), all[0].ids[0]))
		wait(time.Second)
		require.Equal(t, identities-1, all[0].Leased().Held)
		id := all[0].ids[1]
		all[0].does(id, func(context.Context, *hubconn.Conn) error { return nil })
		s.Hub.Disconnect(id)
		wait(time.Minute)
		require.True(t, all[0].of(id).Finished)
		require.Equal(t, identities-1, all[0].Leased().Held)

		// One that fails keeps its lease for its next try.
		id = all[0].ids[2]
		all[0].does(id, func(context.Context, *hubconn.Conn) error { return errors.New("broken") })
		s.Hub.Disconnect(id)
		wait(time.Minute)
		require.NotZero(t, all[0].of(id).Restarts)
		require.Equal(t, identities-1, all[0].Leased().Held)
	})
}

func TestAFleetEndsWhenTheServiceOfItsLeasesWasClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, group := devicetest.Start(t), &leasetest.Group{}
		r := replicas(t, s, group, 3, "a")[0]
		wait(time.Minute)
		require.Equal(t, 3, r.connected())
		require.NoError(t, r.leases.Close(t.Context()))
		wait(4 * time.Second)
		require.Empty(t, r.atHub())
		_, err := r.stop()
		require.ErrorContains(t, err, "the service of leases was closed")
	})
}

func TestWithoutLeasesNothingIsLeased(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGateway(t, devicetest.Start(t), 1)
		g.start()
		wait(time.Minute)
		require.Zero(t, g.Leased())
	})
}

func TestAReplicaThatJoinsConnectsWhatIsPlacedThereAfterTheOthersHaveLeftIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const identities, leaving = 60, 2 * time.Second
		s, group := devicetest.Start(t), &leasetest.Group{Lease: leaseTime}
		all := replicas(t, s, group, identities, "a", "b")
		for _, r := range all {
			for _, id := range r.ids {
				r.does(id, func(ctx context.Context, hub *hubconn.Conn) error {
					err := stays(ctx, hub)
					time.Sleep(leaving)
					return err
				})
			}
		}
		wait(5 * time.Minute)
		joined := time.Now()
		c := &replica{newGateway(t, s, 0), group.Join("c"), nil}
		c.Leases = c.leases
		device := all[0].Fleet.Device
		c.Fleet.Device = func(id string) (*provisioning.Device, error) {
			return device(strings.ToLower(id))
		}
		for _, id := range all[0].ids {
			require.NoError(t, c.Add(strings.ToUpper(id)), "DPS knows them in any letter case")
		}
		c.stop = c.start()
		wait(15 * time.Second)
		moved := c.connected()
		require.Greater(t, moved, identities/6)
		require.Len(t, all[0].atHub(), identities)
		require.Equal(t, identities-moved, all[0].connected()+all[1].connected())
		require.Equal(t, identities+moved, len(s.Hub.Attempts()), "each moves once")
		for _, a := range s.Hub.Attempts()[identities:] {
			require.GreaterOrEqual(t, a.Time.Sub(joined), leaving, "its session was still at work")
			require.Less(t, a.Time.Sub(joined), fleet.DefaultStopTimeout, "it was told to end")
		}
		require.Equal(t, identities, s.DPS.Count(dpstest.Register, dpstest.Lookup))
		for _, r := range append(all, c) {
			_, err := r.stop()
			require.ErrorIs(t, err, errStopped)
		}
	})
}
