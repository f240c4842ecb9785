// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rehome-iot/rehome/internal/oneline"
)

// Error is what is wrong with a Fleet or one of its identities. What its devices meet is theirs: in
// Status and the log.
type Error struct {
	// Op is "validate" (what the program set or asked for), "device" (the function Device),
	// "session" (one that has panicked) or "stop" (those that have not ended).
	Op string

	// IDs are those of the identities it is about, sorted; none if it is about the Fleet.
	IDs []string

	// Err is what is wrong, or the cause of the end.
	Err error
}

// shownIDs is how many identities an error names in its text.
const shownIDs = 3

// Error is one line, and names three identities at most.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("fleet: " + e.Op)
	for i, id := range e.IDs {
		if i == shownIDs {
			fmt.Fprintf(&b, " and %d more", len(e.IDs)-shownIDs)
			break
		}
		b.WriteString(" " + oneline.Of(id, 128))
	}
	if e.Err != nil {
		b.WriteString(": " + oneline.Of(e.Err.Error(), 1000))
	}
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

func invalid(id, text string) error {
	e := &Error{Op: "validate", Err: errors.New(text)}
	if id != "" {
		e.IDs = []string{id}
	}
	return e
}

// notEnded joins who has not ended in time with why they were to.
func notEnded(ids []string, cause error) error {
	return &Error{Op: "stop", IDs: ids, Err: fmt.Errorf("they do not end: %w", cause)}
}
