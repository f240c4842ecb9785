// SPDX-License-Identifier: Apache-2.0

package oneline

import (
	"strings"
	"unicode"
)

// Of is s for people to read: a space in place of each character that does not print, and no more
// than limit characters of it, with an ellipsis where more was left out.
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

// ASCII is s for programs to compare or to pass on: a space in place of each character that is not
// printable ASCII, and nothing beyond the first limit bytes.
func ASCII(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
}
