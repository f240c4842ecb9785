// SPDX-License-Identifier: Apache-2.0

package boltstore_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/boltstore"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
)

func path(t *testing.T) string { return filepath.Join(t.TempDir(), "store.db") }

func put(t *testing.T, s cache.Store, key, value string) {
	t.Helper()
	require.NoError(t, s.Put(t.Context(), key, []byte(value)))
}

func holds(t *testing.T, s cache.Store, key, value string) {
	t.Helper()
	data, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	assert.Equal(t, value, string(data))
}

func TestWhatWasPutIsThereAfterTheFileIsOpenedAgain(t *testing.T) {
	file := path(t)
	s := open(t, file)
	long := strings.Repeat("k", 5000)
	put(t, s, "sensor", "hub-a")
	put(t, s, long, "")
	put(t, s, "gone", "x")
	require.NoError(t, s.Delete(t.Context(), "gone"))
	require.NoError(t, s.PutWaits(t.Context(), "sensor", []byte("until ten")))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "idempotent")

	s = open(t, file)
	holds(t, s, "sensor", "hub-a")
	holds(t, s, long, "")
	_, err := s.Get(t.Context(), "gone")
	require.ErrorIs(t, err, cache.ErrMiss)
	waits, _, err := s.GetWaits(t.Context(), "sensor")
	require.NoError(t, err)
	assert.Equal(t, "until ten", string(waits))
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	names, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".*"))
	require.NoError(t, err)
	assert.Empty(t, names, "the temporary file is gone")
}

func TestAStoreThatIsClosedSaysSo(t *testing.T) {
	s := open(t, path(t))
	require.NoError(t, s.Close())
	_, err := s.Get(t.Context(), "sensor")
	assert.ErrorContains(t, err, `get "sensor": the store has been closed`)
	assert.ErrorContains(t, s.Put(t.Context(), "sensor", nil), "the store has been closed")
	assert.ErrorContains(t, s.Open(), "the store has been closed")
}

// The file's own count of its transactions says how many commits there were: each is two fsyncs.
func commits(t *testing.T, file string) (n int) {
	t.Helper()
	db, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true, Timeout: 10 * time.Second})
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.View(func(tx *bolt.Tx) error { n = tx.ID(); return nil }))
	return n
}

// As while another commit is under way.
func TestAThousandDevicesAtOnceShareOneCommit(t *testing.T) {
	file := path(t)
	s := &boltstore.Store{Path: file}
	put(t, s, "first", "makes the bucket")
	require.NoError(t, s.Close())
	before := commits(t, file)
	s = &boltstore.Store{Path: file}
	require.NoError(t, s.Open())
	release := s.HoldCommits()
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			key := fmt.Sprintf("sensor-%04d", i)
			assert.NoError(t, s.Put(t.Context(), key, bytes.Repeat([]byte{byte(i)}, 400)))
		})
	}
	for s.Waiting() < 1000 {
		time.Sleep(time.Millisecond)
	}
	release()
	all.Wait()
	for i := range 1000 {
		holds(t, s, fmt.Sprintf("sensor-%04d", i), strings.Repeat(string([]byte{byte(i)}), 400))
	}
	require.NoError(t, s.Close())
	assert.Equal(t, before+1, commits(t, file))
}

func TestWhatChangesNothingAndWhatWaitsIsNotCommitted(t *testing.T) {
	file := path(t)
	s := open(t, file)
	put(t, s, "sensor", "hub-a")
	require.NoError(t, s.Close())
	before := commits(t, file)

	s = open(t, file)
	put(t, s, "sensor", "hub-a")
	require.NoError(t, s.Delete(t.Context(), "absent"))
	for i := range 100 {
		require.NoError(t, s.PutWaits(t.Context(), "sensor", []byte(fmt.Sprint("until ", i))))
	}
	require.NoError(t, s.Close())
	assert.Equal(t, before, commits(t, file))

	s = open(t, file)
	put(t, s, "sensor", "hub-b")
	require.NoError(t, s.Close())
	assert.Equal(t, before+1, commits(t, file))
}

func TestDevicesStartFromTheFileWithoutDPS(t *testing.T) {
	file := path(t)
	sim := devicetest.Start(t)
	run := func() {
		s := &boltstore.Store{Path: file}
		require.NoError(t, s.Open())
		defer s.Close()
		var all sync.WaitGroup
		for i := range 10 {
			dev := sim.Enroll(fmt.Sprintf("sensor-%d", i))
			dev.Store = s
			all.Go(func() {
				assert.NoError(t, dev.Run(t.Context(), func(
					ctx context.Context, hub *hubconn.Conn,
				) error {
					return hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
				}))
			})
		}
		all.Wait()
	}
	run()
	registered := sim.DPS.Count()
	assert.GreaterOrEqual(t, registered, 10)
	run()
	assert.Equal(t, registered, sim.DPS.Count(), "the second start asks DPS nothing")
	assert.Len(t, sim.Hub.Messages(), 20)
}

func TestAValueThatIsTooLargeIsRefused(t *testing.T) {
	s := open(t, path(t))
	require.NoError(t, s.Put(t.Context(), "key", make([]byte, cache.MaxSize)))
	err := s.Put(t.Context(), "key", make([]byte, cache.MaxSize+1))
	assert.ErrorContains(t, err, "a value of 1048577 bytes is over the limit of 1048576")
}
