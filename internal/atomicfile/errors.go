// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
)

// An Error names the file that was to change and the step that failed. Use
// errors.Is for the cause (syscall.ENOSPC, fs.ErrPermission).
type Error struct {
	// Op is "create", "write", "sync", "close", "rename", "remove", "make
	// directory" or "sync directory".
	Op string
	// Path is the file that the caller named, not the temporary one.
	Path string
	// Err is the cause, without a path of its own.
	Err error
}

// Error returns one line.
func (e *Error) Error() string { return e.Path + ": " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// failed names path instead of the temporary file that package os would name.
func failed(op, path string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	} else if e, ok := errors.AsType[*os.LinkError](err); ok {
		err = e.Err
	}
	return &Error{Op: op, Path: path, Err: err}
}
