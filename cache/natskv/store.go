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
	"github.com/rehome-iot/rehome/internal/boottime"
)

// DefaultBucket is the bucket of a Store that names none.
const DefaultBucket = "rehome"

// A Store is a cache.WaitStore in a bucket of NATS. It is safe for concurrent use and must not be
// copied after first use. Several Stores, in several processes, may share a bucket.
//
// A call is repeated where no server answers, as while the others choose one in place of one that
// died: it ends with its context, a Get and a GetWaits after Patience, and the others after 10 s.
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

	// Patience is how long a Get, or a GetWaits, waits for servers that do not answer, and so how
	// long a Device waits at its start before it takes the Store for one that fails, and asks DPS
	// where it belongs; a Device waits 2 min at most. It counts from when they fell silent, for all
	// calls together: once it has passed, a call has 2 s until one is answered again. The default
	// is DefaultPatience. Below 20 s, the choice of a leader in place of a server that died may be
	// taken for a failure.
	Patience time.Duration

	mu      sync.Mutex
	opened  *bucket.Bucket
	silence silence
}

// DefaultPatience is the Patience of a Store that has none. Three servers choose a leader in place
// of one that was killed in 4 to 9 s, and in as much again where they disagree; one that is started
// again is there within half a minute.
const DefaultPatience = time.Minute

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
	return s.do(ctx, "delete", key, writing, func(ctx context.Context, b *bucket.Bucket) error {
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
	return append([]byte{}, data...), at.Since(boottime.Read()), nil
}

// PutWaits stores data; empty data removes what was stored.
func (s *Store) PutWaits(ctx context.Context, key string, data []byte) error {
	if len(data) > 0 {
		return s.write(ctx, "put waits", waitsPrefix, key, encodeWaits(boottime.Read(), data))
	}
	return s.do(ctx, "put waits", key, writing, func(ctx context.Context, b *bucket.Bucket) error {
		return b.Purge(ctx, waitsPrefix+bucket.EncodeKey(key))
	})
}

func (s *Store) read(ctx context.Context, op, prefix, key string) (e bucket.Entry, err error) {
	err = s.do(ctx, op, key, s.reading(), func(ctx context.Context, b *bucket.Bucket) (err error) {
		e, err = b.Get(ctx, prefix+bucket.EncodeKey(key))
		return err
	})
	if err == nil && (e.Revision == 0 || e.Deleted) {
		err = cache.ErrMiss
	}
	return e, err
}

func (s *Store) write(ctx context.Context, op, prefix, key string, data []byte) error {
	return s.do(ctx, op, key, writing, func(ctx context.Context, b *bucket.Bucket) error {
		if len(data) > cache.MaxSize {
			return fmt.Errorf("a value of %d bytes is over the limit of %d",
				len(data), cache.MaxSize)
		}
		return b.Put(ctx, prefix+bucket.EncodeKey(key), data)
	})
}

// How long an operation may take that does not wait for Patience, or no more; how long one try of
// it; and how soon the next one follows. What was sent to a server that died is answered by nobody:
// the first tries to read are short, for the next one is for the server that has taken its place.
const (
	longestWrite  = 10 * time.Second
	outOfPatience = 2 * time.Second
	firstRead     = 500 * time.Millisecond
	longestTry    = 2 * time.Second
	retryGap      = 100 * time.Millisecond
)

// An effort is what an operation is worth.
type effort struct{ patience, firstTry time.Duration }

// writing has long tries alone: what was given up may come through yet, beside its repetition.
var writing = effort{longestWrite, longestTry}

func (s *Store) reading() effort { return effort{s.patience(), firstRead} }

// do runs one operation on the bucket, more than once if nobody answers, and explains its error.
// All operations may be repeated.
func (s *Store) do(
	ctx context.Context, op, key string, e effort,
	f func(context.Context, *bucket.Bucket) error,
) error {
	began := time.Now()
	for length := e.firstTry; ; length = min(2*length, longestTry) {
		err := s.try(ctx, length, f)
		if err == nil {
			s.silence.ended()
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !bucket.IsUnanswered(err) {
			s.silence.ended()
			return &Error{Op: op, Bucket: s.bucket(), Key: key, Err: err}
		}
		err = &Error{Op: op, Bucket: s.bucket(), Key: key, Err: err}
		if !time.Now().Before(s.silence.noted(began, e.patience, err)) {
			return err
		}
		select {
		case <-time.After(retryGap):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// try runs the operation once. That its time is over is an error that nobody answered.
func (s *Store) try(
	ctx context.Context, length time.Duration, f func(context.Context, *bucket.Bucket) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	b, err := s.open(ctx)
	if err == nil {
		err = f(ctx, b)
	}
	if err != nil && ctx.Err() != nil && !bucket.IsUnanswered(err) {
		err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return err
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
