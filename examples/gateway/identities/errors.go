// SPDX-License-Identifier: Apache-2.0

package identities

import (
	"fmt"
	"strings"
)

// Problem is one mistake in a file.
type Problem struct {
	// Line counts from 1.
	Line int
	// Field is the name of the field; empty where the whole line is meant.
	Field string
	// Text says what is wrong and what to do about it. It shows nothing that may be a secret.
	Text string
}

// String is the problem without its file.
func (p Problem) String() string {
	if p.Field == "" {
		return fmt.Sprintf("line %d: %s", p.Line, p.Text)
	}
	return fmt.Sprintf("line %d: %s: %s", p.Line, p.Field, p.Text)
}

// shown is how many problems the text of an error has.
const shown = 10

// Error is what is wrong with a file.
type Error struct {
	Path     string
	Problems []Problem // in the order of their lines
}

// Error is one line, with the first ten problems.
func (e *Error) Error() string {
	texts := make([]string, 0, shown)
	for i, p := range e.Problems {
		if i == shown {
			break
		}
		texts = append(texts, p.String())
	}
	text := e.Path + ": " + strings.Join(texts, "; ")
	if more := len(e.Problems) - len(texts); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}
