// SPDX-License-Identifier: Apache-2.0

// Package retry says what an error calls for and when to try again.
//
// An error says itself what it calls for: [Classify] calls the method
// Verdict() Verdict of the errors in a tree, [After] their method
// RetryAfter() time.Duration. Wrapping therefore breaks no rule, and this package
// imports none of the packages whose errors it reads. A [Class] says what a failure
// means for the relation of a device to its hub.
//
// There is one delay, [Policy.Delay]:
//
//	floor + U(0, min(MaxDelay, MinDelay · Multiplier^(n-1)))
//
// The floor is what the service asked for (Retry-After), otherwise MinDelay. The
// jitter is drawn after the cap, so a fleet that has been failing for a day still
// spreads over the whole window and never returns in step.
//
//	policy := retry.Policy{MaxDelay: 5 * time.Minute}
//	err := retry.Do(ctx, policy, nil, func(ctx context.Context) error {
//		return upload(ctx, file)
//	})
//	if err != nil {
//		return fmt.Errorf("upload: %w", err)
//	}
//
// A loop that must do something else between two tries gets a [Schedule] from
// [Policy.Start], and each delay from that.
//
// It is not a circuit breaker, a rate limiter or a queue, and it runs nothing in
// the background: [Do] returns when the last call of the operation has.
package retry
