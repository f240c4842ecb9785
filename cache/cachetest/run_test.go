// SPDX-License-Identifier: Apache-2.0

package cachetest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/cachetest"
)

// Each broken store breaks one promise, and names the test that must notice.
var broken = map[string]struct {
	store   func() cache.Store
	noticed string
}{
	"miss is nil":           {func() cache.Store { return &missIsNil{} }, "absent key is a miss"},
	"miss is another error": {func() cache.Store { return &missIsOther{} }, "absent key is a miss"},
	"empty is a miss":       {func() cache.Store { return &emptyIsMiss{} }, "value put is value got"},
	"first put wins":        {func() cache.Store { return &firstWins{} }, "later value replaces earlier"},
	"delete does nothing":   {func() cache.Store { return &keepsAll{} }, "deleted key is a miss"},
	"delete of absent":      {func() cache.Store { return &strictDelete{} }, "deleting an absent key is no error"},
	"folds case":            {func() cache.Store { return &foldsCase{} }, "keys are told apart byte for byte"},
	"cuts keys":             {func() cache.Store { return &cutsKeys{} }, "keys are told apart byte for byte"},
	"deletes by prefix":     {func() cache.Store { return &deletesByPrefix{} }, "deleting one key leaves the others"},
	"keeps the slice":       {func() cache.Store { return &sharesSlices{values: map[string][]byte{}} }, "slices are not shared"},
	"ignores the context":   {func() cache.Store { return &ignoresContext{} }, "context that has ended changes nothing"},

	"waits miss is nil":        {func() cache.Store { return &waitsMissIsNil{} }, "absent waits are a miss"},
	"first waits win":          {func() cache.Store { return &firstWaitsWin{} }, "waits put are waits got"},
	"empty waits are kept":     {func() cache.Store { return &keepsEmptyWaits{} }, "empty waits remove what was there"},
	"waits fold case":          {func() cache.Store { return &foldsWaits{} }, "waits of other keys are untouched"},
	"waits are entries":        {func() cache.Store { return &waitsAreEntries{} }, "waits and entries do not touch"},
	"delete takes the waits":   {func() cache.Store { return &deletesWaits{} }, "waits and entries do not touch"},
	"age is too great":         {func() cache.Store { return &agesFast{} }, "age of waits is a lower bound"},
	"age falls":                {func() cache.Store { return &getsYounger{} }, "age of waits is a lower bound"},
	"keeps the slice of waits": {func() cache.Store { return &sharesWaits{} }, "slices of waits are not shared"},
	"waits ignore the context": {func() cache.Store { return &waitsIgnoreContext{} }, "waits with a context that has ended"},
}

const chosen = "CACHETEST_BROKEN_STORE"

func TestSuiteNoticesEachBrokenPromise(t *testing.T) {
	if name := os.Getenv(chosen); name != "" {
		cachetest.Run(t, func(*testing.T) cache.Store { return broken[name].store() })
		return
	}
	for name, b := range broken {
		t.Run(name, func(t *testing.T) {
			command := exec.Command(os.Args[0], "-test.run=^TestSuiteNoticesEachBrokenPromise$")
			command.Env = append(os.Environ(), chosen+"="+name)
			out, err := command.CombinedOutput()
			assert.Error(t, err, "the suite passes")
			assert.Contains(
				t, string(out),
				"--- FAIL: TestSuiteNoticesEachBrokenPromise/"+
					strings.ReplaceAll(b.noticed, " ", "_"),
			)
		})
	}
}

func TestWaitsOfAStoreWithoutThemAreSkipped(t *testing.T) {
	var skipped, run int
	cachetest.Run(t, func(t *testing.T) cache.Store {
		t.Cleanup(func() {
			run++
			if t.Skipped() {
				skipped++
				assert.Contains(t, t.Name(), "wait")
			}
		})
		return struct{ cache.Store }{&cache.Memory{}}
	})
	assert.Positive(t, skipped)
	assert.Greater(t, run, skipped)
}

