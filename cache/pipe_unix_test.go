// SPDX-License-Identifier: Apache-2.0

//go:build unix

package cache_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
)

// Opening a named pipe waits for its writer, who may never come.
func TestPlantedPipeDoesNotBlock(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "key"), 0o600); err != nil {
		t.Skip(err)
	}
	d := cache.Dir(dir)
	_, err := d.Get(t.Context(), "key")
	oneLine(t, err, dir, "key is not a regular file", "remove it")
	require.NoError(t, d.Put(t.Context(), "key", []byte("value")))
	_, err = d.Get(t.Context(), "key")
	require.NoError(t, err)
}
