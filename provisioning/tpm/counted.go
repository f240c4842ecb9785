// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/cache"
)

// CountedStore is a store whose entries cannot be put back to an older state, not even by whoever
// can write to its medium: a counter in the TPM, which only goes up, says how new they have to be.
// It is for the Store of a device; without it an older entry sends a device to a hub to which DPS
// once assigned it, where the device is rejected if it was moved.
//
// All entries are one in Store, under the key "~counted", with a seal by the TPM and the value of
// the counter. An older copy, one with another seal and one of another TPM are refused with
// [ErrRolledBack] or another error, and are replaced as a whole at the next Put: to a device such
// an error is a store that fails, and it asks DPS. One that is missing is a store that is empty. A
// write that a power cut interrupts is finished at the next use, or never happened: who copied it
// in between can put it in the place of the next write.
//
// It costs one increment of the counter, a write to the TPM's memory of some 10 ms, for each Put
// and each Delete of what is there, and none for Get. Memory of TPMs lasts for 100,000 writes and
// more, and a device writes when it was assigned, moved, or has noticed that an entry is out of
// date: a few times a year. What a device notes more often, under keys that end in "~waits", and
// what [cache.WaitStore] is for, is put into Store as it is: neither can send a device anywhere.
//
// Entries that Store had before under their own keys are not seen. It is safe for concurrent use,
// but not by several processes at once. It must not be copied.
type CountedStore struct {
	// Store keeps the entries. If it is a [cache.WaitStore] it keeps the waits, too; otherwise they
	// are kept in memory.
	Store cache.Store

	// TPM is the one to use; nil is the machine's own.
	TPM *TPM

	// Index is that of the counter in the TPM's memory, of the owner's, 0x01800000 to 0x01bfffff.
	// It is defined at the first use. One that is in use for something else is left alone, and an
	// error says so. Nothing ever undefines it (tpm2_nvundefine does).
	Index uint32

	memory cache.Memory // for waits, if Store does not keep any
	once   sync.Once
	turn   chan struct{}
}

var _ cache.WaitStore = (*CountedStore)(nil)

// countedKey is that of the one entry in which all are.
const countedKey = "~counted"

// countedMagic begins it, and is its version.
const countedMagic = "rehome counted 1\n"

var errCounted = errors.New("the entries do not carry this TPM's seal: they are damaged, or of " +
	"another device")

// Get returns an entry; [ErrRolledBack] is in the error's tree if they all are too old.
func (s *CountedStore) Get(ctx context.Context, key string) ([]byte, error) {
	if passesThrough(key) {
		return s.Store.Get(ctx, key)
	}
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	entries, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	data, ok := entries.data[key]
	if !ok {
		return nil, cache.ErrMiss
	}
	return data, nil
}

// Put stores an entry and increments the counter.
func (s *CountedStore) Put(ctx context.Context, key string, data []byte) error {
	if passesThrough(key) {
		return s.Store.Put(ctx, key, data)
	}
	return s.change(ctx, func(entries map[string][]byte) bool {
		entries[key] = data
		return true
	})
}

// Delete removes an entry and, if it was there, increments the counter.
func (s *CountedStore) Delete(ctx context.Context, key string) error {
	if passesThrough(key) {
		return s.Store.Delete(ctx, key)
	}
	return s.change(ctx, func(entries map[string][]byte) bool {
		_, ok := entries[key]
		delete(entries, key)
		return ok
	})
}

// GetWaits is that of Store.
func (s *CountedStore) GetWaits(
	ctx context.Context, key string,
) (data []byte, age time.Duration, err error) {
	return s.waits().GetWaits(ctx, key)
}

// PutWaits is that of Store.
func (s *CountedStore) PutWaits(ctx context.Context, key string, data []byte) error {
	return s.waits().PutWaits(ctx, key, data)
}

func (s *CountedStore) waits() cache.WaitStore {
	if store, ok := s.Store.(cache.WaitStore); ok {
		return store
	}
	return &s.memory
}

func passesThrough(key string) bool { return strings.HasSuffix(key, "~waits") }

