// SPDX-License-Identifier: Apache-2.0

package lease_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/lease"
	"github.com/rehome-iot/rehome/provisioning/lease/leasetest"
)

// farReplica is one to which a refusal takes a second, as over a slow network.
type farReplica struct{ *leasetest.Replica }

func (r farReplica) Acquire(ctx context.Context, identity string) (lease.Lease, error) {
	held, err := r.Replica.Acquire(ctx, identity)
	if err != nil {
		time.Sleep(time.Second)
	}
	return held, err
}

func TestAReleaseThatIsToldBeforeTheRefusalArrivesIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := leasetest.Group{Lease: term}
		here, there := group.Join("here"), group.Join("there")
		identity := ""
		for n := 0; lease.Place(identity, []string{"here", "there"}) != "here"; n++ {
			identity = fmt.Sprint("sensor-", n)
		}
		held, err := there.Acquire(t.Context(), identity)
		require.NoError(t, err)
		started := make(chan lease.Lease, 1)
		k := &lease.Keeper{
			Leases: farReplica{here},
			Start:  func(l lease.Lease) error { started <- l; return nil },
		}
		k.Add(identity)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- k.Run(ctx) }()
		time.Sleep(time.Second / 2) // it has been refused, and does not know yet
		require.NoError(t, held.Release(t.Context()))
		began := time.Now()
		l := <-started
		assert.Equal(t, identity, l.Identity())
		assert.Less(t, time.Since(began), 2*time.Second)
		cancel()
		<-ended
	})
}
