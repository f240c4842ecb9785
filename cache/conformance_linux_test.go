// SPDX-License-Identifier: Apache-2.0

package cache_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/cachetest"
)

func TestDirWithARuntimeDirectoryConforms(t *testing.T) {
	runtime := filepath.Join(t.TempDir(), "rehome")
	require.NoError(t, os.Mkdir(runtime, 0o700))
	cache.SetRuntimeDir(t, runtime)
	cachetest.Run(t, func(t *testing.T) cache.Store { return cache.Dir(t.TempDir()) })
	assert.NotEmpty(t, names(t, runtime), "it was used")
}
