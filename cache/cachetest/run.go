// SPDX-License-Identifier: Apache-2.0

package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/rehome-iot/rehome/cache"
)

// Run runs the conformance suite as subtests of t. It calls newStore once for
// each of them and expects a store that is empty and shares nothing with the
// others. Run the tests with -race: one of them uses the store from many
// goroutines. Of a store that is no cache.WaitStore the subtests of waits are
// skipped.
func Run(t *testing.T, newStore func(t *testing.T) cache.Store) {
	t.Helper()
	for _, test := range suite {
		t.Run(test.name, func(t *testing.T) { test.run(t, newStore(t)) })
	}
	for _, test := range waitSuite {
		t.Run(test.name, func(t *testing.T) {
			s, ok := newStore(t).(cache.WaitStore)
			if !ok {
				t.Skip("the store is no cache.WaitStore")
			}
			test.run(t, s)
		})
	}
}

var suite = []struct {
	name string
	run  func(*testing.T, cache.Store)
}{
	{"absent key is a miss", absentKeyIsMiss},
	{"value put is value got", valuePutIsValueGot},
	{"later value replaces earlier", laterValueReplaces},
	{"deleted key is a miss", deletedKeyIsMiss},
	{"deleting an absent key is no error", deletingAbsentKey},
	{"keys are told apart byte for byte", keysAreToldApart},
	{"deleting one key leaves the others", deletingOneLeavesOthers},
	{"slices are not shared", slicesAreNotShared},
	{"context that has ended changes nothing", endedContext},
	{"readers and writers at once see whole values", concurrentUse},
}

func absentKeyIsMiss(t *testing.T, s cache.Store) {
	data, err := s.Get(t.Context(), "absent")
	if !errors.Is(err, cache.ErrMiss) {
		t.Errorf("Get of an absent key = %q, %v; want an error that is cache.ErrMiss", data, err)
	}
	put(t, s, "present", "value")
	miss(t, s, "absent")
}

func valuePutIsValueGot(t *testing.T, s cache.Store) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for name, value := range map[string]string{
		"text":         "value",
		"empty":        "",
		"every-byte":   string(every),
		"line-feeds":   "\r\n\n",
		"64-kibibytes": strings.Repeat("0123456789abcdef", 4096),
	} {
		put(t, s, name, value)
		got(t, s, name, value)
		got(t, s, name, value) // reading does not use it up
	}
	if err := s.Put(t.Context(), "nil", nil); err != nil {
		t.Errorf("Put of nil: %v; want an empty value to be stored", err)
	}
	got(t, s, "nil", "")
}

func laterValueReplaces(t *testing.T, s cache.Store) {
	for _, value := range []string{"first", "a longer second value", "3", "", "5"} {
		put(t, s, "key", value)
		got(t, s, "key", value)
	}
}

func deletedKeyIsMiss(t *testing.T, s cache.Store) {
	put(t, s, "key", "value")
	remove(t, s, "key")
	miss(t, s, "key")
	put(t, s, "key", "again")
	got(t, s, "key", "again")
}

func deletingAbsentKey(t *testing.T, s cache.Store) {
	remove(t, s, "never there")
	put(t, s, "key", "value")
	remove(t, s, "key")
	remove(t, s, "key")
	remove(t, s, "never there")
}

// Keys are chosen for what a store might do to them: use them as paths, fold
// their case, cut them, escape them badly, take them for a pattern.
var keys = []string{
	"", " ", ".", "..", "...", "/", "//", "\\", "a", "A", "a.", ".a", "a ", "a/b", "a\\b", "a/",
	"a:b", "a=", "a=waits", "a.waits", "a%2fb", "a%2Fb", "a%252fb", "%", "%41", "../escape",
	"/etc/passwd", "con", "nul.txt", "com1", "~", "*", "?", "a*", "a\x00b", "a\nb", "\xff\xfe", "é",
	"e\u0301", "İ", "ß", "ss", "鍵",
	strings.Repeat("k", 250), strings.Repeat("k", 251), strings.Repeat("K", 251),
	strings.Repeat("/", 251), strings.Repeat("k", 5000),
}

func keysAreToldApart(t *testing.T, s cache.Store) {
	for i, key := range keys {
		put(t, s, key, fmt.Sprint(i))
	}
	for i, key := range keys {
		got(t, s, key, fmt.Sprint(i))
	}
	for i, key := range keys {
		remove(t, s, key)
		miss(t, s, key)
		if i+1 < len(keys) {
			got(t, s, keys[i+1], fmt.Sprint(i+1))
		}
	}
}

