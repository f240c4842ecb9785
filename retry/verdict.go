// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"errors"
	"fmt"
	"time"
)

// A Verdict is what an error calls for. The zero value is Wait, which
// costs the service least and gives nothing up.
type Verdict int

const (
	// Wait calls for the same step again, after a delay.
	Wait Verdict = iota
	// Lookup calls for a device registration status lookup: the assignment may
	// be stale, and reading it changes nothing at the service.
	Lookup
	// Register calls for a registration through the Device Provisioning Service:
	// the assignment no longer holds.
	Register
	// Stop calls for no automatic retry: repeating the step cannot help until a
	// person or the program changes something.
	Stop
)

// String returns the verdict's name in lower case.
func (v Verdict) String() string {
	switch v {
	case Wait:
		return "wait"
	case Lookup:
		return "lookup"
	case Register:
		return "register"
	case Stop:
		return "stop"
	}
	return fmt.Sprintf("verdict(%d)", int(v))
}

// A Classifier maps an error to what it calls for. It must be safe for use by
// the goroutine that runs the loop, and must not block.
type Classifier func(error) Verdict

// Classify returns the verdict of the first error in err's tree that has a
// method Verdict() Verdict, outermost first, so that a wrapper can overrule what
// it wraps. An error without one, and nil, is Wait: a failure nobody foresaw must
// not make a device give up or register anew.
func Classify(err error) Verdict {
	if e, ok := errors.AsType[verdicter](err); ok {
		return e.Verdict()
	}
	return Wait
}

// verdicter is an error that says itself what it calls for.
type verdicter interface {
	error
	Verdict() Verdict
}

// After returns how long the service is to be sent nothing: the longest
// RetryAfter() in err's tree, so that of several joined refusals none is
// tried again earlier than it allows. Zero means that nothing was asked for.
func After(err error) time.Duration {
	var longest time.Duration
	for err != nil {
		// Not errors.AsType, which would end at the first: every level counts.
		if e, ok := err.(interface{ RetryAfter() time.Duration }); ok {
			longest = max(longest, e.RetryAfter())
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			for _, branch := range e.Unwrap() {
				longest = max(longest, After(branch))
			}
			return longest
		default:
			return longest
		}
	}
	return longest
}
