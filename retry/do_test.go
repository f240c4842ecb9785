// SPDX-License-Identifier: Apache-2.0

package retry_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/retry"
)

var errShutdown = errors.New("shutting down")

func TestDoRetriesWhileWaitAndThenSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		err := retry.Do(t.Context(), retry.Policy{}, nil, func(context.Context) error {
			tries = append(tries, time.Now())
			if len(tries) < 6 {
				return io.EOF
			}
			return nil
		})
		assert.NoError(t, err)
		assert.Len(t, tries, 6)
		window := 5 * time.Second
		for i := 1; i < len(tries); i++ {
			gap := tries[i].Sub(tries[i-1])
			assert.GreaterOrEqual(t, gap, 5*time.Second, "retry %d", i)
			assert.LessOrEqual(t, gap, 5*time.Second+window, "retry %d", i)
			window *= 2
		}
	})
}

func TestDoReturnsOtherVerdictsAtOnce(t *testing.T) {
	for _, v := range []retry.Verdict{retry.Lookup, retry.Register, retry.Stop} {
		synctest.Test(t, func(t *testing.T) {
			start, tries := time.Now(), 0
			refused := &verdictError{verdict: v}
			err := retry.Do(t.Context(), retry.Policy{}, nil, func(context.Context) error {
				tries++
				return refused
			})
			assert.Same(t, refused, err)
			assert.Equal(t, 1, tries)
			assert.Zero(t, time.Since(start))
		})
	}
}

func TestDoAsksTheGivenClassifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		classify := func(err error) retry.Verdict {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return retry.Stop
			}
			return retry.Wait
		}
		err := retry.Do(t.Context(), retry.Policy{}, classify, func(context.Context) error {
			if tries++; tries == 3 {
				return io.ErrUnexpectedEOF
			}
			return &verdictError{verdict: retry.Stop}
		})
		assert.Equal(t, io.ErrUnexpectedEOF, err)
		assert.Equal(t, 3, tries)
	})
}

func TestDoEndsAfterMaxAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		err := retry.Do(t.Context(), retry.Policy{MaxAttempts: 3}, nil,
			func(context.Context) error {
				tries++
				return io.EOF
			})
		assert.ErrorIs(t, err, io.EOF)
		assert.EqualError(t, err, "attempt 3 of 3: EOF")
		assert.Equal(t, 3, tries)
	})
}

func TestContextThatEndsWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		start, tries := time.Now(), 0
		time.AfterFunc(time.Minute, func() { cancel(errShutdown) })
		throttled := &waitError{wait: time.Hour}
		err := retry.Do(ctx, retry.Policy{}, nil, func(context.Context) error {
			tries++
			return throttled
		})
		assert.ErrorIs(t, err, errShutdown, "why it ended")
		assert.ErrorIs(t, err, throttled, "what was wrong before")
		assert.Equal(t, time.Hour, retry.After(err))
		assert.NotContains(t, err.Error(), "\n")
		assert.Equal(t, 1, tries)
		assert.Equal(t, time.Minute, time.Since(start), "at once")
	})
}

func TestContextThatEndsDuringTheOperation(t *testing.T) {
	for name, last := range map[string]error{
		"that would be retried": io.EOF, "that would not": &verdictError{verdict: retry.Stop},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			tries := 0
			err := retry.Do(ctx, retry.Policy{}, nil, func(ctx context.Context) error {
				tries++
				cancel(errShutdown)
				<-ctx.Done()
				return last
			})
			assert.ErrorIs(t, err, errShutdown, name)
			assert.ErrorIs(t, err, last, name)
			assert.Equal(t, 1, tries, name)
		})
	}
}

func TestDeadlineIsACause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		err := retry.Do(ctx, retry.Policy{}, nil, func(context.Context) error { return io.EOF })
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, io.EOF)
		assert.Equal(t, time.Hour, time.Since(start))
	})
}

func TestCauseThatTheOperationPassesOnIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		err := retry.Do(ctx, retry.Policy{}, nil, func(ctx context.Context) error {
			cancel(errShutdown)
			return errors.Join(io.EOF, context.Cause(ctx))
		})
		assert.ErrorIs(t, err, errShutdown)
		assert.ErrorIs(t, err, io.EOF)
		assert.Equal(t, 1, strings.Count(err.Error(), errShutdown.Error()))
	})
}

func TestDeadContextNeverRunsTheOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errShutdown)
		err := retry.Do(ctx, retry.Policy{}, nil, func(context.Context) error {
			t.Error("the operation ran")
			return nil
		})
		assert.Equal(t, errShutdown, err)
	})
}

// The delay's timer and the context may be ready together; whichever select takes,
// the operation must not run.
func TestContextThatEndsAtTheMomentOfTheRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			delay := retry.Policy{}.Delay(1, time.Minute, 0)
			ctx, cancel := context.WithTimeout(t.Context(), delay)
			// A window of 1 ns makes the delay the floor exactly.
			policy := retry.Policy{MinDelay: 1, MaxDelay: 1, Multiplier: 1}
			tries := 0
			err := retry.Do(ctx, policy, nil, func(ctx context.Context) error {
				tries++
				if ctx.Err() != nil {
					t.Error("the operation ran with a dead context")
				}
				return &waitError{wait: time.Minute}
			})
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 1, tries)
			cancel()
		}
	})
}

func TestSuccessAsTheContextEndsIsSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		assert.NoError(t, retry.Do(ctx, retry.Policy{}, nil, func(context.Context) error {
			cancel()
			return nil
		}))
	})
}

func TestSaturatedWaitStillEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Hour)
		defer cancel()
		tries := 0
		err := retry.Do(ctx, retry.Policy{}, nil, func(context.Context) error {
			tries++
			return &waitError{wait: 1<<63 - 1}
		})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1, tries)
	})
}
