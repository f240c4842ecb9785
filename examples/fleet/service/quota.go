// SPDX-License-Identifier: Apache-2.0

package service

import "time"

// Quota admits so many requests in a time. The moments of the requests never go back.
type Quota interface {
	// Admit counts a request, or says how long it takes until one may be admitted again.
	Admit(at time.Duration) (wait time.Duration, ok bool)
}

// FixedWindow admits Limit requests in each Span, which all begin at multiples of it. What a
// rejected request costs is taken off the limit; what goes beyond it, off the next one.
type FixedWindow struct {
	Limit float64
	Span  time.Duration
	Cost  float64 // of a rejected request, as a share of an admitted one

	window int64
	used   float64
}

// Admit implements [Quota].
func (q *FixedWindow) Admit(at time.Duration) (time.Duration, bool) {
	if w := int64(at / q.Span); w != q.window {
		q.used = max(0, q.used-q.Limit*float64(w-q.window))
		q.window = w
	}
	if q.used+1 <= q.Limit {
		q.used++
		return 0, true
	}
	q.used += q.Cost
	return q.Span - at%q.Span, false
}

// TokenBucket admits Rate requests a second, and Burst of them at once.
type TokenBucket struct {
	Rate, Burst float64
	Cost        float64 // of a rejected request, as a share of an admitted one

	begun  bool
	tokens float64
	last   time.Duration
}

// Admit implements [Quota].
func (q *TokenBucket) Admit(at time.Duration) (time.Duration, bool) {
	if !q.begun {
		q.begun, q.tokens, q.last = true, q.Burst, at
	}
	q.tokens = min(q.Burst, q.tokens+(at-q.last).Seconds()*q.Rate)
	q.last = at
	if q.tokens >= 1 {
		q.tokens--
		return 0, true
	}
	q.tokens -= q.Cost
	return time.Duration((1 - q.tokens) / q.Rate * float64(time.Second)), false
}

// SlidingWindow admits Limit requests in any stretch of Span: as package dpstest does.
type SlidingWindow struct {
	Limit int
	Span  time.Duration

	admitted []time.Duration // a ring of the last Limit
	next     int
}

// Admit implements [Quota].
func (q *SlidingWindow) Admit(at time.Duration) (time.Duration, bool) {
	if len(q.admitted) < q.Limit {
		q.admitted = append(q.admitted, at)
		return 0, true
	}
	if q.Limit == 0 {
		return q.Span, false
	}
	if free := q.admitted[q.next] + q.Span; at < free {
		return free - at, false
	}
	q.admitted[q.next] = at
	q.next = (q.next + 1) % q.Limit
	return 0, true
}

// Unlimited admits everything.
type Unlimited struct{}

// Admit implements [Quota].
func (Unlimited) Admit(time.Duration) (time.Duration, bool) { return 0, true }
