// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// Memory is a Store, and a WaitStore, that lasts as long as the process: for tests, and for
// devices that have nowhere to write. Its zero value is empty and ready. It is
// safe for concurrent use and must not be copied after first use.
type Memory struct {
	mu      sync.Mutex
	entries map[string][]byte
	waits   map[string]memoryWaits
}

type memoryWaits struct {
	data []byte
	at   time.Time
}

// Get returns a copy of the value, or ErrMiss.
func (m *Memory) Get(ctx context.Context, key string) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.entries[key]
	if !ok {
		return nil, ErrMiss
	}
	return bytes.Clone(data), nil
}

// Put stores a copy of data, of MaxSize bytes at most.
func (m *Memory) Put(ctx context.Context, key string, data []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(data) > MaxSize {
		return &Error{Op: "put", Key: key, Err: tooLarge(len(data))}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries == nil {
		m.entries = make(map[string][]byte)
	}
	m.entries[key] = append([]byte{}, data...)
	return nil
}

// Delete removes the value of key.
func (m *Memory) Delete(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, key)
	return nil
}

// GetWaits returns a copy of what PutWaits stored, or ErrMiss. The age is never
// negative; where the system's monotonic clock stops during sleep, so does the age.
func (m *Memory) GetWaits(ctx context.Context, key string) ([]byte, time.Duration, error) {
	if ctx.Err() != nil {
		return nil, 0, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.waits[key]
	if !ok {
		return nil, 0, ErrMiss
	}
	return bytes.Clone(w.data), time.Since(w.at), nil
}

// PutWaits stores a copy of data, of MaxSize bytes at most. Empty data removes it.
func (m *Memory) PutWaits(ctx context.Context, key string, data []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(data) > MaxSize {
		return &Error{Op: "put waits", Key: key, Err: tooLarge(len(data))}
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(data) == 0 {
		delete(m.waits, key)
		return nil
	}
	if m.waits == nil {
		m.waits = make(map[string]memoryWaits)
	}
	m.waits[key] = memoryWaits{bytes.Clone(data), now}
	return nil
}
