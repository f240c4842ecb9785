// SPDX-License-Identifier: Apache-2.0

package boltstore

import (
	"errors"
	"fmt"

	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/rehome-iot/rehome/internal/onefile"
)

// ErrDamaged is in the tree of an error that says that the file, or a value in it, is not as it was
// written.
var ErrDamaged = onefile.ErrDamaged

var errClosed = errors.New("the store has been closed")

// Error is a failure of a Store, other than cache.ErrMiss, the end of a context and those of waits.
// It is one line, with the file and, where there is one, the fix. Use errors.Is for the cause
// (fs.ErrPermission, syscall.ENOSPC).
type Error struct {
	// Op is "open", "get", "put", "delete" or "close".
	Op string
	// Path is the file.
	Path string
	// Key is the entry's; empty with "open" and "close".
	Key string
	// Problem says what is wrong and what to do about it; empty when nothing better is known than
	// Err.
	Problem string
	// Err is the cause.
	Err error
}

// Error returns one line.
func (e *Error) Error() string {
	switch {
	case e.Problem != "":
		return e.Problem
	case e.Key != "":
		return fmt.Sprintf("store file %s: %s %q: %v", e.Path, e.Op, e.Key, e.Err)
	}
	return fmt.Sprintf("store file %s: %s: %v", e.Path, e.Op, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// fail explains err to the person who chose the file.
func (s *Store) fail(op, key string, err error) error {
	if inner, ok := errors.AsType[*Error](err); ok { // why the file is not open
		return &Error{op, s.Path, key, inner.Problem, inner.Err}
	}
	e := &Error{Op: op, Path: s.Path, Key: key, Err: err}
	file := "store file " + s.Path
	switch {
	case s.Path == "":
		e.Problem = "store file: Path is empty: name a file"
	case errors.Is(err, bolterrors.ErrTimeout):
		e.Problem = file + " is in use by another process, or by another Store of this one: end " +
			"that, or name another file"
	case errors.Is(err, ErrDamaged) && key == "":
		e.Problem = fmt.Sprintf("%s is %v: %s", file, err, moveAway)
	case errors.Is(err, ErrDamaged), errors.Is(err, errClosed):
	case op == "open" && !onefile.IsSystem(err) && onefile.Explain("", s.Path, err) == "":
		e.Err = fmt.Errorf("%w: %w", ErrDamaged, err)
		e.Problem = fmt.Sprintf("%s is damaged, or is no store (%v): %s", file, err, moveAway)
	default:
		e.Problem = onefile.Explain("store file", s.Path, err)
	}
	return e
}

const moveAway = "move it away and start again, and each device asks DPS once"
