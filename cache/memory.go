package cache

import (
	"bytes"
	"context"
	"sync"
)

// Memory is a Store that lasts as long as the process: for tests, and for
// devices that have nowhere to write. Its zero value is empty and ready. It is
// safe for concurrent use and must not be copied after first use.
type Memory struct {
	mu      sync.Mutex
	entries map[string][]byte
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

// Delete removes key.
func (m *Memory) Delete(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, key)
	return nil
}
