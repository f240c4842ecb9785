// SPDX-License-Identifier: Apache-2.0

package cache_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
)

// These run on every system: there is no runtime directory, and the age may be
// unknown.

func waitsOf(t *testing.T, d cache.Dir, key string) string {
	t.Helper()
	data, _, err := d.GetWaits(t.Context(), key)
	if errors.Is(err, cache.ErrMiss) {
		return "(none)"
	}
	require.NoError(t, err)
	return string(data)
}

func TestWaitsBesideTheEntryMakeTheDirectoryAndOneFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	d := cache.Dir(dir)
	require.NoError(t, d.PutWaits(t.Context(), "key", nil))
	assert.Equal(t, "(none)", waitsOf(t, d, "key"))
	assert.NoDirExists(t, dir, "nothing to keep makes no directory")

	require.NoError(t, d.PutWaits(t.Context(), "key", []byte("until ten")))
	assert.Equal(t, []string{"key=waits"}, names(t, dir))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	}
	require.NoError(t, d.Put(t.Context(), "key", []byte("value")))
	assert.Equal(t, []string{"key", "key=waits"}, names(t, dir))
	require.NoError(t, d.Delete(t.Context(), "key"))
	assert.Equal(t, "until ten", waitsOf(t, d, "key"))
	require.NoError(t, d.PutWaits(t.Context(), "key", nil))
	assert.Empty(t, names(t, dir))
}

func TestNoEntryHasTheFileOfWaits(t *testing.T) {
	dir := t.TempDir()
	d := cache.Dir(dir)
	require.NoError(t, d.PutWaits(t.Context(), "key", []byte("until ten")))
	for _, key := range []string{"key=waits", "key%3dwaits", "key", "=waits"} {
		require.NoError(t, d.Put(t.Context(), key, []byte("value")))
	}
	assert.Equal(t, "until ten", waitsOf(t, d, "key"))
	assert.Len(t, names(t, dir), 5)
}

func TestDamagedWaitsAreAMissAndAreReplaced(t *testing.T) {
	dir := t.TempDir()
	d, file := cache.Dir(dir), filepath.Join(dir, "key=waits")
	require.NoError(t, d.PutWaits(t.Context(), "key", []byte("until ten")))
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	for name, content := range map[string][]byte{
		"empty": {}, "torn": whole[:len(whole)-3], "zeros": make([]byte, len(whole)),
		"foreign":   []byte("not a file of ours"),
		"newer":     bytes.Replace(whole, []byte{1}, []byte{2}, 1),
		"too large": bytes.Repeat([]byte("x"), cache.MaxSize+1000),
	} {
		require.NoError(t, os.WriteFile(file, content, 0o600))
		assert.Equal(t, "(none)", waitsOf(t, d, "key"), name)
		require.NoError(t, d.PutWaits(t.Context(), "key", []byte("until ten")), name)
		assert.Equal(t, "until ten", waitsOf(t, d, "key"), name)
		require.NoError(t, os.WriteFile(file, content, 0o600))
		require.NoError(t, d.PutWaits(t.Context(), "key", nil), name)
		assert.Empty(t, names(t, dir), name)
	}
}

func TestPlantedLinkInPlaceOfWaitsIsNeitherReadNorWrittenThrough(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	d := cache.Dir(dir)
	require.NoError(t, cache.Dir(elsewhere).PutWaits(t.Context(), "key", []byte("planted")))
	victim := filepath.Join(elsewhere, "key=waits")
	whole, err := os.ReadFile(victim)
	require.NoError(t, err)
	for _, target := range []string{victim, filepath.Join(elsewhere, "absent")} {
		link := filepath.Join(dir, "key=waits")
		if err := os.Symlink(target, link); err != nil {
			t.Skip(err)
		}
		assert.Equal(t, "(none)", waitsOf(t, d, "key"))
		require.NoError(t, d.PutWaits(t.Context(), "key", []byte("mine")))
		assert.Equal(t, "mine", waitsOf(t, d, "key"))
		require.NoError(t, os.Remove(link))
		require.NoError(t, os.Symlink(target, link))
		require.NoError(t, d.PutWaits(t.Context(), "key", nil))
		assert.Empty(t, names(t, dir))
	}
	assert.Equal(t, []string{"key=waits"}, names(t, elsewhere))
	kept, err := os.ReadFile(victim)
	require.NoError(t, err)
	assert.Equal(t, whole, kept)
}

func TestDirectoryInPlaceOfWaits(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "key=waits", "full"), 0o700))
	d := cache.Dir(dir)
	assert.Equal(t, "(none)", waitsOf(t, d, "key"))
	oneLine(t, d.PutWaits(t.Context(), "key", []byte("until ten")), dir, "rename")
	oneLine(t, d.PutWaits(t.Context(), "key", nil), dir, "remove")
	assert.Equal(t, []string{"key=waits"}, names(t, dir))
}

func TestWaitsInADirectoryThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	_, _, err := cache.Dir(file).GetWaits(t.Context(), "key")
	oneLine(t, err, file, "is a file: remove it or name another directory")
	for _, data := range []string{"until ten", ""} {
		oneLine(
			t, cache.Dir(file).PutWaits(t.Context(), "key", []byte(data)), file,
			"is a file: remove it or name another directory",
		)
	}

	below := filepath.Join(t.TempDir(), "mnt", "store")
	assert.Equal(t, "(none)", waitsOf(t, cache.Dir(below), "key"))
	oneLine(
		t, cache.Dir(below).PutWaits(t.Context(), "key", []byte("until ten")), below,
		"does not exist: make or mount that first",
	)

	var unnamed cache.Dir
	assert.EqualError(
		t, unnamed.PutWaits(t.Context(), "key", nil), "store directory is empty: name one",
	)
	_, _, err = unnamed.GetWaits(t.Context(), "key")
	assert.EqualError(t, err, "store directory is empty: name one")
}

func TestWaitsInAnUnwritableDirectory(t *testing.T) {
	if runtime.GOOS == "windows" || os.Getuid() == 0 {
		t.Skip("permissions do not bind this user")
	}
	dir := t.TempDir()
	d := cache.Dir(dir)
	require.NoError(t, d.PutWaits(t.Context(), "key", []byte("old")))
	require.NoError(t, os.Chmod(dir, 0o500))
	t.Cleanup(func() { os.Chmod(dir, 0o700) })
	for _, data := range []string{"new", ""} {
		oneLine(
			t, d.PutWaits(t.Context(), "key", []byte(data)), dir, "is not accessible to user",
			"change its owner or permissions",
		)
	}
	require.NoError(t, d.PutWaits(t.Context(), "other", nil), "there is nothing to remove")
	assert.Equal(t, "old", waitsOf(t, d, "key"))

	require.NoError(t, os.Chmod(dir, 0))
	_, _, err := d.GetWaits(t.Context(), "key")
	oneLine(t, err, dir, "is not accessible to user", "get waits")
}

func TestWaitsAtTheLimitAndBeyond(t *testing.T) {
	dir := t.TempDir()
	d := cache.Dir(dir)
	value := bytes.Repeat([]byte("x"), cache.MaxSize)
	require.NoError(t, d.PutWaits(t.Context(), "key", value))
	oneLine(
		t, d.PutWaits(t.Context(), "key", append(value, 'x')), dir,
		"a value of 1048577 bytes is over the limit of 1048576",
	)
	assert.Len(t, waitsOf(t, d, "key"), cache.MaxSize)
}
