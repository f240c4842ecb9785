// SPDX-License-Identifier: Apache-2.0

package boundedlog

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func text(entries, bytes int) *Log[string] {
	l := New(func(s *string) int { return len(*s) })
	l.Limit(entries, bytes)
	return l
}

func TestTheOldestGoByNumberAndByBytes(t *testing.T) {
	l := text(3, 10)
	for _, s := range []string{"a", "b", "c", "d"} {
		l.Append(s)
	}
	all, next := l.From(0)
	assert.Equal(t, []string{"b", "c", "d"}, all)
	assert.Equal(t, 4, next)
	l.Append("12345678")
	all, _ = l.From(0)
	assert.Equal(t, []string{"c", "d", "12345678"}, all)
	l.Append("123")
	all, _ = l.From(0)
	assert.Equal(t, []string{"123"}, all, "eleven bytes are too many")
	at := l.Append(strings.Repeat("x", 99))
	all, _ = l.From(0)
	assert.Len(t, all, 1, "the newest stays")
	l.Append("y")
	all, _ = l.From(0)
	assert.Equal(t, []string{"y"}, all)
	l.Update(at, func(*string) { t.Error("it is gone") })
	l.Update(at+9, func(*string) { t.Error("it is not there yet") })
}

func TestAReaderGetsWhatIsNew(t *testing.T) {
	l := text(3, 100)
	none, next := l.From(0)
	assert.NotNil(t, none)
	assert.Empty(t, none)
	l.Append("a")
	at := l.Append("b")
	entries, next := l.From(next)
	assert.Equal(t, []string{"a", "b"}, entries)
	entries[0] = "written to"
	l.Update(at, func(s *string) { *s = "B" })
	entries, _ = l.From(at)
	assert.Equal(t, []string{"B"}, entries)
	all, _ := l.From(0)
	assert.Equal(t, "a", all[0], "a copy")
	l.Reset()
	l.Append("c")
	entries, next = l.From(next)
	assert.Equal(t, []string{"c"}, entries, "a reset takes nothing from a reader of what comes")
	for range 9 {
		l.Append("d")
	}
	entries, now := l.From(next)
	assert.Len(t, entries, 3)
	assert.Equal(t, next+9, now, "and those that are gone are known by their number")
	entries, _ = l.From(now + 5)
	assert.Empty(t, entries)
	entries, _ = l.From(-5)
	assert.Len(t, entries, 3)
}

func TestAReaderTakesPages(t *testing.T) {
	l := text(3, 100)
	page, at := l.Page(0, 2)
	assert.Empty(t, page)
	assert.Zero(t, at)
	for _, s := range []string{"a", "b", "c", "d", "e"} {
		l.Append(s)
	}
	for _, c := range []struct {
		position, most, at int
		want               []string
	}{
		{0, 2, 2, []string{"c", "d"}}, {3, 1, 3, []string{"d"}}, {4, 9, 4, []string{"e"}},
		{5, 9, 5, []string{}}, {99, 9, 5, []string{}}, {1, 0, 2, []string{}},
		{-1, -1, 2, []string{}},
	} {
		page, at := l.Page(c.position, c.most)
		assert.Equal(t, c.want, page, "%+v", c)
		assert.Equal(t, c.at, at, "%+v", c)
	}
	assert.Equal(t, 5, l.Next())
}

func TestAnEntryThatGrowsCountsAsItIs(t *testing.T) {
	l := text(9, 10)
	l.Append("a")
	at := l.Append("b")
	l.Append("c")
	l.Update(at, func(s *string) { *s = "123456789" })
	all, _ := l.From(0)
	assert.Equal(t, []string{"123456789", "c"}, all)
	l.Update(at, func(s *string) { *s = "" })
	l.Append("123456789")
	all, _ = l.From(0)
	assert.Equal(t, []string{"", "c", "123456789"}, all, "and what shrinks makes room")
}

func TestWhatIsGoneIsFreed(t *testing.T) {
	l := New(func(*[]byte) int { return 1 })
	l.Limit(8, 1<<20)
	var first weak.Pointer[byte]
	for i := range 10 {
		body := make([]byte, 64<<10)
		if i == 0 {
			first = weak.Make(&body[0])
		}
		l.Append(body)
	}
	runtime.GC()
	assert.Nil(t, first.Value())
	runtime.KeepAlive(l)
}

func TestALogThatGoesOnForEverHoldsWhatItMay(t *testing.T) {
	l := New(func(b *[]byte) int { return len(*b) })
	l.Limit(1000, 1<<20)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 100_000 {
		l.Append(make([]byte, rand.IntN(4096)))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d KiB held of 195 MiB", held>>10)
	require.Less(t, held, int64(3<<20))
	all, next := l.From(0)
	require.Equal(t, 100_000, next)
	bytes := 0
	for _, b := range all {
		bytes += len(b)
	}
	assert.Equal(t, bytes, l.bytes)
	assert.LessOrEqual(t, bytes, 1<<20)
	assert.Greater(t, bytes, 1<<20-4096)
	runtime.KeepAlive(l)
}
