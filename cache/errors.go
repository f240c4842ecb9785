// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/rehome-iot/rehome/internal/atomicfile"
)

// An Error is a failure of Dir or Memory, other than ErrMiss and the end of a
// context. It names the directory and, where there is one, the fix. Use errors.Is
// for the cause (fs.ErrPermission, syscall.ENOSPC).
type Error struct {
	// Op is "get", "put", "delete", "get waits" or "put waits".
	Op string
	// Dir is the store directory; empty for Memory.
	Dir string
	// Key is the entry's.
	Key string
	// Problem says what is wrong with the directory or file and what to do about
	// it; empty when nothing better is known than Err.
	Problem string
	// Err is the cause.
	Err error
}

// Error returns one line.
func (e *Error) Error() string {
	switch {
	case e.Problem != "":
		return e.Problem
	case e.Dir != "":
		return fmt.Sprintf("store directory %s: %s %q: %v", e.Dir, e.Op, e.Key, e.Err)
	}
	return fmt.Sprintf("store: %s %q: %v", e.Op, e.Key, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// fail explains err to the person who set the directory up. It looks at the
// directory only now that something has failed: a check beforehand would cost
// every boot and still be out of date.
func (d Dir) fail(op, key string, err error) error {
	e := &Error{Op: op, Dir: string(d), Key: key, Err: err}
	dir := "store directory " + e.Dir
	parent := filepath.Dir(filepath.Clean(e.Dir))
	info, statErr := os.Stat(e.Dir)
	switch {
	case e.Dir == "":
		e.Problem = "store directory is empty: name one"
	case statErr == nil && !info.IsDir():
		e.Problem = dir + " is a file: remove it or name another directory"
	case errors.Is(err, syscall.ENOTDIR):
		e.Problem = dir + " cannot exist, part of its path is a file: name another directory"
	case errors.Is(statErr, fs.ErrNotExist) && absent(parent):
		e.Problem = fmt.Sprintf(
			"%s cannot be made, %s does not exist: make or mount that first", dir, parent,
		)
	case errors.Is(statErr, fs.ErrNotExist) && isLink(e.Dir):
		e.Problem = dir + " is a link to a place that does not exist: make or mount that first"
	case errors.Is(err, syscall.EROFS):
		e.Problem = dir +
			" is on a read-only file system: remount it writable or name another directory"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Problem = fmt.Sprintf("%s is full: free some space (%v)", dir, cause(err))
	case errors.Is(err, fs.ErrPermission):
		e.Problem = fmt.Sprintf(
			"%s is not accessible%s: change its owner or permissions (%s %q: %v)", dir, byUser(),
			op, key, cause(err),
		)
	}
	return e
}

func absent(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

func byUser() string {
	if uid := os.Getuid(); uid >= 0 { // -1 on Windows
		return " to user " + strconv.Itoa(uid)
	}
	return ""
}

// cause strips the paths that the message has already.
func cause(err error) error {
	if e, ok := errors.AsType[*atomicfile.Error](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
