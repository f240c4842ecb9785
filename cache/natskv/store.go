// SPDX-License-Identifier: Apache-2.0

package natskv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/natskv/internal/bucket"
)

// DefaultBucket is the bucket of a Store that names none.
const DefaultBucket = "rehome"

// A Store is a cache.WaitStore in a bucket of NATS. It is safe for concurrent use and must not be
// copied after first use. Several Stores, in several processes, may share a bucket.
//
// A call ends with its context, and after five seconds where that has no deadline. Until then it is
// repeated where no server answers, as while the others choose one in place of one that died.
type Store struct {
	// Conn is the connection to NATS; see ConnOptions. It stays the program's to close.
	Conn *nats.Conn

	// Bucket is the bucket's name: letters, digits, hyphen and underscore. Fleets that share NATS
	// servers have one each. The default is DefaultBucket. It is made when it is first needed; one
	// that is there already must have no time to live.
	Bucket string

	// Replicas is how many servers keep the bucket where it is made: 1 by default, 3 in a cluster
	// of three. One that is there already is left as it is.
	Replicas int

	mu     sync.Mutex
	opened *bucket.Bucket
}

var _ cache.WaitStore = (*Store)(nil)

// An Error is a failure of a Store, other than ErrMiss and the end of a context.
type Error struct {
	// Op is "get", "put", "delete", "get waits" or "put waits".
	Op string
	// Bucket is the bucket's name.
	Bucket string
	// Key is the entry's.
	Key string
	// Err is the cause.
	Err error
}

// Error returns one line.
func (e *Error) Error() string {
	return fmt.Sprintf("nats bucket %s: %s %.200q: %v", e.Bucket, e.Op, e.Key, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// The two kinds of keys. NATS takes a dot for the end of a token, and EncodeKey leaves none.
const (
	entryPrefix = "e."
	waitsPrefix = "w."
)

// Get returns the value that was put last, or cache.ErrMiss.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	e, err := s.read(ctx, "get", entryPrefix, key)
	if err != nil {
		return nil, err
	}
	return append([]byte{}, e.Value...), nil
}

// Put stores data, of cache.MaxSize bytes at most, and of as many as the server takes in a message:
// 1 MiB with its headers, if max_payload is not set.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	return s.write(ctx, "put", entryPrefix, key, data)
}

// Delete removes the value.
func (s *Store) Delete(ctx context.Context, key string) error {
	return s.do(ctx, "delete", key, func(ctx context.Context, b *bucket.Bucket) error {
		return b.Purge(ctx, entryPrefix+bucket.EncodeKey(key))
	})
}

// GetWaits returns what PutWaits stored. Its age is known on the machine that stored it, if that is
// Linux and has not been restarted since; a device that has moved goes by its clock.
func (s *Store) GetWaits(ctx context.Context, key string) ([]byte, time.Duration, error) {
	e, err := s.read(ctx, "get waits", waitsPrefix, key)
	if err != nil {
		return nil, 0, err
	}
	at, data, ok := decodeWaits(e.Value)
	if !ok {
		return nil, 0, cache.ErrMiss
	}
	return append([]byte{}, data...), at.since(readMoment()), nil
}

// PutWaits stores data; empty data removes what was stored.
func (s *Store) PutWaits(ctx context.Context, key string, data []byte) error {
	if len(data) > 0 {
		return s.write(ctx, "put waits", waitsPrefix, key, encodeWaits(readMoment(), data))
	}
	return s.do(ctx, "put waits", key, func(ctx context.Context, b *bucket.Bucket) error {
		return b.Purge(ctx, waitsPrefix+bucket.EncodeKey(key))
	})
}

func (s *Store) read(ctx context.Context, op, prefix, key string) (e bucket.Entry, err error) {
	err = s.do(ctx, op, key, func(ctx context.Context, b *bucket.Bucket) (err error) {
		e, err = b.Get(ctx, prefix+bucket.EncodeKey(key))
		return err
	})
	if err == nil && (e.Revision == 0 || e.Deleted) {
		err = cache.ErrMiss
	}
	return e, err
}

func (s *Store) write(ctx context.Context, op, prefix, key string, data []byte) error {
	return s.do(ctx, op, key, func(ctx context.Context, b *bucket.Bucket) error {
		if len(data) > cache.MaxSize {
			return fmt.Errorf("a value of %d bytes is over the limit of %d",
				len(data), cache.MaxSize)
		}
		return b.Put(ctx, prefix+bucket.EncodeKey(key), data)
	})
}

// How long an operation may take where ctx does not say, how long one try of it, and how soon the
// next one follows. What was sent to a server that died is answered by nobody; the next one is for
// the server that has taken its place, which the others choose within some seconds.
const (
	longest  = 5 * time.Second
	oneTry   = 2 * time.Second
	retryGap = 100 * time.Millisecond
)

// do runs one operation on the bucket, more than once if nobody answers, and explains its error.
// All operations may be repeated.
func (s *Store) do(
	ctx context.Context, op, key string, f func(context.Context, *bucket.Bucket) error,
) error {
	limited := ctx
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, longest)
		defer cancel()
	}
	var last error
	for limited.Err() == nil {
		try, cancel := context.WithTimeout(limited, oneTry)
		b, err := s.open(try)
		if err == nil {
			err = f(try, b)
		}
		unanswered := try.Err() != nil || bucket.IsUnanswered(err)
		cancel()
		if err == nil {
			return nil
		}
		if last = err; !unanswered {
			break
		}
		select {
		case <-time.After(retryGap):
		case <-limited.Done():
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &Error{Op: op, Bucket: s.bucket(), Key: key, Err: last}
}

func (s *Store) bucket() string {
	if s.Bucket == "" {
		return DefaultBucket
	}
	return s.Bucket
}

// open opens the bucket once. Several calls at first may all do it, which does no harm; that none
// waits for another's makes each end with its own context.
func (s *Store) open(ctx context.Context) (*bucket.Bucket, error) {
	s.mu.Lock()
	b := s.opened
	s.mu.Unlock()
	if b != nil {
		return b, nil
	}
	if s.Conn == nil {
		return nil, errors.New("set Conn to a connection to NATS")
	}
	b, err := bucket.Open(ctx, s.Conn, s.bucket(), "what devices remember", s.Replicas)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = b
	return b, nil
}
