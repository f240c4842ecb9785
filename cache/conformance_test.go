// SPDX-License-Identifier: Apache-2.0

package cache_test

import (
	"path/filepath"
	"testing"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/cachetest"
)

// Of a store that is none the suite would skip the tests of waits.
var (
	_ cache.WaitStore = cache.Dir("")
	_ cache.WaitStore = (*cache.Memory)(nil)
)

func TestDirConforms(t *testing.T) {
	cachetest.Run(t, func(t *testing.T) cache.Store {
		return cache.Dir(filepath.Join(t.TempDir(), "made-by-the-first-put"))
	})
}

func TestDirThatExistsConforms(t *testing.T) {
	cachetest.Run(t, func(t *testing.T) cache.Store {
		return cache.Dir(t.TempDir() + string(filepath.Separator))
	})
}

func TestMemoryConforms(t *testing.T) {
	cachetest.Run(t, func(*testing.T) cache.Store { return new(cache.Memory) })
}
