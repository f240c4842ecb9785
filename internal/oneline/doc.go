// Package oneline makes foreign text fit for an error or a log: one line of it, with an end.
package oneline

import (
	"strings"
	"unicode"
)

// Of is s without control characters, and no more than limit runes of it. What a peer says may hold
// anything, and an error that breaks a log's line can pretend to be another one.
func Of(s string, limit int) string {
	runes := 0
	var b strings.Builder
	for _, r := range s {
		if runes++; runes > limit {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}
