// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/provisioning"
)

func TestWhatADeviceDoesOrWaitsForComesToAnEnd(t *testing.T) {
	begun := time.Now()
	for name, c := range map[string]struct {
		status provisioning.Status
		limit  time.Duration // 0: none
	}{
		"connected":   {status: provisioning.Status{State: provisioning.StateConnected}},
		"registering": {status: provisioning.Status{State: provisioning.StateRegistering}},
		"connecting": {
			status: provisioning.Status{State: provisioning.StateConnecting}, limit: attemptLimit,
		},
		"looking up": {
			status: provisioning.Status{State: provisioning.StateLookingUp}, limit: attemptLimit,
		},
		"checking the clock": {
			status: provisioning.Status{State: provisioning.StateCheckingClock},
			limit:  attemptLimit,
		},
		"waiting for nothing": {status: provisioning.Status{State: provisioning.StateWaiting}},
		"waiting for the hub": {status: provisioning.Status{
			State: provisioning.StateWaiting, NextHub: begun.Add(time.Hour),
			NextDPS: begun.Add(24 * time.Hour),
		}, limit: time.Hour + attemptLimit},
		"waiting for DPS": {status: provisioning.Status{
			State: provisioning.StateWaiting, NextDPS: begun.Add(24 * time.Hour),
		}, limit: 24*time.Hour + attemptLimit},
		"waiting for what is due": {status: provisioning.Status{
			State: provisioning.StateWaiting, NextHub: begun.Add(-time.Hour),
		}, limit: attemptLimit},
	} {
		c.status.Err = errors.New("an error")
		var p progress
		assert.False(t, p.stuck(c.status, begun), name)
		if c.limit == 0 {
			assert.False(t, p.stuck(c.status, begun.Add(1000*time.Hour)), name)
			continue
		}
		assert.False(t, p.stuck(c.status, begun.Add(c.limit)), name)
		assert.True(t, p.stuck(c.status, begun.Add(c.limit+1)), name)
		// Whatever it does, it does something.
		c.status.HubAttempts++
		assert.False(t, p.stuck(c.status, begun.Add(c.limit+2)), name)
	}
}
