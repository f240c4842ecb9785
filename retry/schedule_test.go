// SPDX-License-Identifier: Apache-2.0

package retry_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/retry"
)

func TestScheduleGrowsUntilReset(t *testing.T) {
	s := retry.Policy{MinDelay: time.Second, MaxDelay: time.Minute}.Start()
	for range 3 {
		longest := time.Duration(0)
		for n, window := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			delay, ok := s.Next(io.EOF)
			assert.True(t, ok)
			assert.GreaterOrEqual(t, delay, time.Second, "retry %d", n+1)
			assert.LessOrEqual(t, delay, time.Second+window*time.Second, "retry %d", n+1)
			longest = max(longest, delay)
		}
		assert.Greater(t, longest, 3*time.Second, "the window has grown")
		s.Reset()
	}
}

func TestScheduleWaitsAtLeastWhatWasAsked(t *testing.T) {
	s := retry.Policy{}.Start()
	for range 100 {
		delay, ok := s.Next(fmt.Errorf("poll: %w", &waitError{wait: 3 * time.Hour}))
		assert.True(t, ok)
		assert.GreaterOrEqual(t, delay, 3*time.Hour)
		assert.LessOrEqual(t, delay, 4*time.Hour)
	}
}

func TestMaxAttemptsCountsTheFirstTry(t *testing.T) {
	s := retry.Policy{MaxAttempts: 3}.Start()
	for range 2 {
		for range 2 {
			delay, ok := s.Next(io.EOF)
			assert.True(t, ok)
			assert.NotZero(t, delay)
		}
		for range 5 {
			delay, ok := s.Next(io.EOF)
			assert.False(t, ok)
			assert.Zero(t, delay)
		}
		s.Reset()
	}
	_, ok := retry.Policy{MaxAttempts: 1}.Start().Next(io.EOF)
	assert.False(t, ok)
	for _, forever := range []int{0, -1} {
		s := retry.Policy{MaxAttempts: forever}.Start()
		for range 10_000 {
			_, ok := s.Next(io.EOF)
			assert.True(t, ok)
		}
	}
}

func TestSchedulesDoNotRunInStep(t *testing.T) {
	drawn := make(map[time.Duration]bool)
	for range 1000 {
		delay, _ := retry.Policy{}.Start().Next(io.EOF)
		drawn[delay] = true
	}
	assert.Greater(t, len(drawn), 990)
}
