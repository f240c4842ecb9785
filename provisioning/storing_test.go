package provisioning_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
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
					StoreFailed: func(err error) { failures = append(failures, err) },
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
