// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"io/fs"
	"os"
)

// An FS is what this package needs of a file system. An implementation must be
// safe for concurrent use. Failures carry the causes of package os (fs.ErrExist,
// fs.ErrNotExist, system error numbers).
type FS interface {
	// Create makes a file that does not exist yet and opens it for writing. A
	// file, symbolic link or directory of that name is fs.ErrExist.
	Create(path string, perm fs.FileMode) (File, error)
	// Rename replaces newpath, atomically, if it exists.
	Rename(oldpath, newpath string) error
	// Remove deletes one file.
	Remove(path string) error
	// List returns the names in a directory, in any order.
	List(dir string) ([]string, error)
	// Mkdir makes one directory.
	Mkdir(path string, perm fs.FileMode) error
	// SyncDir makes what was created, renamed and removed in dir durable. Where
	// the system has no such operation it returns nil.
	SyncDir(dir string) error
}

// A File is being written.
type File interface {
	Write(p []byte) (int, error)
	// Sync makes everything written durable.
	Sync() error
	Close() error
}

// OS is the operating system's file system.
var OS FS = osFS{}

type osFS struct{}

func (osFS) Create(path string, perm fs.FileMode) (File, error) {
	// O_EXCL does not follow a symbolic link, dangling or not.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osFS) Rename(oldpath, newpath string) error      { return rename(oldpath, newpath) }
func (osFS) Remove(path string) error                  { return os.Remove(path) }
func (osFS) Mkdir(path string, perm fs.FileMode) error { return os.Mkdir(path, perm) }
func (osFS) SyncDir(dir string) error                  { return syncDir(dir) }

func (osFS) List(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