func deletingOneLeavesOthers(t *testing.T, s cache.Store) {
	put(t, s, "key", "value")
	put(t, s, "key2", "value2")
	put(t, s, "key.tmp", "value3")
	remove(t, s, "key")
	got(t, s, "key2", "value2")
	got(t, s, "key.tmp", "value3")
}

func slicesAreNotShared(t *testing.T, s cache.Store) {
	given := []byte("value")
	if err := s.Put(t.Context(), "key", given); err != nil {
		t.Fatalf("Put: %v", err)
	}
	if string(given) != "value" {
		t.Errorf("Put changed its argument to %q", given)
	}
	copy(given, "XXXXX")
	got(t, s, "key", "value")
	first, err := s.Get(t.Context(), "key")
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	copy(first, "YYYYY")
	got(t, s, "key", "value")
}

func endedContext(t *testing.T, s cache.Store) {
	put(t, s, "key", "value")
	cause := errors.New("the cause given to the context")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := s.Get(ctx, "key"); !errors.Is(err, cause) {
		t.Errorf("Get with an ended context: %v; want its cause", err)
	}
	if _, err := s.Get(ctx, "absent"); !errors.Is(err, cause) {
		t.Errorf("Get of an absent key with an ended context: %v; want its cause", err)
	}
	if err := s.Put(ctx, "key", []byte("other")); !errors.Is(err, cause) {
		t.Errorf("Put with an ended context: %v; want its cause", err)
	}
	if err := s.Delete(ctx, "key"); !errors.Is(err, cause) {
		t.Errorf("Delete with an ended context: %v; want its cause", err)
	}
	got(t, s, "key", "value")
}

func concurrentUse(t *testing.T, s cache.Store) {
	const writers, rounds, size = 4, 10, 8192
	put(t, s, "shared", strings.Repeat("a", size))
	ctx := t.Context()
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			own := fmt.Sprintf("own-%d", w)
			value := bytes.Repeat([]byte{'b' + byte(w)}, size)
			for range rounds {
				if err := s.Put(ctx, "shared", value); err != nil {
					t.Errorf("Put beside others: %v", err)
				}
				if err := s.Put(ctx, own, value); err != nil {
					t.Errorf("Put of another key beside others: %v", err)
				}
				if err := s.Delete(ctx, own); err != nil {
					t.Errorf("Delete beside others: %v", err)
				}
			}
		})
		all.Go(func() {
			for range rounds * 4 {
				data, err := s.Get(ctx, "shared")
				unmixed(t, "Get", data, err, size)
			}
		})
	}
	all.Wait()
}

// unmixed checks what was read beside writers, each of which writes one byte so many times.
func unmixed(t *testing.T, op string, data []byte, err error, size int) {
	t.Helper()
	if err != nil {
		t.Errorf("%s beside others: %v", op, err)
	} else if len(data) != size || bytes.Count(data, data[:1]) != size {
		t.Errorf(
			"%s beside others: a mixture, %d bytes from %.10q to %.10q", op, len(data), data,
			data[max(0, len(data)-10):],
		)
	}
}

func put(t *testing.T, s cache.Store, key, value string) {
	t.Helper()
	if err := s.Put(t.Context(), key, []byte(value)); err != nil {
		t.Errorf("Put(%.40q): %v", key, err)
	}
}

func got(t *testing.T, s cache.Store, key, value string) {
	t.Helper()
	data, err := s.Get(t.Context(), key)
	if err != nil {
		t.Errorf("Get(%.40q): %v", key, err)
	} else if string(data) != value {
		t.Errorf(
			"Get(%.40q) = %d bytes, %.40q; want %d, %.40q", key, len(data), data, len(value), value,
		)
	}
}

func miss(t *testing.T, s cache.Store, key string) {
	t.Helper()
	if data, err := s.Get(t.Context(), key); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("Get(%.40q) = %.40q, %v; want an error that is cache.ErrMiss", key, data, err)
	}
}

func remove(t *testing.T, s cache.Store, key string) {
	t.Helper()
	if err := s.Delete(t.Context(), key); err != nil {
		t.Errorf("Delete(%.40q): %v", key, err)
	}
}
