// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// Compose returns a Trace that calls the hooks of first, and then those of next, which may be nil.
func Compose(first provisioning.Trace, next *provisioning.Trace) *provisioning.Trace {
	if next == nil {
		return &first
	}
	both := provisioning.Trace{
		Changed:     inTurn(first.Changed, next.Changed),
		Request:     inTurn(first.Request, next.Request),
		Response:    inTurn(first.Response, next.Response),
		Attempt:     inTurn(first.Attempt, next.Attempt),
		Assigned:    first.Assigned,
		StoreFailed: inTurn(first.StoreFailed, next.StoreFailed),
	}
	switch {
	case first.Assigned == nil:
		both.Assigned = next.Assigned
	case next.Assigned != nil:
		both.Assigned = func(a dps.Assignment, moved bool) {
			first.Assigned(a, moved)
			next.Assigned(a, moved)
		}
	}
	return &both
}

// inTurn is one hook after the other, either of which may be nil.
func inTurn[T any](first, next func(T)) func(T) {
	switch {
	case first == nil:
		return next
	case next == nil:
		return first
	}
	return func(v T) {
		first(v)
		next(v)
	}
}
