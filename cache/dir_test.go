// SPDX-License-Identifier: Apache-2.0

package cache_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// oneLine checks what every error of a Dir has in common.
func oneLine(t *testing.T, err error, dir string, parts ...string) {
	t.Helper()
	require.Error(t, err)
	typed, ok := errors.AsType[*cache.Error](err)
	require.True(t, ok, "%T: %v", err, err)
	assert.Equal(t, dir, typed.Dir)
	assert.NotErrorIs(t, err, cache.ErrMiss)
	assert.NotContains(t, err.Error(), "\n")
	for _, part := range append(parts, "store directory "+dir) {
		assert.ErrorContains(t, err, part)
	}
}

func TestEntriesAndDirectoryAreForTheOwnerOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	dir := filepath.Join(t.TempDir(), "store")
	require.NoError(t, cache.Dir(dir).Put(t.Context(), "key", []byte("value")))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	info, err = os.Stat(filepath.Join(dir, "key"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
}

func TestReadingMakesNoDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	_, err := cache.Dir(dir).Get(t.Context(), "key")
	assert.ErrorIs(t, err, cache.ErrMiss)
	assert.NoError(t, cache.Dir(dir).Delete(t.Context(), "key"))
	assert.NoDirExists(t, dir)
}

func TestDirectoryIsSharedByPath(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, cache.Dir(dir).Put(t.Context(), "key", []byte("value")))
	got, err := cache.Dir(dir+"/./").Get(t.Context(), "key")
	require.NoError(t, err)
	assert.Equal(t, "value", string(got))
}

func TestDirectoryMayBeALink(t *testing.T) {
	real, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(real, link); err != nil {
		t.Skip(err)
	}
	require.NoError(t, cache.Dir(link).Put(t.Context(), "key", []byte("value")))
	assert.Equal(t, []string{"key"}, names(t, real))
}

func TestDirectoryThatIsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	for dir, problem := range map[string]string{
		file:                            "is a file: remove it or name another directory",
		filepath.Join(file, "below"):    "part of its path is a file: name another directory",
		filepath.Join(file, "be", "lo"): "part of its path is a file: name another directory",
	} {
		if runtime.GOOS == "windows" && dir != file {
			continue // Windows calls these absent
		}
		d := cache.Dir(dir)
		oneLine(t, d.Put(t.Context(), "key", []byte("value")), dir, problem)
		_, err := d.Get(t.Context(), "key")
		oneLine(t, err, dir, problem)
		oneLine(t, d.Delete(t.Context(), "key"), dir, problem)
	}
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "mine", string(got))
}

func TestMissingParentIsNotMade(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "mnt")
	for _, dir := range []string{
		filepath.Join(parent, "store"), filepath.Join(parent, "store") + "/",
	} {
		oneLine(
			t, cache.Dir(dir).Put(t.Context(), "key", nil), dir,
			parent+" does not exist: make or mount that first",
		)
		_, err := cache.Dir(dir).Get(t.Context(), "key")
		assert.ErrorIs(t, err, cache.ErrMiss)
	}
	assert.NoDirExists(t, parent)
}

func TestDanglingDirectoryLink(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(t.TempDir(), "absent"), dir); err != nil {
		t.Skip(err)
	}
	oneLine(
		t, cache.Dir(dir).Put(t.Context(), "key", nil), dir,
		"is a link to a place that does not exist",
	)
}

func TestDirectoryWithoutAName(t *testing.T) {
	var d cache.Dir
	assert.EqualError(t, d.Validate(), "store directory is empty: name one")
	assert.NoError(t, cache.Dir("/nowhere").Validate())
	assert.EqualError(t, d.Put(t.Context(), "key", nil), "store directory is empty: name one")
	assert.EqualError(t, d.Delete(t.Context(), "key"), "store directory is empty: name one")
	_, err := d.Get(t.Context(), "key")
	assert.EqualError(t, err, "store directory is empty: name one")
}

func TestUnwritableDirectory(t *testing.T) {
	if runtime.GOOS == "windows" || os.Getuid() == 0 {
		t.Skip("permissions do not bind this user")
	}
	dir := t.TempDir()
	d := cache.Dir(dir)
	require.NoError(t, d.Put(t.Context(), "key", []byte("old")))
	require.NoError(t, os.Chmod(dir, 0o500))
	t.Cleanup(func() { os.Chmod(dir, 0o700) })
	oneLine(
		t, d.Put(t.Context(), "key", []byte("new")), dir, "is not accessible to user",
		"change its owner or permissions",
	)
	oneLine(t, d.Delete(t.Context(), "key"), dir, "is not accessible to user")
	got, err := d.Get(t.Context(), "key")
	require.NoError(t, err)
	assert.Equal(t, "old", string(got))

	require.NoError(t, os.Chmod(dir, 0))
	_, err = d.Get(t.Context(), "key")
	oneLine(t, err, dir, "is not accessible to user")
	below := filepath.Join(dir, "below")
	oneLine(t, cache.Dir(below).Put(t.Context(), "key", nil), below, "is not accessible to user")
}

