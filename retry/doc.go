// Package retry says what an error calls for and when to try again.
//
// An error answers for itself: any error in the tree with a method
// Verdict() Verdict is asked by [Classify], any with a method
// RetryAfter() time.Duration by [After]. Wrapping therefore breaks no rule, and
// this package knows nothing of the packages whose errors it judges.
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
// A loop that must do something else between two tries takes a [Schedule] from
// [Policy.Start] and asks it for each delay.
//
// It is not a circuit breaker, a rate limiter or a queue, and it runs nothing in
// the background: [Do] returns when the last call of the operation has.
package retry
