// SPDX-License-Identifier: Apache-2.0

package natskv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/cachetest"
	"github.com/rehome-iot/rehome/cache/natskv"
	"github.com/rehome-iot/rehome/cache/natskv/internal/natstest"
)

// conforms gives each test of the suite a bucket of its own.
func conforms(t *testing.T, nc *nats.Conn, replicas int) {
	buckets := 0
	cachetest.Run(t, func(*testing.T) cache.Store {
		buckets++
		return &natskv.Store{
			Conn: nc, Bucket: fmt.Sprint("store-", buckets), Replicas: replicas,
		}
	})
}

func TestStoreConforms(t *testing.T) {
	t.Parallel()
	conforms(t, natstest.Alone(t), 0)
}

func TestStoreOfAClusterOfThreeConforms(t *testing.T) {
	t.Parallel()
	nc := natstest.Start(t, 3).Connect(0)
	whenUp(t, nc, 3)
	conforms(t, nc, 3)
}

// whenUp waits until the servers make buckets.
func whenUp(t *testing.T, nc *nats.Conn, replicas int) {
	t.Helper()
	s := &natskv.Store{Conn: nc, Bucket: "when-up", Replicas: replicas}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		require.NoError(c, s.Put(t.Context(), "key", nil))
	}, 2*time.Minute, 100*time.Millisecond)
}

func TestTwoStoresOfABucketAreOne(t *testing.T) {
	nc := natstest.Alone(t)
	a, b := &natskv.Store{Conn: nc}, &natskv.Store{Conn: nc, Bucket: natskv.DefaultBucket}
	other := &natskv.Store{Conn: nc, Bucket: "other-fleet"}
	require.NoError(t, a.Put(t.Context(), "sensor", []byte("entry")))
	data, err := b.Get(t.Context(), "sensor")
	require.NoError(t, err)
	assert.Equal(t, "entry", string(data))
	_, err = other.Get(t.Context(), "sensor")
	assert.ErrorIs(t, err, cache.ErrMiss)
}

func TestAValueOverTheLimitIsRefusedAndOneOfItIsNot(t *testing.T) {
	s := &natskv.Store{Conn: natstest.Alone(t)}
	large := bytes.Repeat([]byte("x"), cache.MaxSize)
	require.NoError(t, s.Put(t.Context(), "key", large))
	got, err := s.Get(t.Context(), "key")
	require.NoError(t, err)
	assert.True(t, bytes.Equal(large, got))
	err = s.Put(t.Context(), "key", append(large, 'x'))
	e, ok := errors.AsType[*natskv.Error](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, "put", e.Op)
	assert.NotContains(t, err.Error(), "\n")
}

func TestWaitsOfAnotherRunOrMachineAreOfUnknownAge(t *testing.T) {
	nc := natstest.Alone(t)
	s := &natskv.Store{Conn: nc}
	require.NoError(t, s.PutWaits(t.Context(), "sensor", []byte("waits")))
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	kv, err := js.KeyValue(t.Context(), natskv.DefaultBucket)
	require.NoError(t, err)
	e, err := kv.Get(t.Context(), "w.sensor")
	require.NoError(t, err)
	elsewhere := bytes.Clone(e.Value())
	elsewhere[1]++ // the ID of the machine's run
	_, err = kv.Put(t.Context(), "w.sensor", elsewhere)
	require.NoError(t, err)
	data, age, err := s.GetWaits(t.Context(), "sensor")
	require.NoError(t, err)
	assert.Equal(t, "waits", string(data))
	assert.Negative(t, age)
	for _, garbage := range []string{"", "x", strings.Repeat("\xff", 100)} {
		_, err = kv.Put(t.Context(), "w.sensor", []byte(garbage))
		require.NoError(t, err)
		_, _, err = s.GetWaits(t.Context(), "sensor")
		assert.ErrorIs(t, err, cache.ErrMiss, "%q", garbage)
	}
}

func TestACallEndsWhileNATSIsAwayAndSucceedsWhenItIsBack(t *testing.T) {
	t.Parallel()
	servers := natstest.Start(t, 1)
	s := &natskv.Store{Conn: servers.Connect(0)}
	whenUp(t, s.Conn, 1)
	require.NoError(t, s.Put(t.Context(), "sensor", []byte("entry")))
	servers.Down(0)
	cause := errors.New("the device does not wait")
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
	defer cancel()
	began := time.Now()
	_, err := s.Get(ctx, "sensor")
	require.Error(t, err)
	require.NotErrorIs(t, err, cache.ErrMiss)
	require.Error(t, s.Put(ctx, "sensor", []byte("other")))
	assert.Less(t, time.Since(began), 20*time.Second)
	servers.Up(0)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		data, err := s.Get(t.Context(), "sensor")
		require.NoError(c, err)
		require.Equal(c, "entry", string(data))
	}, 2*time.Minute, 100*time.Millisecond)
}

func TestABucketThatForgetsIsRefused(t *testing.T) {
	nc := natstest.Alone(t)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{
		Bucket: "forgets", TTL: time.Hour,
	})
	require.NoError(t, err)
	err = (&natskv.Store{Conn: nc, Bucket: "forgets"}).Put(t.Context(), "sensor", nil)
	assert.ErrorContains(t, err, "time to live")
	_, err = js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "made-before"})
	require.NoError(t, err)
	s := &natskv.Store{Conn: nc, Bucket: "made-before"}
	require.NoError(t, s.Put(t.Context(), "sensor", []byte("entry")))
	stream, err := js.Stream(t.Context(), "KV_made-before")
	require.NoError(t, err)
	assert.False(t, stream.CachedInfo().Config.AllowDirect, "followers may lag behind")
}

func TestAStoreWithoutAConnectionSaysSo(t *testing.T) {
	err := new(natskv.Store).Put(t.Context(), "sensor", nil)
	assert.ErrorContains(t, err, "set Conn")
}
