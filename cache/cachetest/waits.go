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
	"time"

	"github.com/rehome-iot/rehome/cache"
)

var waitSuite = []struct {
	name string
	run  func(*testing.T, cache.WaitStore)
}{
	{"absent waits are a miss", absentWaitsAreMiss},
	{"waits put are waits got", waitsPutAreWaitsGot},
	{"empty waits remove what was there", emptyWaitsRemove},
	{"waits of other keys are untouched", otherWaitsAreUntouched},
	{"waits and entries do not touch", waitsAndEntriesDoNotTouch},
	{"age of waits is a lower bound", ageIsLowerBound},
	{"slices of waits are not shared", waitSlicesAreNotShared},
	{"waits with a context that has ended", waitsWithEndedContext},
	{"readers and writers at once see whole waits", concurrentWaits},
}

func absentWaitsAreMiss(t *testing.T, s cache.WaitStore) {
	noWaits(t, s, "absent")
	put(t, s, "entry", "value")
	noWaits(t, s, "entry")
	putWaits(t, s, "present", "waits")
	noWaits(t, s, "absent")
}

func waitsPutAreWaitsGot(t *testing.T, s cache.WaitStore) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, data := range []string{
		"waits", string(every), "\x00", "\r\n\n", strings.Repeat("0123456789abcdef", 1024), "5",
	} {
		putWaits(t, s, "key", data)
		gotWaits(t, s, "key", data)
		gotWaits(t, s, "key", data) // reading does not use them up
	}
}

func emptyWaitsRemove(t *testing.T, s cache.WaitStore) {
	putWaits(t, s, "key", "") // nothing there
	noWaits(t, s, "key")
	for _, empty := range [][]byte{nil, {}} {
		putWaits(t, s, "key", "waits")
		if err := s.PutWaits(t.Context(), "key", empty); err != nil {
			t.Errorf("PutWaits of empty data: %v", err)
		}
		noWaits(t, s, "key")
	}
	putWaits(t, s, "key", "again")
	gotWaits(t, s, "key", "again")
}

func otherWaitsAreUntouched(t *testing.T, s cache.WaitStore) {
	for i, key := range keys {
		putWaits(t, s, key, fmt.Sprint("waits ", i))
	}
	for i, key := range keys {
		gotWaits(t, s, key, fmt.Sprint("waits ", i))
	}
	for i, key := range keys {
		putWaits(t, s, key, "")
		noWaits(t, s, key)
		if i+1 < len(keys) {
			gotWaits(t, s, keys[i+1], fmt.Sprint("waits ", i+1))
		}
	}
}

func waitsAndEntriesDoNotTouch(t *testing.T, s cache.WaitStore) {
	for i, key := range keys {
		put(t, s, key, fmt.Sprint("entry ", i))
		putWaits(t, s, key, fmt.Sprint("waits ", i))
	}
	for i, key := range keys {
		got(t, s, key, fmt.Sprint("entry ", i))
		gotWaits(t, s, key, fmt.Sprint("waits ", i))
	}
	for i, key := range keys {
		if i%2 == 0 {
			remove(t, s, key)
			gotWaits(t, s, key, fmt.Sprint("waits ", i))
		} else {
			putWaits(t, s, key, "")
			got(t, s, key, fmt.Sprint("entry ", i))
		}
	}
	for i, key := range keys {
		if i%2 == 0 {
			miss(t, s, key)
			gotWaits(t, s, key, fmt.Sprint("waits ", i))
		} else {
			got(t, s, key, fmt.Sprint("entry ", i))
			noWaits(t, s, key)
		}
	}
}

func ageIsLowerBound(t *testing.T, s cache.WaitStore) {
	for range 3 {
		before, last := time.Now(), time.Duration(-1)
		putWaits(t, s, "key", "waits")
		for range 3 {
			_, age, err := s.GetWaits(t.Context(), "key")
			if err != nil {
				t.Fatalf("GetWaits: %v", err)
			}
			if most := time.Since(before); age > most {
				t.Errorf("age %v after %v at most; want no more", age, most)
			}
			if age < last {
				t.Errorf("age %v after one of %v; want it to grow", age, last)
			}
			last = age
		}
	}
}

