// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
)

// Write replaces the content of path with data, or creates it with the
// permissions perm before umask. It returns nil only when data is durable. After
// an error of type *[Error] the old content is intact, unless Op is "sync
// directory": then the new content is in place but may not survive a power cut.
//
// A symbolic or hard link at path is replaced, never followed. Concurrent calls
// are safe, also from several processes: the last to rename wins.
func Write(path string, data []byte, perm fs.FileMode) error {
	return WriteFS(OS, path, data, perm)
}

// attempts bounds the rewrites after another process took our temporary file for
// a leftover. Each process clears leftovers once a Write, so one is the rule.
const attempts = 10

// WriteFS is [Write] on another file system.
func WriteFS(fsys FS, path string, data []byte, perm fs.FileMode) error {
	if err := replace(fsys, path, data, perm, syncFile); err != nil {
		return err
	}
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
		return failed("sync directory", path, err)
	}
	return nil
}

// syncing says whether the content is made durable before the rename.
type syncing bool

const (
	syncFile syncing = true
	noSync   syncing = false
)

// replace does everything but make the rename durable.
func replace(fsys FS, path string, data []byte, perm fs.FileMode, sync syncing) error {
	clearLeftovers(fsys, path)
	var err error
	for range attempts {
		if err = tryReplace(fsys, path, data, perm, sync); !stolen(err) {
			break
		}
	}
	return err
}

// tryReplace removes its temporary file when it fails.
func tryReplace(fsys FS, path string, data []byte, perm fs.FileMode, sync syncing) error {
	temp := tempName(path)
	inFlight.Store(temp, nil)
	defer inFlight.Delete(temp)

	f, err := fsys.Create(temp, perm)
	if err != nil {
		return failed("create", path, err)
	}
	op, err := fill(f, data, sync)
	if err == nil {
		op, err = "rename", fsys.Rename(temp, path)
	}
	if err != nil {
		_ = fsys.Remove(temp) // if this fails as well, the next Write tries again
		return failed(op, path, err)
	}
	return nil
}

// fill writes, syncs and closes f. After a failed sync the data counts as lost:
// the kernel may have dropped the dirty pages, so another sync proves nothing.
func fill(f File, data []byte, sync syncing) (op string, err error) {
	n, err := f.Write(data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	if err != nil {
		_ = f.Close()
		return "write", err
	}
	if sync {
		if err := f.Sync(); err != nil {
			_ = f.Close()
			return "sync", err
		}
	}
	return "close", f.Close()
}

func stolen(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Op == "rename" && errors.Is(e.Err, fs.ErrNotExist)
}

// Remove deletes path and its leftovers, durably: after nil the file does not
// come back. An absent file, also in an absent directory, is nil.
func Remove(path string) error { return RemoveFS(OS, path) }

// RemoveFS is [Remove] on another file system.
func RemoveFS(fsys FS, path string) error {
	if err := RemoveNoSyncFS(fsys, path); err != nil {
		return err
	}
	// Absent or not: a Remove that was killed may not have got as far as this.
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("sync directory", path, err)
	}
	return nil
}

// Mkdir makes the directory path, durably. One that exists is nil; its
// permissions are left alone. Its parent must exist.
func Mkdir(path string, perm fs.FileMode) error { return MkdirFS(OS, path, perm) }

// MkdirFS is [Mkdir] on another file system.
func MkdirFS(fsys FS, path string, perm fs.FileMode) error {
	if err := fsys.Mkdir(path, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return failed("make directory", path, err)
	}
	err := fsys.SyncDir(filepath.Dir(path))
	// a parent that may not be read cannot be synced
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return failed("sync directory", path, err)
	}
	return nil
}

// inFlight holds this process's temporary files, which are no leftovers.
var inFlight sync.Map

const tempMark = ".tmp"

func tempName(path string) string {
	var unique [8]byte
	rand.Read(unique[:])
	dir, base := filepath.Split(path)
	return filepath.Join(dir, "."+base+tempMark+hex.EncodeToString(unique[:]))
}

// clearLeftovers removes the temporary files that killed processes left for
// path, so that at most one outlives each kill. Failing is harmless. One that
// another process is still writing may go too; that process then writes again.
func clearLeftovers(fsys FS, path string) {
	dir, base := filepath.Split(path)
	names, err := fsys.List(filepath.Clean(dir))
	if err != nil {
		return
	}
	for _, name := range names {
		unique, ok := strings.CutPrefix(name, "."+base+tempMark)
		if !ok || len(unique) != 16 || strings.Trim(unique, "0123456789abcdef") != "" {
			continue
		}
		leftover := filepath.Join(dir, name)
		if _, ours := inFlight.Load(leftover); !ours {
			_ = fsys.Remove(leftover)
		}
	}
}
