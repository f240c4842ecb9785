// SPDX-License-Identifier: Apache-2.0

package natslease

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed says that the replica was closed.
	ErrClosed = errors.New("the replica was closed")

	// ErrNameTaken says that another process runs under the name of this replica. Join returns it,
	// and it ends a replica whose name another process has taken while it was cut off.
	ErrNameTaken = errors.New("another process runs under this replica's name")
)

// An Error is a failure of a replica, other than a lease.HeldError and the end of a context.
type Error struct {
	// Op is "join", "acquire", "release" or "close".
	Op string
	// Bucket and Replica are whose it is.
	Bucket, Replica string
	// Identity is the one of "acquire" and "release".
	Identity string
	// Err is the cause.
	Err error
}

// Error returns one line.
func (e *Error) Error() string {
	if e.Identity != "" {
		return fmt.Sprintf("replica %s in nats bucket %s: %s %.200q: %v",
			e.Replica, e.Bucket, e.Op, e.Identity, e.Err)
	}
	return fmt.Sprintf("replica %s in nats bucket %s: %s: %v", e.Replica, e.Bucket, e.Op, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
