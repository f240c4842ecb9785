// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/atomicfile"
)

func TestMediumThatRefusesWaitsIsExplained(t *testing.T) {
	d, runtime := rig(t)
	putWaits(t, d, "key", "in memory")
	require.NoError(t, d.Put(t.Context(), "key", []byte("value")))
	SetRuntimeDir(t, "")
	putWaits(t, d, "key", "on the medium")
	replaceWith[atomicfile.FS](t, &atomicfile.OS, &recorder{
		FS: atomicfile.OS, full: filepath.Dir(string(d)), err: syscall.EROFS, removals: true,
	})
	for _, data := range []string{"new", ""} {
		err := d.PutWaits(t.Context(), "key", []byte(data))
		assert.EqualError(
			t, err, "store directory "+string(d)+
				" is on a read-only file system: remount it writable or name another directory",
		)
		typed, ok := errors.AsType[*Error](err)
		require.True(t, ok)
		assert.Equal(t, "put waits", typed.Op)
	}
	require.NoError(t, d.PutWaits(t.Context(), "absent", nil), "there is nothing to remove")
	holds(t, d, "key", "on the medium")

	// With a runtime directory the medium does not matter.
	SetRuntimeDir(t, runtime)
	putWaits(t, d, "key", "again in memory")
	holds(t, d, "key", "again in memory")

	// One that cannot be cleared is named itself.
	atomicfile.OS.(*recorder).full = runtime
	err := d.PutWaits(t.Context(), "key", nil)
	assert.EqualError(
		t, err, "store directory "+string(d)+`: put waits "key": `+d.waitPlaces("key").runtime+
			": remove: "+syscall.EROFS.Error(),
	)
}

// A recorder counts what is done to the medium, and refuses to write below full.
type recorder struct {
	atomicfile.FS
	calls    []string
	removed  []string
	full     string
	err      error
	removals bool // refused as well
}

func (r *recorder) Create(path string, perm fs.FileMode) (atomicfile.File, error) {
	if r.full != "" && strings.HasPrefix(path, r.full) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: r.err}
	}
	file, err := r.FS.Create(path, perm)
	return recordedFile{file, r}, err
}

func (r *recorder) Remove(path string) error {
	if r.removals && strings.HasPrefix(path, r.full) {
		return &fs.PathError{Op: "remove", Path: path, Err: r.err}
	}
	r.removed = append(r.removed, path)
	return r.FS.Remove(path)
}

func (r *recorder) Rename(oldpath, newpath string) error {
	r.calls = append(r.calls, "rename")
	return r.FS.Rename(oldpath, newpath)
}

func (r *recorder) SyncDir(dir string) error {
	r.calls = append(r.calls, "sync directory")
	return r.FS.SyncDir(dir)
}

type recordedFile struct {
	atomicfile.File
	r *recorder
}

func (f recordedFile) Write(p []byte) (int, error) {
	f.r.calls = append(f.r.calls, "write")
	return f.File.Write(p)
}

func (f recordedFile) Sync() error {
	f.r.calls = append(f.r.calls, "sync")
	return f.File.Sync()
}

func TestWaitsCostNoFsyncAndAnEntryTwo(t *testing.T) {
	d, runtime := rig(t)
	for _, place := range []string{runtime, ""} {
		SetRuntimeDir(t, place)
		require.NoError(t, d.Put(t.Context(), "key", []byte("value")))
		r := &recorder{FS: atomicfile.OS}
		replaceWith[atomicfile.FS](t, &atomicfile.OS, r)
		for range 2 {
			putWaits(t, d, "key", "until ten")
			assert.Equal(t, []string{"write", "rename"}, r.calls, "waits")
			r.calls = nil
		}
		require.NoError(t, d.Put(t.Context(), "key", []byte("value")))
		assert.Equal(t, []string{"write", "sync", "rename", "sync directory"}, r.calls, "entry")
		r.calls = nil
		holds(t, d, "key", "until ten")
		putWaits(t, d, "key", "")
		assert.Empty(t, r.calls)
	}
}
