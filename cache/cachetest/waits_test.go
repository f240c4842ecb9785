// SPDX-License-Identifier: Apache-2.0

package cachetest_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/cache"
)

// These stores break a promise of cache.WaitStore each.

type waitsMissIsNil struct{ cache.Memory }

func (s *waitsMissIsNil) GetWaits(
	ctx context.Context, key string,
) ([]byte, time.Duration, error) {
	data, age, err := s.Memory.GetWaits(ctx, key)
	if errors.Is(err, cache.ErrMiss) {
		return nil, 0, nil
	}
	return data, age, err
}

type firstWaitsWin struct{ cache.Memory }

func (s *firstWaitsWin) PutWaits(ctx context.Context, key string, data []byte) error {
	if _, _, err := s.GetWaits(ctx, key); err == nil && len(data) > 0 {
		return nil
	}
	return s.Memory.PutWaits(ctx, key, data)
}

type keepsEmptyWaits struct{ cache.Memory }

func (s *keepsEmptyWaits) PutWaits(ctx context.Context, key string, data []byte) error {
	if len(data) == 0 {
		data = []byte{0}
	}
	return s.Memory.PutWaits(ctx, key, data)
}

type foldsWaits struct{ cache.Memory }

func (s *foldsWaits) GetWaits(ctx context.Context, key string) ([]byte, time.Duration, error) {
	return s.Memory.GetWaits(ctx, strings.ToLower(key))
}

func (s *foldsWaits) PutWaits(ctx context.Context, key string, data []byte) error {
	return s.Memory.PutWaits(ctx, strings.ToLower(key), data)
}

type waitsAreEntries struct{ cache.Memory }

func (s *waitsAreEntries) GetWaits(
	ctx context.Context, key string,
) ([]byte, time.Duration, error) {
	data, err := s.Memory.Get(ctx, key)
	return data, -1, err
}

func (s *waitsAreEntries) PutWaits(ctx context.Context, key string, data []byte) error {
	if len(data) == 0 {
		return s.Memory.Delete(ctx, key)
	}
	return s.Memory.Put(ctx, key, data)
}

type deletesWaits struct{ cache.Memory }

func (s *deletesWaits) Delete(ctx context.Context, key string) error {
	return errors.Join(s.Memory.Delete(ctx, key), s.Memory.PutWaits(ctx, key, nil))
}

type agesFast struct{ cache.Memory }

func (s *agesFast) GetWaits(ctx context.Context, key string) ([]byte, time.Duration, error) {
	data, age, err := s.Memory.GetWaits(ctx, key)
	return data, age + time.Minute, err
}

type getsYounger struct {
	cache.Memory
	mu    sync.Mutex
	reads int
}

func (s *getsYounger) GetWaits(ctx context.Context, key string) ([]byte, time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, _, err := s.Memory.GetWaits(ctx, key)
	s.reads++
	return data, -time.Duration(s.reads), err
}

type sharesWaits struct {
	cache.Memory
	mu    sync.Mutex
	waits map[string][]byte
}

func (s *sharesWaits) GetWaits(ctx context.Context, key string) ([]byte, time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if data, ok := s.waits[key]; ok {
		return data, -1, context.Cause(ctx)
	}
	return nil, -1, errors.Join(cache.ErrMiss, context.Cause(ctx))
}

func (s *sharesWaits) PutWaits(ctx context.Context, key string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case len(data) == 0:
		delete(s.waits, key)
	case s.waits == nil:
		s.waits = map[string][]byte{key: data}
	default:
		s.waits[key] = data
	}
	return context.Cause(ctx)
}

type waitsIgnoreContext struct{ cache.Memory }

func (s *waitsIgnoreContext) GetWaits(
	ctx context.Context, key string,
) ([]byte, time.Duration, error) {
	return s.Memory.GetWaits(context.WithoutCancel(ctx), key)
}

func (s *waitsIgnoreContext) PutWaits(ctx context.Context, key string, data []byte) error {
	return s.Memory.PutWaits(context.WithoutCancel(ctx), key, data)
}
