// SPDX-License-Identifier: Apache-2.0

package retry_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/retry"
)

// verdictError and waitError are what other packages' errors look like from here.
type verdictError struct {
	verdict retry.Verdict
	err     error
}

func (e *verdictError) Error() string          { return "verdict " + e.verdict.String() }
func (e *verdictError) Verdict() retry.Verdict { return e.verdict }
func (e *verdictError) Unwrap() error          { return e.err }

type waitError struct {
	wait time.Duration
	err  error
}

func (e *waitError) Error() string             { return "come back later" }
func (e *waitError) RetryAfter() time.Duration { return e.wait }
func (e *waitError) Unwrap() error             { return e.err }

func TestUnknownErrorIsWait(t *testing.T) {
	for _, err := range []error{
		nil, io.EOF, fmt.Errorf("read: %w", io.EOF), errors.Join(io.EOF, io.ErrUnexpectedEOF),
		&waitError{wait: 1},
	} {
		assert.Equal(t, retry.Wait, retry.Classify(err), "%v", err)
	}
}

func TestWrappingBreaksNoRule(t *testing.T) {
	for _, v := range []retry.Verdict{retry.Wait, retry.Lookup, retry.Register, retry.Stop} {
		inner := &verdictError{verdict: v, err: &waitError{wait: time.Minute}}
		for name, err := range map[string]error{
			"bare":          inner,
			"wrapped":       fmt.Errorf("register sensor-042: %w", inner),
			"twice":         fmt.Errorf("a: %w", fmt.Errorf("b: %w", inner)),
			"joined":        errors.Join(io.EOF, inner),
			"joined deep":   fmt.Errorf("x: %w", errors.Join(errors.Join(io.EOF), errors.Join(fmt.Errorf("y: %w", inner)))),
			"two verbs":     fmt.Errorf("%w, %w", io.EOF, inner),
			"own wrapper":   &waitError{err: inner},
			"under an Join": errors.Join(fmt.Errorf("%w", inner), io.EOF),
		} {
			assert.Equal(t, v, retry.Classify(err), name)
			assert.Equal(t, time.Minute, retry.After(err), name)
		}
	}
}

func TestOutermostVerdictOverrules(t *testing.T) {
	err := fmt.Errorf(
		"x: %w", &verdictError{verdict: retry.Stop, err: &verdictError{verdict: retry.Register}},
	)
	assert.Equal(t, retry.Stop, retry.Classify(err))
}

func TestNoneIsAnsweredEarlierThanItAsked(t *testing.T) {
	assert.Zero(t, retry.After(nil))
	assert.Zero(t, retry.After(io.EOF))
	assert.Zero(t, retry.After(&waitError{wait: -time.Second}))
	assert.Equal(t, 60*time.Second, retry.After(
		errors.Join(&waitError{wait: 10 * time.Second}, &waitError{wait: 60 * time.Second}),
	))
	assert.Equal(t, 60*time.Second, retry.After(
		&waitError{wait: 0, err: &waitError{wait: 60 * time.Second}},
	))
	assert.Equal(t, 60*time.Second, retry.After(
		&waitError{wait: 60 * time.Second, err: errors.Join(io.EOF, &waitError{wait: time.Second})},
	))
}

func TestVerdictNames(t *testing.T) {
	assert.Equal(t, "[wait lookup register stop verdict(9)]",
		fmt.Sprint([]retry.Verdict{retry.Wait, retry.Lookup, retry.Register, retry.Stop, 9}))
}
