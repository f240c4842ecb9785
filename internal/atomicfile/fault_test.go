// SPDX-License-Identifier: Apache-2.0

package atomicfile_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/atomicfile"
)

// faulty fails operations of a real file system.
type faulty struct {
	atomicfile.FS
	calls []string
	fault func(call int, op string) error
}

func (f *faulty) next(op string) error {
	f.calls = append(f.calls, op)
	return f.fault(len(f.calls)-1, op)
}

func (f *faulty) Create(path string, perm fs.FileMode) (atomicfile.File, error) {
	if err := f.next("create"); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	file, err := f.FS.Create(path, perm)
	return faultyFile{file, f}, err
}

func (f *faulty) Rename(oldpath, newpath string) error {
	if err := f.next("rename"); err != nil {
		return &os.LinkError{Op: "rename", Old: oldpath, New: newpath, Err: err}
	}
	return f.FS.Rename(oldpath, newpath)
}

func (f *faulty) Remove(path string) error {
	if err := f.next("remove"); err != nil {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	return f.FS.Remove(path)
}

func (f *faulty) List(dir string) ([]string, error) {
	if err := f.next("list"); err != nil {
		return nil, err
	}
	return f.FS.List(dir)
}

func (f *faulty) Mkdir(path string, perm fs.FileMode) error {
	if err := f.next("mkdir"); err != nil {
		return &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	return f.FS.Mkdir(path, perm)
}

func (f *faulty) SyncDir(dir string) error {
	if err := f.next("syncdir"); err != nil {
		return &fs.PathError{Op: "sync", Path: dir, Err: err}
	}
	return f.FS.SyncDir(dir)
}

type faultyFile struct {
	atomicfile.File
	fs *faulty
}

// errShort is a write that takes half and says so by its count alone.
var errShort = errors.New("short write")

func (f faultyFile) Write(p []byte) (int, error) {
	switch err := f.fs.next("write"); {
	case err == errShort:
		return f.File.Write(p[:len(p)/2])
	case err != nil:
		n, _ := f.File.Write(p[:len(p)/2])
		return n, &fs.PathError{Op: "write", Path: "(temporary)", Err: err}
	}
	return f.File.Write(p)
}

func (f faultyFile) Sync() error {
	if err := f.fs.next("sync"); err != nil {
		return &fs.PathError{Op: "sync", Path: "(temporary)", Err: err}
	}
	return f.File.Sync()
}

func (f faultyFile) Close() error {
	err := f.File.Close()
	if fault := f.fs.next("close"); fault != nil {
		return &fs.PathError{Op: "close", Path: "(temporary)", Err: fault}
	}
	return err
}

var faults = []error{syscall.ENOSPC, syscall.EIO, syscall.EROFS, syscall.EACCES, errShort}

// place returns the path of a file that holds the old value.
func place(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "entry")
	require.NoError(t, atomicfile.Write(path, []byte(old), 0o600))
	return path
}

func contentOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

func filesBeside(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestErrorAtAnyOperationKeepsTheOldFile(t *testing.T) {
	for _, fault := range faults {
		for _, persists := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, persists %v", fault, persists), func(t *testing.T) {
				for k := 0; ; k++ {
					path := place(t)
					hit := false
					f := &faulty{FS: atomicfile.OS}
					f.fault = func(call int, op string) error {
						if fault == errShort && op != "write" {
							return nil
						}
						if call == k || persists && call > k {
							hit = true
							return fault
						}
						return nil
					}
					err := atomicfile.WriteFS(f, path, []byte(newer), 0o600)
					failedAt := fmt.Sprintf("operation %d of %v", k, f.calls)
					if !hit && k >= len(f.calls) {
						require.NoError(t, err)
						assert.Equal(t, newer, contentOf(t, path))
						break
					}
					if err == nil { // listing leftovers may fail, or nothing was hit
						assert.Equal(t, newer, contentOf(t, path), failedAt)
						continue
					}

					typed, ok := errors.AsType[*atomicfile.Error](err)
					require.True(t, ok, "%s: %v", failedAt, err)
					assert.Equal(t, path, typed.Path, failedAt)
					assert.True(
						t, strings.HasPrefix(err.Error(), path+": "+typed.Op+": "), "%s: %v",
						failedAt, err,
					)
					assert.NotContains(t, err.Error(), ".tmp", failedAt)
					assert.NotContains(t, err.Error(), "\n", failedAt)
					if fault == errShort {
						assert.ErrorIs(t, err, io.ErrShortWrite, failedAt)
					} else {
						assert.ErrorIs(t, err, fault, failedAt)
					}

					if typed.Op == "sync directory" {
						assert.Equal(t, newer, contentOf(t, path), failedAt)
					} else {
						assert.Equal(t, old, contentOf(t, path), failedAt)
					}
					if !persists { // removal was possible
						assert.Equal(t, []string{"entry"}, filesBeside(t, path), failedAt)
					}
					assert.LessOrEqual(t, len(filesBeside(t, path)), 2, failedAt)

					require.NoError(
						t, atomicfile.Write(path, []byte(newest), 0o600), "once the fault is over",
					)
					assert.Equal(t, newest, contentOf(t, path))
					assert.Equal(
						t, []string{"entry"}, filesBeside(t, path), "and nothing is left of it",
					)
				}
			})
		}
	}
}