func waitSlicesAreNotShared(t *testing.T, s cache.WaitStore) {
	given := []byte("waits")
	if err := s.PutWaits(t.Context(), "key", given); err != nil {
		t.Fatalf("PutWaits: %v", err)
	}
	if string(given) != "waits" {
		t.Errorf("PutWaits changed its argument to %q", given)
	}
	copy(given, "XXXXX")
	gotWaits(t, s, "key", "waits")
	first, _, err := s.GetWaits(t.Context(), "key")
	if err != nil {
		t.Fatalf("GetWaits: %v", err)
	}
	copy(first, "YYYYY")
	gotWaits(t, s, "key", "waits")
}

func waitsWithEndedContext(t *testing.T, s cache.WaitStore) {
	putWaits(t, s, "key", "waits")
	cause := errors.New("the cause given to the context")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	for _, key := range []string{"key", "absent"} {
		if _, _, err := s.GetWaits(ctx, key); !errors.Is(err, cause) {
			t.Errorf("GetWaits(%q) with an ended context: %v; want its cause", key, err)
		}
	}
	for _, data := range []string{"other", ""} {
		if err := s.PutWaits(ctx, "key", []byte(data)); !errors.Is(err, cause) {
			t.Errorf("PutWaits of %q with an ended context: %v; want its cause", data, err)
		}
	}
	gotWaits(t, s, "key", "waits")
}

func concurrentWaits(t *testing.T, s cache.WaitStore) {
	const writers, rounds, size = 4, 10, 8192
	putWaits(t, s, "shared", strings.Repeat("a", size))
	ctx := t.Context()
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			own := fmt.Sprintf("own-%d", w)
			data := bytes.Repeat([]byte{'b' + byte(w)}, size)
			for range rounds {
				if err := s.PutWaits(ctx, "shared", data); err != nil {
					t.Errorf("PutWaits beside others: %v", err)
				}
				if err := s.PutWaits(ctx, own, data); err != nil {
					t.Errorf("PutWaits of another key beside others: %v", err)
				}
				if err := s.PutWaits(ctx, own, nil); err != nil {
					t.Errorf("PutWaits of empty data beside others: %v", err)
				}
				if err := s.Put(ctx, "shared", data); err != nil {
					t.Errorf("Put beside others: %v", err)
				}
			}
		})
		all.Go(func() {
			for range rounds * 4 {
				data, _, err := s.GetWaits(ctx, "shared")
				unmixed(t, "GetWaits", data, err, size)
			}
		})
	}
	all.Wait()
}

func putWaits(t *testing.T, s cache.WaitStore, key, data string) {
	t.Helper()
	if err := s.PutWaits(t.Context(), key, []byte(data)); err != nil {
		t.Errorf("PutWaits(%.40q): %v", key, err)
	}
}

func gotWaits(t *testing.T, s cache.WaitStore, key, want string) {
	t.Helper()
	data, _, err := s.GetWaits(t.Context(), key)
	if err != nil {
		t.Errorf("GetWaits(%.40q): %v", key, err)
	} else if string(data) != want {
		t.Errorf(
			"GetWaits(%.40q) = %d bytes, %.40q; want %d, %.40q", key, len(data), data, len(want),
			want,
		)
	}
}

func noWaits(t *testing.T, s cache.WaitStore, key string) {
	t.Helper()
	if data, _, err := s.GetWaits(t.Context(), key); !errors.Is(err, cache.ErrMiss) {
		t.Errorf(
			"GetWaits(%.40q) = %.40q, %v; want an error that is cache.ErrMiss", key, data, err,
		)
	}
}
