// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/provisioning/lease/leasetest"
)

// sharedStore is one on servers that may be away; a device waits a minute for them.
type sharedStore struct {
	*cache.Memory
	away atomic.Bool
}

func (*sharedStore) CallTimeout() time.Duration { return time.Minute }

func (s *sharedStore) Get(ctx context.Context, key string) ([]byte, error) {
	if s.away.Load() {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return s.Memory.Get(ctx, key)
}

// A store that fails sends a device to DPS; but where its lease is not confirmed meanwhile, it has
// to wait anyhow, and reads the store again instead.
func TestAStoreThatFailsWhileALeaseIsNotConfirmedIsReadAgain(t *testing.T) {
	for name, leasesToo := range map[string]bool{
		"both are away": true, "the store alone is away": false,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				const identities = 20
				s, group := devicetest.Start(t), &leasetest.Group{Lease: leaseTime}
				store := &sharedStore{Memory: &cache.Memory{}}
				boot := func(name string) *replica {
					r := &replica{newGateway(t, s, identities), group.Join(name), nil}
					r.change = func(dev *provisioning.Device) { dev.Store = store }
					r.Leases = r.leases
					r.stop = r.start()
					return r
				}
				first := boot("a")
				wait(5 * time.Minute)
				require.Equal(t, identities, first.connected())
				_, err := first.stop()
				require.ErrorIs(t, err, errStopped)
				require.NoError(t, first.leases.Close(t.Context()))

				store.away.Store(true)
				r := boot("b")
				wait(time.Second)
				require.Equal(t, identities, r.Leased().Held)
				group.Away(leasesToo)
				wait(10 * time.Minute)
				asked := s.DPS.Count(dpstest.Register, dpstest.Lookup) - identities
				if !leasesToo {
					require.Equal(t, identities, asked)
					require.Equal(t, identities, r.connected(), "the store does not stop them")
					return
				}
				require.Zero(t, r.connected())
				require.Equal(t, identities, r.Count()[provisioning.StateQueued])
				store.away.Store(false)
				group.Away(false)
				wait(time.Minute)
				require.Equal(t, identities, r.connected())
				require.Zero(t, s.DPS.Count(dpstest.Register, dpstest.Lookup)-identities)
				require.Zero(t, r.of(r.ids[0]).Restarts, "that was no failure")
			})
		})
	}
}
