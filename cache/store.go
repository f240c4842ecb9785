// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// MaxSize is the longest value, in bytes, that Dir and Memory store and return. A
// device remembers a few hundred; the limit is there so that a damaged or planted
// file cannot exhaust the memory of a small board.
const MaxSize = 1 << 20

// ErrMiss is what Get returns for a key that is not there. It may be wrapped: compare
// with errors.Is.
var ErrMiss = errors.New("no such entry")

// A Store keeps small values by key. Every method is safe for concurrent use and
// returns the cause of ctx once ctx has ended.
//
// Keys are arbitrary strings and are told apart byte for byte, by letter case
// too. No method keeps or changes a slice that it was given, or hands out one that
// it keeps.
type Store interface {
	// Get returns the value that the last successful Put of key stored. An absent
	// key is ErrMiss; any other error means that it is not known whether there
	// is a value.
	Get(ctx context.Context, key string) ([]byte, error)

	// Put stores data under key, in place of what was there. A reader sees the
	// old value or the new, and so does the next process if this one dies at any
	// moment. An empty value is a value.
	Put(ctx context.Context, key string, data []byte) error

	// Delete removes key for good. An absent key is nil.
	Delete(ctx context.Context, key string) error
}

// A WaitStore is a Store that also keeps what a device has been told to wait for.
// That has to outlive the program, or one that is killed and started again, over
// and over, would never wait; it is worth nothing once the machine has restarted,
// so it need not wear flash. A Store may implement it; Dir and Memory do.
//
// Waits and entries do not touch: a key may have either, both or none, and Put and
// Delete of a key leave its waits alone.
//
// A device whose store it is also puts an entry under its key followed by "~waits":
// what it has to know after a power cut.
type WaitStore interface {
	Store

	// GetWaits returns what the last successful PutWaits of key stored, and how
	// long ago that was, at least, by a clock that nobody sets. A negative age
	// means that nobody can say: the machine has been restarted since, or has no
	// such clock. ErrMiss means that there is nothing, or nothing that can be read
	// as whole; after any other error it is not known whether there is.
	GetWaits(ctx context.Context, key string) (data []byte, age time.Duration, err error)

	// PutWaits stores data for key, in place of what was there, until the machine
	// stops. The program may be killed at any moment: the next one finds the old
	// data or the new. A power cut may leave these or nothing. Empty data removes
	// what was stored.
	PutWaits(ctx context.Context, key string, data []byte) error
}

func tooLarge(size int) error {
	return fmt.Errorf("a value of %d bytes is over the limit of %d", size, MaxSize)
}
