// SPDX-License-Identifier: Apache-2.0

package boltstore_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/boltstore"
	"github.com/rehome-iot/rehome/cache/cachetest"
)

func open(t *testing.T, path string) *boltstore.Store {
	t.Helper()
	s := &boltstore.Store{Path: path}
	require.NoError(t, s.Open())
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestStoreConforms(t *testing.T) {
	cachetest.Run(t, func(t *testing.T) cache.Store {
		return open(t, filepath.Join(t.TempDir(), "made-by-the-first-call", "store.db"))
	})
}

func TestAStoreThatNobodyHasOpenedConforms(t *testing.T) {
	cachetest.Run(t, func(t *testing.T) cache.Store {
		s := &boltstore.Store{Path: filepath.Join(t.TempDir(), "store.db")}
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	})
}
