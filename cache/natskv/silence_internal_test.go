// SPDX-License-Identifier: Apache-2.0

package natskv

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestACallInALongSilenceHasTwoSeconds(t *testing.T) {
	var s silence
	began, silent := time.Now(), errors.New("nobody answers")
	call := func(after time.Duration) time.Duration {
		begun := began.Add(after)
		return s.noted(begun, time.Minute, silent).Sub(begun)
	}
	assert.Equal(t, time.Minute, call(0))
	assert.Equal(t, 20*time.Second, call(40*time.Second), "the minute is that of all")
	assert.Equal(t, 2*time.Second, call(time.Minute))
	assert.Equal(t, 2*time.Second, call(time.Hour))
	s.ended()
	assert.Equal(t, time.Minute, call(2*time.Hour))
	assert.Equal(t, time.Minute, call(time.Hour), "which began before the silence")
}
