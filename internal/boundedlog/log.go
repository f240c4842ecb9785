// SPDX-License-Identifier: Apache-2.0

package boundedlog

// The bounds of a new log.
const (
	// MaxEntries is the largest number of entries.
	MaxEntries = 100_000
	// MaxBytes is how many bytes all entries may have together, as the log's function counts them.
	MaxBytes = 64 << 20
)

// Log is a log. Use New.
type Log[T any] struct {
	size                 func(*T) int
	entries              []T // oldest first
	next                 int // the position of the entry to come
	bytes                int
	maxEntries, maxBytes int
}

// New returns an empty log whose entries have as many bytes as size says.
func New[T any](size func(*T) int) *Log[T] {
	return &Log[T]{size: size, maxEntries: MaxEntries, maxBytes: MaxBytes}
}

// Limit sets other bounds, for the entries to come.
func (l *Log[T]) Limit(entries, bytes int) { l.maxEntries, l.maxBytes = entries, bytes }

// Append adds an entry and returns its position, which no other entry ever has. Where there are too
// many entries or bytes, the oldest entries go; the newest stays, however large it is.
func (l *Log[T]) Append(e T) (position int) {
	l.entries = append(l.entries, e)
	l.bytes += l.size(&e)
	l.next++
	l.trim()
	return l.next - 1
}

// Update changes an entry. It does nothing to one that is not there any more.
func (l *Log[T]) Update(position int, change func(*T)) {
	i := position - l.first()
	if i < 0 || i >= len(l.entries) {
		return
	}
	e := &l.entries[i]
	l.bytes -= l.size(e)
	change(e)
	l.bytes += l.size(e)
	l.trim()
}

// From returns a copy of the entries at a position and behind it, oldest first, and the position of
// the entry to come. Those that are gone are missing at the beginning: the last of the entries has
// the position before next, and each other that before its neighbor's.
func (l *Log[T]) From(position int) (entries []T, next int) {
	entries, _ = l.Page(position, len(l.entries))
	return entries, l.next
}

// Page returns a copy of as many entries at a position and behind it, most at most, oldest first,
// and the position of the first of them: a later one than was asked for, where entries are gone.
func (l *Log[T]) Page(position, most int) (entries []T, at int) {
	i := min(max(0, position-l.first()), len(l.entries))
	n := min(max(0, most), len(l.entries)-i)
	return append(make([]T, 0, n), l.entries[i:i+n]...), l.first() + i
}

// Next returns the position of the entry to come.
func (l *Log[T]) Next() int { return l.next }

// Reset removes all entries. Positions go on from where they are.
func (l *Log[T]) Reset() { l.entries, l.bytes = nil, 0 }

func (l *Log[T]) first() int { return l.next - len(l.entries) }

func (l *Log[T]) trim() {
	gone := 0
	for len(l.entries)-gone > 1 &&
		(len(l.entries)-gone > l.maxEntries || l.bytes > l.maxBytes) {
		l.bytes -= l.size(&l.entries[gone])
		gone++
	}
	// What is cut off is freed when the slice grows the next time; what it refers to, at once.
	clear(l.entries[:gone])
	l.entries = l.entries[gone:]
}
