// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// patientStore is a store that answers late, and says so, as one on several servers does while they
// choose which of them answers.
type patientStore struct {
	cache.WaitStore
	answers time.Duration // after that
	patient time.Duration
}

func (s patientStore) CallTimeout() time.Duration { return s.patient }

func (s patientStore) Get(ctx context.Context, key string) ([]byte, error) {
	select {
	case <-time.After(s.answers):
		return s.WaitStore.Get(ctx, key)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func TestADeviceWaitsForItsStoreAsLongAsThatSays(t *testing.T) {
	for name, c := range map[string]struct {
		store   patientStore
		lookups int
	}{
		"longer than others, and it answers":   {patientStore{nil, 20 * time.Second, time.Minute}, 0},
		"longer than others, and it does not":  {patientStore{nil, time.Hour, time.Minute}, 1},
		"for ever, which has a limit":          {patientStore{nil, time.Hour, 24 * time.Hour}, 1},
		"no longer than others":                {patientStore{nil, 20 * time.Second, 0}, 1},
		"shorter than others, which is no use": {patientStore{nil, 8 * time.Second, time.Second}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{}, {ws: true}}, func(t *testing.T, r *rig) {
				stop := r.run(r.device())
				r.await(0, time.Minute)
				stop()
				r.reset()
				dev := r.device()
				store := c.store // each wiring has its own
				store.WaitStore = r.store.(cache.WaitStore)
				dev.Store = store
				stop = r.run(dev)
				r.await(0, 10*time.Minute) // some calls
				assert.Equal(t, c.lookups, r.asked(dpstest.Lookup))
				assert.Zero(t, r.asked(dpstest.Register))
				stop()
			})
		})
	}
}
