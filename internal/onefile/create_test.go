// SPDX-License-Identifier: Apache-2.0

package onefile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/onefile"
)

func writes(content string) func(string) error {
	return func(path string) error { return os.WriteFile(path, []byte(content), 0o600) }
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestAFileIsMadeOnceAndWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	path := filepath.Join(dir, "store.db")
	require.NoError(t, onefile.Create(path, func(temporary string) error {
		assert.NoFileExists(t, path, "not before it is whole")
		return writes("first")(temporary)
	}))
	require.NoError(t, onefile.Create(path, writes("second")))
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "first", string(content))
	assert.Equal(t, []string{"store.db"}, names(t, dir))
	if runtime.GOOS != "windows" {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	}
}

// Whatever another process makes meanwhile stays: it may be in use already.
func TestWhatAnotherProcessHasMadeIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	require.NoError(t, onefile.Create(path, func(temporary string) error {
		require.NoError(t, writes("another's")(path))
		return writes("ours")(temporary)
	}))
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "another's", string(content))
	assert.Equal(t, []string{"store.db"}, names(t, filepath.Dir(path)))
}

func TestAFileThatCannotBeMadeLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	failed := errors.New("no room")
	require.Equal(t, failed, onefile.Create(path, func(string) error { return failed }))
	assert.Empty(t, names(t, filepath.Dir(path)))
	err := onefile.Create(filepath.Join(filepath.Dir(path), "a", "b", "store.db"), writes(""))
	assert.ErrorIs(t, err, fs.ErrNotExist, "only the innermost directory is made")
}

func TestWhatIsWrongIsToldWithTheFix(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	require.NoError(t, writes("")(filepath.Join(dir, "file")))
	for want, c := range map[string]struct {
		path string
		err  error
	}{
		"store file " + dir + " is a directory: name a file in it": {dir, syscall.EISDIR},
		"store file " + path + " is on a read-only file system: " +
			"remount it writable or name another file": {path, syscall.EROFS},
		"store file " + path + " has no room on its disk: free some space (" +
			syscall.ENOSPC.Error() + ")": {
			path, &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC},
		},
		"store file " + filepath.Join(dir, "file", "store.db") +
			" cannot exist, part of its path is a file: name another file": {
			filepath.Join(dir, "file", "store.db"), syscall.ENOTDIR,
		},
		"store file " + filepath.Join(dir, "a", "b", "store.db") + " cannot be made, " +
			filepath.Join(dir, "a") + " does not exist: make or mount that first": {
			filepath.Join(dir, "a", "b", "store.db"), fs.ErrNotExist,
		},
		"": {path, errors.New("something else")},
	} {
		assert.Equal(t, want, onefile.Explain("store file", c.path, c.err))
	}
	assert.Contains(
		t, onefile.Explain("store file", path, fs.ErrPermission),
		"change the owner or permissions of it and of its directory",
	)
	assert.True(t, onefile.IsSystem(&fs.PathError{Err: syscall.EIO}))
	assert.False(t, onefile.IsSystem(errors.New("invalid database")))
}

func TestAPanicOverAFileIsDamage(t *testing.T) {
	damage, err := onefile.Guard(func() error { panic("page 7 already freed") })
	require.ErrorIs(t, damage, onefile.ErrDamaged)
	assert.EqualError(t, damage, "damaged (page 7 already freed)")
	require.NoError(t, err)
	damage, err = onefile.Guard(func() error { return fs.ErrClosed })
	require.NoError(t, damage)
	assert.Equal(t, fs.ErrClosed, err)
}
