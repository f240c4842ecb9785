// Package operators has something to break for every operator, each in a function of its own.
package operators

import "time"

const limit = 40

const patience = 5 * time.Second

const (
	first = iota + 3
	second
)

var gaps = []time.Duration{
	0, patience, time.Minute, // one by one, since the whole is too long to be shown
}

var share = 0.2

type table struct {
	cells  [4]int
	on, up bool
	n      int
	gap    time.Duration
}

func less(a, b int) bool     { return a < b }
func lessEq(a, b int) bool   { return a <= b }
func more(a, b int) bool     { return a > b }
func moreEq(a, b int) bool   { return a >= b }
func same(a, b string) bool  { return a == b }
func other(a, b string) bool { return a != b }
func under(a int) bool       { return a < 3 }
func over(a int) bool        { return 3 < a }
func far(a float64) bool     { return a < 3 }

func and(a, b, c bool) bool   { return a && b && c }
func mixed(a, b, c bool) bool { return a || b && c }
func not(a bool) bool         { return !a }
func yes() bool               { return true }

func branch(a bool) int {
	if a {
		return 1
	}
	return limit
}

func loop(n int) {
	for n > limit {
		n--
	}
	for i := 0; i < n; i++ {
	}
}

func (t *table) assign(a int) {
	t.n = a
	t.n += a
	t.on, t.up = true, t.on
	_ = a
	_, t.n = 0, a
	t.on, t.n = pair()
}

func pair() (bool, int) { return false, second }

func define(t *table) (bool, int) {
	n := t.n
	on, all, none := t.on, *t, 0
	if n := len(t.cells); n > none {
		return on, all.n
	}
	return on, n
}

func (t table) only(a bool, b func() bool) {
	if a {
		t.n++
	}
	if b() {
		t.n++
	}
	if a {
		t.n++
	} else {
		t.n--
	}
}

func calls(f func()) {
	f()
	defer f()
	go f()
}

func tagged(n int, f func()) {
	switch n {
	case 1:
		f()
	case second, limit:
		f()
		f()
	case first:
		n = 2
		fallthrough
	default:
	}
}

func untagged(n int, f func()) {
	switch {
	case n < limit:
		f()
	}
}

func extremes(a, b int) int { return min(a, max(b)) }

func durations(t *table) time.Duration {
	t.gap = 0
	t.gap *= 2
	*t = table{gap: patience}
	return t.gap + patience
}

func min3(min func(a, b int) int) int { return min(1, 2) }
