// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// A renewal is killed at its first operation on the store, then at its second, and so on, each time
// before it was carried out and after, until one goes through. DPS is gone then: what is stored has
// to do. And the service never has to issue more than the one that was under way.
func TestAtEveryCrashPointOfARenewalAKeyIsStoredThatWorks(t *testing.T) {
	for name, renew := range map[string]func(context.Context, *provisioning.Device) error{
		"over the hub": func(ctx context.Context, dev *provisioning.Device) error {
			return dev.Renew(ctx)
		},
		"by a registration": func(ctx context.Context, dev *provisioning.Device) error {
			_, err := dev.Reprovision(ctx, "test")
			return err
		},
	} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, after=%v", name, after), func(t *testing.T) {
				points := 0
				for killed := true; killed; points++ {
					synctest.Test(t, func(t *testing.T) {
						r := newRig(t, wiring{})
						defer func() { require.NoError(t, r.network.Close()) }()
						killed = r.crashesAt(t, points+1, after, renew)
					})
					require.Less(t, points, 100)
				}
				t.Logf("%d crash points", points-1)
				assert.Greater(t, points, 4, "the store is used at all")
			})
		}
	}
}

// crashesAt renews a certificate in a process that is killed at its nth operation on the store
// since it was connected, and says whether it came to that.
func (r *rig) crashesAt(
	t *testing.T, nth int, after bool, renew func(context.Context, *provisioning.Device) error,
) (killed bool) {
	r.issues(certLife)
	stop := r.run(r.issuingDevice())
	r.await(0, time.Minute)
	stop()
	r.reset()

	s := &siege{rig: r, acked: map[string]bool{}}
	dev := s.device()
	ctx, cancel := context.WithCancel(t.Context())
	left := &atomic.Int64{}
	left.Store(1 << 40)
	dev.Store = deadlyStore{
		WaitStore: dev.Store.(cache.WaitStore), s: s, left: left, after: after,
		kill: func() {
			s.dead.Store(true)
			cancel()
		},
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = dev.Run(ctx, r.session) }()
	r.await(0, time.Minute)
	left.Store(int64(nth))
	_ = renew(ctx, dev)
	time.Sleep(time.Minute)
	killed = s.dead.Load()
	s.dead.Store(true)
	cancel()
	<-ended

	r.network.SetFault(r.dps.Endpoint(), simnet.Refused)
	r.reset()
	dev = r.issuingDevice()
	stop = r.run(dev)
	r.await(0, time.Minute)
	assert.Equal(t, 1, len(r.a.Attempts()), "operation %d: by the first credential", nth)
	assert.Zero(t, r.asked(dpstest.Register))
	assert.Contains(t, []provisioning.CredentialKind{
		provisioning.CredentialIssued, provisioning.CredentialEarlier,
	}, dev.Status().Credential)
	stop()
	return killed
}
