// SPDX-License-Identifier: Apache-2.0

package boltstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/rehome-iot/rehome/cache"
)

// Store is a [cache.Store], and a [cache.WaitStore], in one file. Its methods are safe for
// concurrent use; it must not be copied, and its fields not be changed, after the first of them.
//
// Any key is a valid key. A value has at most [cache.MaxSize] bytes. File access cannot be
// interrupted: the methods look at ctx before they begin.
type Store struct {
	// Path is the file. The first call makes it, readable by its owner only, and its directory if
	// that is absent; the parent of that must exist.
	Path string

	// Timeout is how long opening waits for another process that has the file. Default: 1 s. A
	// program that is started while its former process ends, as services are, has it longer.
	Timeout time.Duration

	mu       sync.RWMutex // of the file: held for reading by those who use it
	db       *bolt.DB     // nil: it is not open
	readOnly bool
	failed   error     // why it could not be opened
	retryAt  time.Time // when that is tried again

	queue queue // of changes
}

var _ cache.WaitStore = (*Store)(nil)

// Validate says that a Store names a file, without a look at the file system. A device whose store
// cannot be one begins with its error.
func (s *Store) Validate() error {
	switch {
	case s.Path == "":
		return s.fail("open", "", errNoPath)
	case s.Timeout < 0:
		return &Error{
			Op: "open", Path: s.Path, Err: errNegative, Problem: fmt.Sprintf(
				"store file %s: Timeout is %v: it must not be negative", s.Path, s.Timeout,
			),
		}
	}
	return nil
}

// Get returns the value, or cache.ErrMiss.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var data []byte
	err := s.use(false, func(db *bolt.DB) error {
		return db.View(func(tx *bolt.Tx) (err error) {
			b := tx.Bucket(entries)
			if b == nil {
				return cache.ErrMiss
			}
			data, err = decode(key, b.Get(keyOf(key)))
			return err
		})
	})
	if err == cache.ErrMiss { //nolint:errorlint // decode's own
		return nil, err
	}
	if err != nil {
		return nil, s.fail("get", key, err)
	}
	return data, nil
}

// Put stores data and returns when it is on the medium.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	if len(data) > cache.MaxSize && ctx.Err() == nil {
		return s.fail("put", key, fmt.Errorf(
			"a value of %d bytes is over the limit of %d", len(data), cache.MaxSize,
		))
	}
	return s.change(ctx, "put", key, encode(key, data))
}

// Delete removes the entry, and returns when that is on the medium. What PutWaits stored stays.
func (s *Store) Delete(ctx context.Context, key string) error {
	return s.change(ctx, "delete", key, nil)
}

// GetWaits returns what PutWaits stored: see [cache.Dir.GetWaits].
func (s *Store) GetWaits(ctx context.Context, key string) ([]byte, time.Duration, error) {
	return s.waits().GetWaits(ctx, key)
}

// PutWaits stores waits outside of the database, and syncs nothing: see [cache.Dir.PutWaits].
func (s *Store) PutWaits(ctx context.Context, key string, data []byte) error {
	return s.waits().PutWaits(ctx, key, data)
}

// waits is where they are, or would be if there were no runtime directory.
func (s *Store) waits() cache.Dir {
	if s.Path == "" {
		return ""
	}
	return cache.Dir(s.Path + ".waits")
}
