// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Stores that hang or fail, and what is stored when.

// stuckStore hangs in the operations named, whatever their context, until it is released.
type stuckStore struct {
	cache.Store
	hangs    map[string]bool
	released chan struct{}

	mu            sync.Mutex
	inside, worst int // calls that have not returned: now, and at most
	deadlines     int // calls with a deadline
	puts          int // that have returned
}

func hanging(store cache.Store, operations ...string) *stuckStore {
	s := &stuckStore{Store: store, hangs: map[string]bool{}, released: make(chan struct{})}
	for _, o := range operations {
		s.hangs[o] = true
	}
	return s
}

func (s *stuckStore) enter(ctx context.Context, operation string) (leave func()) {
	s.mu.Lock()
	s.inside++
	s.worst = max(s.worst, s.inside)
	if _, ok := ctx.Deadline(); ok {
		s.deadlines++
	}
	s.mu.Unlock()
	if s.hangs[operation] {
		<-s.released
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.inside--
		if operation == "put" {
			s.puts++
		}
	}
}

func (s *stuckStore) Get(ctx context.Context, key string) ([]byte, error) {
	defer s.enter(ctx, "get")()
	return s.Store.Get(ctx, key)
}

func (s *stuckStore) Put(ctx context.Context, key string, data []byte) error {
	defer s.enter(ctx, "put")()
	return s.Store.Put(context.WithoutCancel(ctx), key, data)
}

func (s *stuckStore) Delete(ctx context.Context, key string) error {
	defer s.enter(ctx, "delete")()
	return s.Store.Delete(ctx, key)
}

func TestAStoreThatHangsIsOneThatFails(t *testing.T) {
	for _, operations := range [][]string{{"get"}, {"put"}, {"get", "put", "delete"}} {
		t.Run(strings.Join(operations, " "), func(t *testing.T) {
			each(t, hubWirings, func(t *testing.T, r *rig) {
				if operations[0] == "get" {
					r.boot()
				}
				store := hanging(r.store, operations...)
				r.store = store
				var failures []error
				dev := r.device()
				dev.Trace = &provisioning.Trace{
					StoreFailed: func(f provisioning.StoreFailure) {
						failures = append(failures, f.Err)
					},
				}
				stop := r.run(dev)
				r.await(0, 20*time.Second)
				r.a.Disconnect(rigID)
				r.await(1, time.Minute)
				before := time.Now()
				stop()
				require.Less(t, time.Since(before), 12*time.Second)
				store.mu.Lock()
				inside, worst, deadlines := store.inside, store.worst, store.deadlines
				store.mu.Unlock()
				require.Equal(t, 1, inside, "the call that hangs, and no other after it")
				require.Equal(t, 1, worst)
				require.Positive(t, deadlines)
				require.ErrorContains(t, failures[0], "10 s")
				for _, later := range failures[1:] {
					require.ErrorContains(t, later, "has not returned from an earlier call")
				}
				require.Equal(t, len(failures), dev.Status().StoreFailures)
				close(store.released)
			})
		})
	}
}

func TestForgetAndRememberedOfAStoreThatHangsFailInTime(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		store := hanging(r.store, "delete")
		r.store = store
		dev := r.device()
		stop := r.run(dev)
		r.await(0, time.Minute)
		before := time.Now()
		require.ErrorContains(t, dev.Forget(context.Background()), "10 s")
		require.Less(t, time.Since(before), 12*time.Second)
		before = time.Now()
		require.ErrorContains(t, dev.Forget(context.Background()), "earlier call")
		_, err := dev.Remembered(context.Background())
		require.ErrorContains(t, err, "earlier call")
		require.Zero(t, time.Since(before))
		require.True(t, r.a.Connected(rigID))
		stop()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		fresh := r.device()
		require.Error(t, fresh.Forget(ctx))
		require.Less(t, time.Since(before), 3*time.Second, "ctx ends it too")
		close(store.released)
		time.Sleep(rigStep)
		require.NoError(t, dev.Forget(context.Background()), "it has returned meanwhile")
		_, err = dev.Remembered(context.Background())
		require.NoError(t, err)
	})
}

// runUntilItStores returns while what DPS has said is being stored.
func (r *rig) runUntilItStores(dev *provisioning.Device) (stop func()) {
	dev.Store = &slowStore{Store: r.store, put: 5 * time.Second}
	assigned := make(chan struct{}, 1)
	dev.Trace = &provisioning.Trace{Assigned: func(dps.Assignment, bool) { assigned <- struct{}{} }}
	stop = r.run(dev)
	<-assigned
	time.Sleep(time.Second)
	return stop
}

func TestWhoReadsTheStoreWaitsForWhoWrites(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		dev := r.device()
		stop := r.runUntilItStores(dev)
		got, err := dev.Remembered(context.Background())
		require.NoError(t, err)
		require.NotNil(t, got.Candidate)
		stop()
		require.Zero(t, dev.Status().StoreFailures)
	})
}

func TestRunThatEndsLetsAPutFinish(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		dev := r.device()
		stop := r.runUntilItStores(dev)
		stop()
		require.Zero(t, dev.Status().StoreFailures)
		got, err := r.device().Remembered(context.Background())
		require.NoError(t, err)
		require.NotNil(t, got.Candidate)
	})
}

// fullDisk has room again after so many Puts.
type fullDisk struct {
	cache.Store

	mu     sync.Mutex
	fails  int
	stored int
}

func (s *fullDisk) Put(ctx context.Context, key string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails > 0 {
		s.fails--
		return errors.New("no space left on device")
	}
	s.stored++
	return s.Store.Put(ctx, key, data)
}

