// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"errors"
	"fmt"

	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/rehome-iot/rehome/internal/onefile"
	"github.com/rehome-iot/rehome/internal/oneline"
)

var (
	// ErrFull is in the tree of the error of a Send that found no room, where [DropNewest] is
	// chosen.
	ErrFull = errors.New("outbox is full")
	// ErrClosed is in the tree of the error of a call after [File.Close].
	ErrClosed = errors.New("outbox is closed")
	// ErrDamaged is in the tree of an error that says that the file is not as it was written.
	ErrDamaged = onefile.ErrDamaged
)

var errOption = errors.New("invalid option")

// Error is a failure of a file or an outbox. It is one line, with the file and, where there is one,
// the fix; nothing of a message's body is in it. Use errors.Is for the cause (fs.ErrPermission,
// syscall.ENOSPC), and hubconn.ClassOf for a message that no hub would take.
type Error struct {
	// Op is "open", "send", "read", "clear" or "close".
	Op string
	// Path is the file.
	Path string
	// Device is the outbox's; empty where the whole file is meant.
	Device string
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
		return oneline.Of(e.Problem, 1024)
	case e.Device != "":
		return oneline.Of(
			fmt.Sprintf("outbox file %s: %s for %s: %v", e.Path, e.Op, e.Device, e.Err), 1024,
		)
	}
	return oneline.Of(fmt.Sprintf("outbox file %s: %s: %v", e.Path, e.Op, e.Err), 1024)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// explained makes an error for the person who chose the file.
func explained(op, path, device string, err error) *Error {
	e := &Error{Op: op, Path: path, Device: device, Err: err}
	file := "outbox file " + path
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		e.Problem = file + " is in use by another process, or is open in this one already: end " +
			"that, or name another file"
	case errors.Is(err, errNewer):
		e.Problem = fmt.Sprintf("%s: %v: use that, or name another file", file, err)
	case errors.Is(err, ErrFull), errors.Is(err, ErrClosed):
	case errors.Is(err, ErrDamaged):
		e.Problem = fmt.Sprintf("%s is %v: %s", file, err, moveAway)
	case op == "open" && !onefile.IsSystem(err) && onefile.Explain("", path, err) == "":
		e.Err = fmt.Errorf("%w: %w", ErrDamaged, err)
		e.Problem = fmt.Sprintf("%s is damaged, or is no outbox (%v): %s", file, err, moveAway)
	default:
		e.Problem = onefile.Explain("outbox file", path, err)
	}
	return e
}

const moveAway = "move it away, with what is kept in it, and start again"
