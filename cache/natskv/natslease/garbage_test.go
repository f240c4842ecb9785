// SPDX-License-Identifier: Apache-2.0

package natslease_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/natskv/internal/natstest"
	"github.com/rehome-iot/rehome/cache/natskv/natslease"
	"github.com/rehome-iot/rehome/internal/programtest"
)

func TestWhatNoReplicaWroteIsOneLineOfTheLog(t *testing.T) {
	nc := natstest.Alone(t)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	log := new(programtest.Output)
	a, err := natslease.Join(t.Context(), natslease.Config{
		Conn: nc, Name: "a", Duration: term, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	require.NoError(t, err)
	defer a.Close(context.Background())
	held, err := a.Acquire(t.Context(), "held")
	require.NoError(t, err)
	kv, err := js.KeyValue(t.Context(), natslease.DefaultBucket)
	require.NoError(t, err)
	garbage := map[string]string{
		"m.b":          "not JSON",
		"m.c":          `{"replica":"d","session":"1","leaseMillis":2000}`,
		"m.e":          `{"replica":"e","session":"1","leaseMillis":-1}`,
		"m.f":          "",
		"i.sensor-1":   "\x00\xff",
		"i.sensor-2":   `{"identity":"another","replica":"x","session":"y"}`,
		"i.sensor-3":   `{"identity":"sensor-3","session":"of nobody"}`,
		"i.sensor-4.x": `{}`,
		"foreign":      "value",
		"i.sensor-5":   strings.Repeat("x", 70_000),
	}
	for key, value := range garbage {
		_, err := kv.Put(t.Context(), key, []byte(value))
		require.NoError(t, err)
	}
	for key := range garbage {
		until(t, func() bool { return strings.Count(log.String(), "key="+key+" ") > 0 }, key)
	}
	fence := held.Fence()
	takenAnew := func() bool { return held.Fence() > fence && held.Held() == nil }
	_, err = kv.Put(t.Context(), "i.held", []byte("overwritten"))
	require.NoError(t, err)
	for _, identity := range []string{"sensor-1", "sensor-2", "sensor-3", "sensor-5"} {
		l, err := a.Acquire(t.Context(), identity)
		require.NoError(t, err, identity)
		assert.NoError(t, l.Held())
	}
	until(t, takenAnew, "it is taken anew")
	place{Replica: a}.sees(t, "a")
	fence = held.Fence()
	require.NoError(t, kv.Delete(t.Context(), "i.held"))
	until(t, takenAnew, "and again")

	fence = held.Fence()
	_, err = kv.Put(t.Context(), "m.a", []byte("overwritten too"))
	require.NoError(t, err)
	until(t, func() bool {
		return strings.Count(log.String(), "joins again") == 1
	}, "the replica notices")
	until(t, takenAnew, "and has what it had")
	for key := range garbage {
		assert.Equal(t, 1, strings.Count(log.String(), "key="+key+" "), key)
	}
}

func TestABucketThatHasGoneBackToAnOlderStateIsMadeUpFor(t *testing.T) {
	t.Parallel()
	nc := natstest.Alone(t)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	var all []place
	for _, name := range []string{"a", "b"} {
		r, err := natslease.Join(t.Context(), natslease.Config{
			Conn: nc, Name: name, Duration: term,
		})
		require.NoError(t, err)
		defer r.Close(context.Background())
		all = append(all, place{Replica: r})
	}
	ofA, ofB := acquire(t, all[0], "sensor-1"), acquire(t, all[1], "sensor-2")
	all[0].sees(t, "a", "b")
	require.NoError(t, js.DeleteStream(t.Context(), "KV_"+natslease.DefaultBucket))
	_, err = js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{
		Bucket: natslease.DefaultBucket,
	})
	require.NoError(t, err)
	until(t, func() bool { return ofA.Held() == nil && ofB.Held() == nil }, "both are held")
	all[0].sees(t, "a", "b")
	all[1].sees(t, "a", "b")
	time.Sleep(2 * term)
	assert.NoError(t, ofA.Held())
	assert.NoError(t, ofB.Held())
	_, err = all[0].Acquire(t.Context(), "sensor-2")
	assert.Error(t, err)
}
