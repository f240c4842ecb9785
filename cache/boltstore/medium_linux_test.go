// SPDX-License-Identifier: Apache-2.0

package boltstore_test

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/boltstore"
	"github.com/rehome-iot/rehome/internal/smalldisk"
)

func TestAReadOnlyFileSystemIsReadAndToldOf(t *testing.T) {
	dir, ok := smalldisk.Mounted(t, "1m")
	if !ok {
		return
	}
	file := filepath.Join(dir, "store.db")
	s := &boltstore.Store{Path: file}
	put(t, s, "sensor", "hub-a")
	require.NoError(t, s.Close())
	smalldisk.Remount(t, dir, syscall.MS_RDONLY, "")

	s = &boltstore.Store{Path: file}
	require.NoError(t, s.Open())
	holds(t, s, "sensor", "hub-a")
	for range 2 {
		e := oneLine(t, s.Put(t.Context(), "sensor", []byte("hub-b")), file,
			"is on a read-only file system: remount it writable")
		assert.Equal(t, "put", e.Op)
		assert.ErrorIs(t, e, syscall.EROFS)
		holds(t, s, "sensor", "hub-a")
	}
	smalldisk.Remount(t, dir, 0, "")
	require.NoError(t, s.Open(), "it is tried again")
	put(t, s, "sensor", "hub-b")
	holds(t, s, "sensor", "hub-b")
	require.NoError(t, s.Close())
}

func TestAFullDiskLosesNothingAndIsToldOf(t *testing.T) {
	dir, ok := smalldisk.Mounted(t, "256k")
	if !ok {
		return
	}
	file := filepath.Join(dir, "store.db")
	s := open(t, file)
	value := make([]byte, 3000)
	stored := 0
	var failed error
	for ; failed == nil; stored++ {
		require.Less(t, stored, 1000)
		failed = s.Put(t.Context(), fmt.Sprint(stored), value)
	}
	stored--
	e := oneLine(t, failed, file, "has no room on its disk: free some space")
	assert.ErrorIs(t, e, syscall.ENOSPC)
	require.Greater(t, stored, 10)
	check := func() {
		for i := range stored {
			holds(t, s, fmt.Sprint(i), string(value))
		}
	}
	check()
	require.NoError(t, s.Close())
	s = open(t, file)
	check()
	smalldisk.Remount(t, dir, 0, "size=4m")
	put(t, s, "more", string(value))
	check()
}
