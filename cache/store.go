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

func tooLarge(size int) error {
	return fmt.Errorf("a value of %d bytes is over the limit of %d", size, MaxSize)
}

type WaitStore interface {
	Store
	GetWaits(ctx context.Context, key string) (data []byte, age time.Duration, err error)
	PutWaits(ctx context.Context, key string, data []byte) error
}