// begin waits for its turn: a write is several steps.
func (s *CountedStore) begin(ctx context.Context) (end func(), err error) {
	s.once.Do(func() { s.turn = make(chan struct{}, 1) })
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if s.Store == nil {
		return nil, s.failed("get", errors.New("CountedStore: Store is nil: set it"))
	}
	if s.Index < 0x01800000 || s.Index > 0x01bfffff {
		return nil, s.failed("get", fmt.Errorf("CountedStore: Index 0x%08x is none of the "+
			"owner's: choose one from 0x01800000 to 0x01bfffff", s.Index))
	}
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// counted is all entries, and the value of the counter that goes with them.
type counted struct {
	value uint64
	data  map[string][]byte
}

// change writes the entries, if they change: first to Store, for the counter's next value, and then
// counts up.
func (s *CountedStore) change(ctx context.Context, change func(map[string][]byte) bool) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	entries, err := s.load(ctx)
	if errors.Is(err, ErrRolledBack) || errors.Is(err, errCounted) {
		err = nil // what is refused is replaced; load has told the counter's value
	}
	if err != nil {
		return err
	}
	if !change(entries.data) {
		return nil
	}
	entries.value++
	data, err := s.seal(ctx, entries)
	if err != nil {
		return err
	}
	if err := s.Store.Put(ctx, countedKey, data); err != nil {
		return err
	}
	_, err = run(ctx, or(s.TPM), "count", func(x *exchange) (struct{}, error) {
		c, err := x.counter(s.Index)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, c.increment()
	})
	return err
}

// load reads the entries, and judges them. What it returns with an error that refuses them has the
// value of the counter and no entry.
func (s *CountedStore) load(ctx context.Context) (counted, error) {
	stored, err := s.Store.Get(ctx, countedKey)
	missing := errors.Is(err, cache.ErrMiss)
	if err != nil && !missing {
		return counted{}, err
	}
	entries, seal, body := parseCounted(stored)
	digest := sha256.Sum256(body)
	return run(ctx, or(s.TPM), "get", func(x *exchange) (counted, error) {
		empty := counted{data: map[string][]byte{}}
		c, err := x.counter(s.Index)
		if err == nil {
			empty.value, err = c.value()
		}
		if err != nil || missing {
			return empty, err
		}
		want, err := x.seal(countedLabel, digest[:])
		switch {
		case err != nil:
			return counted{}, err
		case entries.data == nil || !hmac.Equal(want, seal) || entries.value > empty.value+1:
			return empty, errCounted
		case entries.value < empty.value:
			return empty, fmt.Errorf("%w: they are number %d, and number %d was written",
				ErrRolledBack, entries.value, empty.value)
		case entries.value > empty.value:
			return entries, c.increment() // the power went between the two steps of a write
		}
		return entries, nil
	})
}

func (s *CountedStore) failed(op string, err error) error {
	return &Error{Op: op, Place: or(s.TPM).place(), Err: err}
}

// seal writes the entries: magic, seal, value of the counter, and for each entry key and data, each
// after its size.
func (s *CountedStore) seal(ctx context.Context, entries counted) ([]byte, error) {
	body := entries.body()
	seal, err := or(s.TPM).mac(ctx, "put", countedLabel, body)
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{[]byte(countedMagic), seal, body}, nil), nil
}

// body is what is sealed.
func (c counted) body() []byte {
	body := binary.BigEndian.AppendUint64(nil, c.value)
	for _, key := range slices.Sorted(maps.Keys(c.data)) {
		for _, field := range [][]byte{[]byte(key), c.data[key]} {
			body = binary.BigEndian.AppendUint32(body, uint32(len(field)))
			body = append(body, field...)
		}
	}
	return body
}

// parseCounted reads what seal wrote; without data where it is no such thing.
func parseCounted(stored []byte) (entries counted, seal, body []byte) {
	rest, ok := bytes.CutPrefix(stored, []byte(countedMagic))
	if !ok || len(rest) < sha256.Size+counterSize {
		return counted{}, nil, nil
	}
	seal, body = rest[:sha256.Size], rest[sha256.Size:]
	data := map[string][]byte{}
	var fields [][]byte
	for rest = body[counterSize:]; len(rest) > 0; {
		if len(rest) < 4 || uint64(len(rest)-4) < uint64(binary.BigEndian.Uint32(rest)) {
			return counted{}, nil, nil
		}
		size := binary.BigEndian.Uint32(rest)
		fields = append(fields, rest[4:4+size])
		rest = rest[4+size:]
	}
	if len(fields)%2 != 0 {
		return counted{}, nil, nil
	}
	for pair := range slices.Chunk(fields, 2) {
		data[string(pair[0])] = bytes.Clone(pair[1])
	}
	return counted{binary.BigEndian.Uint64(body), data}, seal, body
}
