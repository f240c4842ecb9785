// SPDX-License-Identifier: Apache-2.0

package https

import (
	"context"
	"fmt"
	"time"
)

// BodyError is a response whose header arrived and whose body cannot be used: its end is missing,
// or it has none.
type BodyError struct {
	// Problem says what is wrong with it.
	Problem string
	// Err is the cause, nil if there is none but the problem: io.ErrUnexpectedEOF, or an error of
	// the network.
	Err error
}

// Error returns one line.
func (e *BodyError) Error() string {
	if e.Err == nil {
		return e.Problem
	}
	return e.Problem + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *BodyError) Unwrap() error { return e.Err }

// TimeoutError is the cause when a request is given up at its limit, and that limit. It is a
// net.Error.
type TimeoutError time.Duration

// Error returns one line with the limit.
func (e TimeoutError) Error() string { return fmt.Sprintf("no answer within %v", time.Duration(e)) }

// Timeout is true.
func (e TimeoutError) Timeout() bool { return true }

// Temporary is true.
func (e TimeoutError) Temporary() bool { return true }

// WithLimit returns a context that ends with ctx, and after limit with a TimeoutError as its cause.
// Its cancel must be called.
func WithLimit(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, TimeoutError(limit))
}

// Cause is why an operation within limited, a context made of the caller's by WithLimit, failed:
// because the caller's context ended, because the limit was reached, or because of err.
func Cause(caller, limited context.Context, err error) error {
	if caller.Err() != nil {
		return context.Cause(caller)
	}
	if limited.Err() != nil {
		return context.Cause(limited)
	}
	return err
}
