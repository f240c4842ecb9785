// SPDX-License-Identifier: Apache-2.0

package cache_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
)

func TestAgeOfWaitsInMemoryIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m cache.Memory
		require.NoError(t, m.PutWaits(t.Context(), "key", []byte("until ten")))
		for _, want := range []time.Duration{0, time.Second, 72 * time.Hour} {
			time.Sleep(want)
			data, age, err := m.GetWaits(t.Context(), "key")
			require.NoError(t, err)
			assert.Equal(t, "until ten", string(data))
			assert.Equal(t, want, age)
			require.NoError(t, m.PutWaits(t.Context(), "key", []byte("until ten")))
		}
	})
}

func TestWaitsInMemoryHaveTheSameLimit(t *testing.T) {
	var m cache.Memory
	value := bytes.Repeat([]byte("x"), cache.MaxSize)
	require.NoError(t, m.PutWaits(t.Context(), "key", value))
	assert.EqualError(
		t, m.PutWaits(t.Context(), "key", append(value, 'x')),
		`store: put waits "key": a value of 1048577 bytes is over the limit of 1048576`,
	)
	got, _, err := m.GetWaits(t.Context(), "key")
	require.NoError(t, err)
	assert.Len(t, got, cache.MaxSize)
}