func (s *fullDisk) puts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored
}

func (r *rig) remembersConfirmed(hub string) {
	r.t.Helper()
	got, err := r.device().Remembered(context.Background())
	require.NoError(r.t, err)
	require.NotNil(r.t, got.Confirmed)
	require.Equal(r.t, hub, got.Confirmed.Hub)
}

func TestWhatCouldNotBeStoredIsStoredAtTheNextConnection(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		disk := &fullDisk{Store: r.store, fails: 3} // candidate, confirmation, a connection
		r.store = disk
		dev := r.device()
		stop := r.run(dev)
		for n := range 2 {
			r.await(n, time.Minute)
			require.Zero(t, disk.puts())
			r.a.Disconnect(rigID)
		}
		for n := 2; n < 5; n++ {
			r.await(n, 10*time.Minute)
			require.Equal(t, 1, disk.puts(), "and once is enough")
			r.remembersConfirmed(hubA)
			r.a.Disconnect(rigID)
		}
		stop()
		require.Equal(t, 1, disk.puts())
		require.Equal(t, 3, dev.Status().StoreFailures)
		r.reset()
		stop = r.run(r.device())
		r.await(0, time.Minute)
		stop()
		require.Zero(t, r.asked())
		require.Equal(t, 1, disk.puts())
	})
}

func TestWhatCouldNotBeStoredIsStoredAtTheEndOfACall(t *testing.T) {
	background := context.Background()
	calls := map[string]func(r *rig, dev *provisioning.Device){
		"run": func(r *rig, dev *provisioning.Device) {
			stop := r.run(dev)
			r.await(0, time.Minute)
			stop()
		},
		"connect": func(r *rig, dev *provisioning.Device) {
			conn, err := dev.Connect(background)
			require.NoError(r.t, err)
			require.NoError(r.t, conn.Close())
		},
		"send": func(r *rig, dev *provisioning.Device) {
			require.NoError(r.t, dev.Send(background, hubconn.Message{Body: []byte("x")}))
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{}}, func(t *testing.T, r *rig) {
				disk := &fullDisk{Store: r.store, fails: 2} // candidate and confirmation
				r.store = disk
				call(r, r.device())
				require.Equal(t, 1, disk.puts())
				r.remembersConfirmed(hubA)
			})
		})
	}
	t.Run("reprovision", func(t *testing.T) {
		each(t, dpsWirings, func(t *testing.T, r *rig) {
			r.store = &fullDisk{Store: r.store, fails: 1}
			_, err := r.device().Reprovision(background, "test")
			require.NoError(t, err)
			got, err := r.device().Remembered(background)
			require.NoError(t, err)
			require.Equal(t, hubA, got.Candidate.Hub)
		})
	})
}

func TestADeviceKilledBeforeItCouldStoreStillHasWhatItHad(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		disk := &fullDisk{Store: r.store, fails: 1 << 30}
		r.store = disk
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		stop := r.run(r.device())
		require.Equal(t, hubB, r.await(0, time.Minute).hub)
		r.remembersConfirmed(hubA) // what a device that is switched on now finds
		stop()
		r.remembersConfirmed(hubA)
	})
}

// killedAtPut keeps what a process leaves behind that is killed just before its first Put, or just
// after it.
type killedAtPut struct {
	cache.WaitStore
	before, after cache.Memory
	once          sync.Once
}

func (s *killedAtPut) Put(ctx context.Context, key string, data []byte) error {
	s.once.Do(func() {
		waits, _, _ := s.GetWaits(ctx, key) // without any, both have none
		_ = s.before.PutWaits(ctx, key, waits)
		_ = s.after.PutWaits(ctx, key, waits)
		_ = s.after.Put(ctx, key, data)
	})
	return s.WaitStore.Put(ctx, key, data)
}

func TestADeviceKilledWhileItStoresItsFirstAssignmentPollsTheSameOperation(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		store := &killedAtPut{WaitStore: &cache.Memory{}}
		r.store = store
		stop := r.run(r.device())
		r.await(0, time.Minute)
		stop()
		r.reset()
		r.store = &store.before
		stop = r.run(r.device())
		require.Equal(t, hubA, r.await(0, time.Minute).hub)
		stop()
		require.Zero(t, r.asked(dpstest.Register))
		require.Equal(t, 1, r.asked(dpstest.Poll))
	})
}

func TestADeviceKilledAsItHasStoredItsFirstAssignmentKnowsThatItsHubMayLag(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		store := &killedAtPut{WaitStore: &cache.Memory{}}
		r.store = store
		stop := r.run(r.device())
		r.await(0, time.Minute)
		stop()
		r.reset()
		r.store = &store.after
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: rules.LagRetries})
		stop = r.run(r.device())
		require.Equal(t, hubA, r.await(0, time.Minute).hub)
		stop()
		require.Zero(t, r.asked())
	})
}

func TestForgetLeavesNothingToBeStoredLater(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		disk := &fullDisk{Store: r.store, fails: 2}
		r.store = disk
		dev := r.device()
		stop := r.run(dev)
		r.await(0, time.Minute)
		require.NoError(t, dev.Forget(context.Background()))
		stop()
		require.Zero(t, disk.puts())
	})
}

func TestAPutThatReturnsLateIsMadeAgain(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		store := hanging(r.store, "put")
		r.store = store
		dev := r.device()
		stop := r.run(dev)
		r.await(0, 30*time.Second)
		close(store.released)
		time.Sleep(rigStep)
		r.a.Disconnect(rigID)
		r.await(1, time.Minute)
		r.remembersConfirmed(hubA)
		stop()
	})
}