type missIsNil struct{ cache.Memory }

func (s *missIsNil) Get(ctx context.Context, key string) ([]byte, error) {
	data, err := s.Memory.Get(ctx, key)
	if errors.Is(err, cache.ErrMiss) {
		return nil, nil
	}
	return data, err
}

type missIsOther struct{ cache.Memory }

func (s *missIsOther) Get(ctx context.Context, key string) ([]byte, error) {
	data, err := s.Memory.Get(ctx, key)
	if errors.Is(err, cache.ErrMiss) {
		return nil, errors.New("not found")
	}
	return data, err
}

type emptyIsMiss struct{ cache.Memory }

func (s *emptyIsMiss) Get(ctx context.Context, key string) ([]byte, error) {
	data, err := s.Memory.Get(ctx, key)
	if err == nil && len(data) == 0 {
		return nil, cache.ErrMiss
	}
	return data, err
}

type firstWins struct{ cache.Memory }

func (s *firstWins) Put(ctx context.Context, key string, data []byte) error {
	if _, err := s.Get(ctx, key); err == nil {
		return nil
	}
	return s.Memory.Put(ctx, key, data)
}

type keepsAll struct{ cache.Memory }

func (s *keepsAll) Delete(ctx context.Context, _ string) error { return context.Cause(ctx) }

type strictDelete struct{ cache.Memory }

func (s *strictDelete) Delete(ctx context.Context, key string) error {
	if _, err := s.Get(ctx, key); err != nil {
		return err
	}
	return s.Memory.Delete(ctx, key)
}

type foldsCase struct{ cache.Memory }

func (s *foldsCase) Get(ctx context.Context, key string) ([]byte, error) {
	return s.Memory.Get(ctx, strings.ToLower(key))
}

func (s *foldsCase) Put(ctx context.Context, key string, data []byte) error {
	return s.Memory.Put(ctx, strings.ToLower(key), data)
}

func (s *foldsCase) Delete(ctx context.Context, key string) error {
	return s.Memory.Delete(ctx, strings.ToLower(key))
}

type cutsKeys struct{ cache.Memory }

func cut(key string) string { return key[:min(250, len(key))] }

func (s *cutsKeys) Get(ctx context.Context, key string) ([]byte, error) {
	return s.Memory.Get(ctx, cut(key))
}

func (s *cutsKeys) Put(ctx context.Context, key string, data []byte) error {
	return s.Memory.Put(ctx, cut(key), data)
}

func (s *cutsKeys) Delete(ctx context.Context, key string) error {
	return s.Memory.Delete(ctx, cut(key))
}

type deletesByPrefix struct{ cache.Memory }

func (s *deletesByPrefix) Delete(ctx context.Context, key string) error {
	return errors.Join(s.Memory.Delete(ctx, key), s.Memory.Delete(ctx, key+"2"))
}

type sharesSlices struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (s *sharesSlices) Get(ctx context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if data, ok := s.values[key]; ok {
		return data, context.Cause(ctx)
	}
	return nil, errors.Join(cache.ErrMiss, context.Cause(ctx))
}

func (s *sharesSlices) Put(ctx context.Context, key string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() == nil {
		s.values[key] = data
	}
	return context.Cause(ctx)
}

func (s *sharesSlices) Delete(ctx context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() == nil {
		delete(s.values, key)
	}
	return context.Cause(ctx)
}

type ignoresContext struct{ cache.Memory }

func (s *ignoresContext) Get(ctx context.Context, key string) ([]byte, error) {
	return s.Memory.Get(context.WithoutCancel(ctx), key)
}

func (s *ignoresContext) Put(ctx context.Context, key string, data []byte) error {
	return s.Memory.Put(context.WithoutCancel(ctx), key, data)
}

func (s *ignoresContext) Delete(ctx context.Context, key string) error {
	return s.Memory.Delete(context.WithoutCancel(ctx), key)
}
