// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Do runs op until it succeeds, until classify says something other than Wait,
// until the policy's attempts are spent or until ctx ends. A nil classify is
// [Classify]. Do starts no goroutine; op gets ctx itself and must return when it
// ends.
//
// An error that calls for something other than Wait is returned as it is. After
// the last attempt it is wrapped with the count. When ctx ends, the error holds
// both context.Cause(ctx) and the last error of op, for errors.Is and errors.As
// alike. Do never calls op with a context that has ended.
func Do(ctx context.Context, p Policy, classify Classifier, op func(context.Context) error) error {
	if classify == nil {
		classify = Classify
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for schedule := p.Start(); ; {
		err := op(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ended(ctx, err)
		}
		if classify(err) != Wait {
			return err
		}
		delay, ok := schedule.Next(err)
		if !ok {
			return fmt.Errorf("attempt %d of %d: %w", p.MaxAttempts, p.MaxAttempts, err)
		}
		if !sleep(ctx, delay) {
			return ended(ctx, err)
		}
	}
}

// ended joins why ctx ended and what was wrong before, in one line.
func ended(ctx context.Context, last error) error {
	cause := context.Cause(ctx)
	if errors.Is(last, cause) {
		return last // op passed the cause on
	}
	return fmt.Errorf("%w; last error: %w", cause, last)
}

// sleep waits for d and reports whether ctx is still alive then.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	// Both may fall on the same moment, and ours be served first.
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	return ctx.Err() == nil
}
