// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"math"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// What the zero fields of a [Policy] stand for.
const (
	// DefaultMinDelay is the MinDelay of a Policy that has none. Server errors keep
	// to it too: a service that is recovering gets no request sooner.
	DefaultMinDelay = 5 * time.Second
	// DefaultMaxDelay is the MaxDelay of a Policy that has none.
	DefaultMaxDelay = time.Hour
	// DefaultMultiplier is the Multiplier of a Policy that has none.
	DefaultMultiplier = 2.0
)

// A Policy says how long to wait before each retry. Its zero value waits at least
// 5 s, up to an hour more, for ever. A Policy is a value: it is not changed by
// use and may be shared.
type Policy struct {
	// MinDelay is both the shortest wait when the service asked for none and the
	// width of the first random window. Default 5 s; negative values are the
	// default. Shorter values let a fleet hammer a service that is recovering.
	MinDelay time.Duration

	// MaxDelay caps the random window. It does not cap the floor: a Retry-After
	// above it is honoured. The longest wait is thus MinDelay + MaxDelay when
	// nothing was asked. Default 1 h; negative values are the default.
	MaxDelay time.Duration

	// Multiplier is what the window grows by with each retry. Default 2; values
	// below 1 would shrink the window and count as 1.
	Multiplier float64

	// MaxAttempts is how many times the operation runs in all, the first try
	// included. Default, and for negative values: for ever, since a device that
	// gives up has to be visited.
	MaxAttempts int
}

// Delay returns how long to wait before retry n (1 is the first):
//
//	floor + u · min(MaxDelay, MinDelay · Multiplier^(n-1))
//
// The floor is the wait the service asked for; with 0 or less it is MinDelay. The
// random number u in [0, 1) is the caller's, so Delay is a pure function and a
// decision that must be reproducible can be; values outside the interval are
// brought into it. The result is never below the floor and never negative: a sum
// too large for a time.Duration is the largest one.
func (p Policy) Delay(n int, floor time.Duration, u float64) time.Duration {
	p = p.withDefaults()
	if floor <= 0 {
		floor = p.MinDelay
	}
	if !(u > 0) { // also NaN
		u = 0
	}
	jitter := time.Duration(min(u, math.Nextafter(1, 0)) * float64(p.window(n)))
	if floor > math.MaxInt64-jitter {
		return math.MaxInt64
	}
	return floor + jitter
}

// window is the width of the random part of retry n's delay.
func (p Policy) window(n int) time.Duration {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(p.MinDelay),
		backoff.WithMaxInterval(p.MaxDelay),
		backoff.WithMultiplier(p.Multiplier),
		// u is drawn above the cap, so that jitter never dies out
		backoff.WithRandomizationFactor(0),
		backoff.WithMaxElapsedTime(0), // its default gives up after 15 minutes
		backoff.WithClockProvider(stillClock{}),
	)
	width := b.NextBackOff()
	for range max(n, 1) - 1 {
		next := b.NextBackOff()
		if next == width {
			break // grown to the cap, or not growing at all
		}
		width = next
	}
	return min(width, p.MaxDelay) // backoff does not cap its first interval
}

func (p Policy) withDefaults() Policy {
	if p.MinDelay <= 0 {
		p.MinDelay = DefaultMinDelay
	}
	if p.MaxDelay <= 0 {
		p.MaxDelay = DefaultMaxDelay
	}
	// Above this float64 arithmetic could leave the range of a time.Duration.
	p.MinDelay = min(p.MinDelay, MaxRetryAfter)
	p.MaxDelay = min(p.MaxDelay, MaxRetryAfter)
	switch {
	case p.Multiplier == 0 || math.IsNaN(p.Multiplier):
		p.Multiplier = DefaultMultiplier
	case p.Multiplier < 1:
		p.Multiplier = 1
	}
	return p
}

// stillClock keeps backoff from reading the time: elapsed time plays no part.
type stillClock struct{}

func (stillClock) Now() time.Time { return time.Time{} }
