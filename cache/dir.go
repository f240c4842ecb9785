// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rehome-iot/rehome/internal/atomicfile"
)

// Dir is a Store, and a WaitStore, that keeps each entry in a file of its own, in
// the directory it names.
//
// The first Put makes the directory, open to its owner only; the parent must
// exist, lest a disk that is not mounted be papered over. Files are open to their
// owner only as well. Put returns nil when the value is on the medium: a power cut
// before leaves the old value or the new, one after leaves the new.
//
// Any key is a valid key. A symbolic link, device or directory where an entry should be is
// not read; Put replaces a link and never writes through it. The directory itself
// may be a link.
//
// File access cannot be interrupted: the methods look at ctx before they begin.
// Failures are of type *[Error], one line with the directory and the fix. Dir is
// safe for concurrent use, also by several processes: the last Put wins.
type Dir string

// Validate says that a Dir names a directory, without a look at the file system. A device
// whose store cannot be one begins with its error.
func (d Dir) Validate() error {
	if d == "" {
		return d.fail("validate", "", fs.ErrInvalid)
	}
	return nil
}

// Get returns the value, or ErrMiss if the file or the whole directory is absent.
// A file over MaxSize is an error.
func (d Dir) Get(ctx context.Context, key string) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if d == "" {
		return nil, d.fail("get", key, fs.ErrInvalid)
	}
	data, err := read(d.path(key), MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrMiss
	}
	if err != nil {
		return nil, d.fail("get", key, err)
	}
	return data, nil
}

// Put replaces the entry's file. A value over MaxSize is an error.
func (d Dir) Put(ctx context.Context, key string, data []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d == "" {
		return d.fail("put", key, fs.ErrInvalid)
	}
	if len(data) > MaxSize {
		return d.fail("put", key, tooLarge(len(data)))
	}
	if err := d.write(atomicfile.Write, d.path(key), data); err != nil {
		return d.fail("put", key, err)
	}
	return nil
}

// write makes the directory if that is what is missing.
func (d Dir) write(
	write func(path string, data []byte, perm fs.FileMode) error, path string, data []byte,
) error {
	err := write(path, data, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = atomicfile.Mkdir(filepath.Clean(string(d)), 0o700); err == nil {
			err = write(path, data, 0o600)
		}
	}
	return err
}

// Delete removes the entry's file; it does not come back after a power cut. What
// PutWaits stored stays.
func (d Dir) Delete(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d == "" {
		return d.fail("delete", key, fs.ErrInvalid)
	}
	if err := atomicfile.Remove(d.path(key)); err != nil {
		return d.fail("delete", key, err)
	}
	return nil
}

func (d Dir) path(key string) string { return filepath.Join(string(d), fileName(key)) }

// read returns a regular file's content, up to limit bytes. An unfit file is not
// read.
func read(path string, limit int64) ([]byte, error) {
	f, err := openEntry(path)
	if err != nil {
		if info, e := os.Lstat(path); e == nil && !info.Mode().IsRegular() {
			return nil, irregular(path, info)
		}
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, irregular(path, info)
	}
	// Not info.Size(): the file may be growing.
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, unfit(fmt.Sprintf(
			"%s is over the limit of %d bytes: remove it", filepath.Base(path), limit,
		))
	}
	return data, nil
}

// unfit says why a file can be none that Dir wrote.
type unfit string

func (u unfit) Error() string { return string(u) }

func irregular(path string, info fs.FileInfo) error {
	return unfit(fmt.Sprintf(
		"%s is not a regular file (%v): remove it", filepath.Base(path), info.Mode(),
	))
}
