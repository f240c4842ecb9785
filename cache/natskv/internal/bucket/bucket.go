// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Bucket is a key-value bucket. Keys are valid as they are: EncodeKey makes them so.
type Bucket struct {
	js     jetstream.JetStream
	kv     jetstream.KeyValue
	stream jetstream.Stream
	name   string
}

// An Entry is what stands under a key. Revision 0 is nothing at all, and a deleted key still has
// one.
type Entry struct {
	Value    []byte
	Revision uint64
	Deleted  bool
}

const (
	streamPrefix  = "KV_"
	subjectPrefix = "$KV."
	opHeader      = "KV-Operation"

	codeNoPeers          = 10005
	codeNoLeader         = 10008 // the servers are choosing one
	codeNotLeader        = 10009
	codeOffline          = 10118 // too few servers of the bucket run
	codeWrongLast        = 10071
	codeWrongLastPending = 10164 // another write is under way, in a bucket with replicas
)

// Open opens the bucket, and makes it if it is not there, with so many replicas.
//
// It is a bucket as others are, but for one thing: values are read from the leader alone. A
// follower may lag behind, and then what was put a moment ago would not be there.
func Open(ctx context.Context, nc *nats.Conn, name, description string, replicas int) (
	*Bucket, error,
) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, streamPrefix+name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: streamPrefix + name, Description: description,
			Subjects:          []string{subjectPrefix + name + ".>"},
			MaxMsgsPerSubject: 1, Replicas: max(replicas, 1), Storage: jetstream.FileStorage,
			Discard: jetstream.DiscardNew, AllowRollup: true, DenyDelete: true,
			MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxConsumers: -1,
		})
	}
	if err != nil {
		return nil, err
	}
	switch config := stream.CachedInfo().Config; {
	case config.MaxAge != 0:
		return nil, unfit(fmt.Sprintf("bucket %q has a time to live, by which entries would "+
			"vanish: make it without one", name))
	case config.AllowDirect:
		config.AllowDirect = false
		if stream, err = js.UpdateStream(ctx, config); err != nil {
			return nil, fmt.Errorf("bucket %q is read from replicas that may lag behind, and this "+
				"could not be changed: %w", name, err)
		}
	}
	kv, err := js.KeyValue(ctx, name)
	if err != nil {
		return nil, err
	}
	return &Bucket{js: js, kv: kv, stream: stream, name: name}, nil
}

// tryTimeout bounds one try to open a bucket: what is asked of a cluster that starts is not always
// answered.
const tryTimeout = 3 * time.Second

// OpenPatiently tries until it succeeds or ctx ends: a cluster that starts needs some seconds.
func OpenPatiently(ctx context.Context, nc *nats.Conn, name, description string, replicas int) (
	*Bucket, error,
) {
	for {
		trying, cancel := context.WithTimeout(ctx, tryTimeout)
		b, err := Open(trying, nc, name, description, replicas)
		cancel()
		if err == nil || ctx.Err() != nil || !passing(nc, err) {
			return b, err
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// passing says whether err may be over in a while.
func passing(nc *nats.Conn, err error) bool {
	if _, ok := errors.AsType[unfit](err); ok || nc.IsClosed() {
		return false
	}
	if e, ok := errors.AsType[*jetstream.APIError](err); ok {
		return e.Code >= 500 || e.ErrorCode == codeNoPeers // no leader yet, or too few servers
	}
	return true
}

// unfit is a bucket that is there and cannot be used.
type unfit string

func (u unfit) Error() string { return string(u) }

// Get returns what stands under key, from the leader.
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	m, err := b.stream.GetLastMsgForSubject(ctx, subjectPrefix+b.name+"."+key)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Entry{}, nil
	}
	if err != nil {
		return Entry{}, err
	}
	return Entry{m.Data, m.Sequence, m.Header.Get(opHeader) != ""}, nil
}

// Put stores value under key.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) error {
	_, err := b.kv.Put(ctx, key, value)
	return err
}

// Update stores value under key if the key's revision is that, 0 for one that was never there. It
// returns the new revision; see IsConflict.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (
	uint64, error,
) {
	return b.kv.Update(ctx, key, value, revision)
}

// DeleteIf deletes key if its revision is that; see IsConflict. Watchers are told.
func (b *Bucket) DeleteIf(ctx context.Context, key string, revision uint64) error {
	return b.kv.Delete(ctx, key, jetstream.LastRevision(revision))
}

// Purge removes key without a trace. Watchers are not told.
func (b *Bucket) Purge(ctx context.Context, key string) error {
	return b.stream.Purge(ctx, jetstream.WithPurgeSubject(subjectPrefix+b.name+"."+key))
}

// Watch tells all that is in the bucket, then a nil entry, then what changes.
func (b *Bucket) Watch(ctx context.Context) (jetstream.KeyWatcher, error) {
	return b.kv.WatchAll(ctx)
}

// unanswered are the errors of a request that was not sent, or that nobody has answered.
var unanswered = []error{
	nats.ErrNoResponders, nats.ErrTimeout, jetstream.ErrNoStreamResponse, context.DeadlineExceeded,
	// A bucket that was there: a server that has only just been chosen may not know of it yet.
	jetstream.ErrStreamNotFound, jetstream.ErrBucketNotFound,
	// The connection is being made anew, and keeps nothing until then (natskv.ConnOptions).
	nats.ErrReconnectBufExceeded, nats.ErrDisconnected, nats.ErrConnectionReconnecting,
}

// IsUnanswered says that no server answered, or one that only said that there is none to answer, so
// that it may be worth while to ask again.
func IsUnanswered(err error) bool {
	if e, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch e.ErrorCode {
		case codeNoPeers, codeNoLeader, codeNotLeader, codeOffline:
			return true
		}
	}
	return slices.ContainsFunc(unanswered, func(e error) bool { return errors.Is(err, e) })
}

// IsConflict says that a write was refused because the key has another revision, or may soon have.
func IsConflict(err error) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (e.ErrorCode == codeWrongLast || e.ErrorCode == codeWrongLastPending)
}