func TestEveryOperationOfAWriteIsAFaultSite(t *testing.T) {
	f := &faulty{FS: atomicfile.OS, fault: func(int, string) error { return nil }}
	require.NoError(t, atomicfile.WriteFS(f, place(t), []byte(newer), 0o600))
	assert.Equal(
		t, []string{"list", "create", "write", "sync", "close", "rename", "syncdir"}, f.calls,
	)
}

// After a failed fsync the kernel may have dropped what was to be written and say
// nothing of it the next time.
func TestFailedSyncIsNotTriedAgainOnTheSameFile(t *testing.T) {
	f := &faulty{FS: atomicfile.OS}
	f.fault = func(_ int, op string) error {
		if op == "sync" {
			return syscall.EIO
		}
		return nil
	}
	require.ErrorIs(t, atomicfile.WriteFS(f, place(t), []byte(newer), 0o600), syscall.EIO)
	assert.Equal(t, []string{"list", "create", "write", "sync", "close", "remove"}, f.calls)
}

func TestRemoveReportsItsErrors(t *testing.T) {
	for k, op := range []string{"list", "remove", "syncdir"} {
		path := place(t)
		f := &faulty{FS: atomicfile.OS, fault: func(call int, _ string) error {
			if call == k {
				return syscall.EIO
			}
			return nil
		}}
		err := atomicfile.RemoveFS(f, path)
		assert.Equal(t, op, f.calls[k])
		if op == "list" {
			assert.NoError(t, err)
			continue
		}
		assert.ErrorIs(t, err, syscall.EIO)
		assert.ErrorContains(t, err, path)
	}
}

func TestMkdirReportsItsErrorsButForgivesAParentThatMayNotBeRead(t *testing.T) {
	tests := []struct {
		op   string
		err  error
		want error
	}{
		{"mkdir", syscall.EROFS, syscall.EROFS},
		{"mkdir", syscall.EACCES, syscall.EACCES},
		{"syncdir", syscall.EIO, syscall.EIO},
		{"syncdir", syscall.EACCES, nil},
	}
	for _, test := range tests {
		path := filepath.Join(t.TempDir(), "made")
		f := &faulty{FS: atomicfile.OS, fault: func(_ int, op string) error {
			if op == test.op {
				return test.err
			}
			return nil
		}}
		err := atomicfile.MkdirFS(f, path, 0o700)
		assert.ErrorIs(t, err, test.want)
		if test.want != nil {
			assert.ErrorContains(t, err, path)
		}
	}
}

// Another process clears our temporary file once, as it may.
func TestTemporaryFileTakenByAnotherProcessIsWrittenAgain(t *testing.T) {
	path := place(t)
	taken := 0
	f := &faulty{FS: atomicfile.OS}
	f.fault = func(_ int, op string) error {
		if op == "rename" && taken < 3 {
			taken++
			for _, name := range filesBeside(t, path) {
				if name != "entry" {
					require.NoError(t, os.Remove(filepath.Join(filepath.Dir(path), name)))
				}
			}
		}
		return nil
	}
	require.NoError(t, atomicfile.WriteFS(f, path, []byte(newer), 0o600))
	assert.Equal(t, newer, contentOf(t, path))
	assert.Equal(t, 3, taken)
	assert.Equal(t, []string{"entry"}, filesBeside(t, path))
}

func TestTemporaryFileThatIsAlwaysTakenIsAnError(t *testing.T) {
	path := place(t)
	f := &faulty{FS: atomicfile.OS}
	f.fault = func(_ int, op string) error {
		if op == "rename" {
			return fs.ErrNotExist
		}
		return nil
	}
	require.ErrorIs(t, atomicfile.WriteFS(f, path, []byte(newer), 0o600), fs.ErrNotExist)
	assert.Equal(t, old, contentOf(t, path))
	assert.Equal(t, []string{"entry"}, filesBeside(t, path))
}

func TestWritersAtOnceDoNotTakeEachOthersFiles(t *testing.T) {
	path := place(t)
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			value := strings.Repeat(string(rune('a'+w)), 4096)
			for range 5 {
				assert.NoError(t, atomicfile.Write(path, []byte(value), 0o600))
			}
		})
	}
	all.Wait()
	data := contentOf(t, path)
	assert.Equal(t, strings.Repeat(data[:1], 4096), data)
	assert.Equal(t, []string{"entry"}, filesBeside(t, path))
}
