// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestPollsAreCountedWithoutLookingThroughAllDevices(t *testing.T) {
	var q quotas
	cfg := Config{PollsPer10s: 2}
	now := time.Unix(1e9, 0)
	poll := func(id string) bool {
		_, ok := q.allow(cfg, Poll, id, now)
		return ok
	}
	// The windows slide, wherever the two maps change places.
	for range 50 {
		now = now.Add(9 * time.Second)
		assert.True(t, poll("a"))
		now = now.Add(time.Second)
		assert.True(t, poll("a"))
		now = now.Add(time.Second)
		assert.False(t, poll("a"), "the third within 10 s")
		wait, _ := q.allow(cfg, Poll, "a", now)
		assert.Equal(t, 8*time.Second, wait)
	}
	now = now.Add(8 * time.Second)
	assert.True(t, poll("a"))

	// Nor does a change between two polls forget what was counted.
	now = now.Add(time.Minute)
	assert.True(t, poll("a"))
	now = now.Add(9 * time.Second)
	assert.True(t, poll("a"))
	now = now.Add(time.Second)
	assert.True(t, poll("a"))
	now = now.Add(time.Second)
	assert.False(t, poll("a"))

	// A fleet leaves nothing behind once it is quiet.
	for i := range 250_000 {
		assert.True(t, poll(fmt.Sprint("device-", i)))
	}
	assert.LessOrEqual(t, len(q.polls)+len(q.before), 2*maxPollWindows)
	now = now.Add(time.Minute)
	poll("a")
	assert.LessOrEqual(t, len(q.polls)+len(q.before), 1)
}