func TestValueAtTheLimitAndBeyond(t *testing.T) {
	dir := t.TempDir()
	for name, s := range map[string]cache.Store{
		"dir": cache.Dir(dir), "memory": new(cache.Memory),
	} {
		value := bytes.Repeat([]byte("x"), cache.MaxSize)
		require.NoError(t, s.Put(t.Context(), "key", value), name)
		err := s.Put(t.Context(), "key", append(value, 'x'))
		assert.ErrorContains(t, err, "a value of 1048577 bytes is over the limit of 1048576", name)
		got, err := s.Get(t.Context(), "key")
		require.NoError(t, err, name)
		assert.Len(t, got, cache.MaxSize, name)
	}
	require.NoError(t, os.WriteFile(
		filepath.Join(dir, "key"), bytes.Repeat([]byte("x"), cache.MaxSize+1), 0o600,
	))
	_, err := cache.Dir(dir).Get(t.Context(), "key")
	oneLine(t, err, dir, "key is over the limit of 1048576 bytes: remove it")
}

func TestEndlessFileIsNotRead(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "key"))
	require.NoError(t, err)
	require.NoError(t, f.Truncate(1<<40)) // sparse
	require.NoError(t, f.Close())
	_, err = cache.Dir(dir).Get(t.Context(), "key")
	oneLine(t, err, dir, "over the limit")
}

func TestPlantedLinkIsNeitherReadNorWrittenThrough(t *testing.T) {
	for name, link := range map[string]func(oldname, newname string) error{
		"symbolic": os.Symlink, "hard": os.Link,
	} {
		t.Run(name, func(t *testing.T) {
			dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
			require.NoError(t, os.WriteFile(victim, []byte("untouched"), 0o600))
			if err := link(victim, filepath.Join(dir, "key")); err != nil {
				t.Skip(err)
			}
			d := cache.Dir(dir)
			if name == "symbolic" {
				_, err := d.Get(t.Context(), "key")
				oneLine(t, err, dir, "key is not a regular file", "remove it")
			}
			require.NoError(t, d.Put(t.Context(), "key", []byte("value")))
			got, err := d.Get(t.Context(), "key")
			require.NoError(t, err)
			assert.Equal(t, "value", string(got))
			require.NoError(t, d.Delete(t.Context(), "key"))
			kept, err := os.ReadFile(victim)
			require.NoError(t, err)
			assert.Equal(t, "untouched", string(kept))
		})
	}
}

func TestDanglingLinkIsNoMissAndIsNotWrittenThrough(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(t.TempDir(), "absent")
	if err := os.Symlink(victim, filepath.Join(dir, "key")); err != nil {
		t.Skip(err)
	}
	d := cache.Dir(dir)
	_, err := d.Get(t.Context(), "key")
	oneLine(t, err, dir, "key is not a regular file")
	require.NoError(t, d.Put(t.Context(), "key", []byte("value")))
	assert.NoFileExists(t, victim)
}

func TestDirectoryInPlaceOfAnEntry(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "key", "full"), 0o700))
	d := cache.Dir(dir)
	_, err := d.Get(t.Context(), "key")
	oneLine(t, err, dir, "key")
	oneLine(t, d.Put(t.Context(), "key", nil), dir, "rename")
	oneLine(t, d.Delete(t.Context(), "key"), dir, "remove")
	assert.Equal(t, []string{"key"}, names(t, dir))
}

func TestNoKeyLeavesTheDirectory(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "store")
	for _, key := range []string{
		"../up", "..", ".", "/abs", "a/../../b", "\\", "", "C:\\x", "a\x00b",
		strings.Repeat("../", 100),
	} {
		require.NoError(t, cache.Dir(dir).Put(t.Context(), key, []byte(key)), "%q", key)
	}
	assert.Equal(t, []string{"store"}, names(t, parent))
	for _, name := range names(t, dir) {
		assert.NotEqual(t, '.', name[0])
		assert.LessOrEqual(t, len(name), 100)
	}
}

func TestKilledWriterLeavesNothingThatGrows(t *testing.T) {
	dir := t.TempDir()
	d := cache.Dir(dir)
	for range 3 {
		require.NoError(
			t, os.WriteFile(filepath.Join(dir, ".key.tmp0123456789abcdef"), []byte("half"), 0o600),
		)
		require.NoError(t, d.Put(t.Context(), "key", []byte("value")))
		assert.Equal(t, []string{"key"}, names(t, dir))
	}
}
