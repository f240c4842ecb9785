// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dps"
)

// A program that has read the ready line finds the scenario's beginning in force: not once in a
// while a device that was quicker.
func TestStepsOfTheBeginningAreInForceWhenItIsReady(t *testing.T) {
	t.Parallel()
	config := write(t, "simulator.json", feedConfig)
	faults := write(t, "faults.json", `{"repeat":"1h","steps":[
		{"at":"0s","unlink":"`+hubB+`"},
		{"at":"0s","dps":{"on":"register","status":503,"times":1}},
		{"at":"0s","disable":"kitchen"},
		{"at":"10m","enable":"kitchen"}]}`)
	for range 5 {
		p := start(t, "-config", config, "-faults", faults)
		// standard error comes by another pipe than the ready line
		require.Eventually(t, func() bool {
			return len(p.scenario()) == 3
		}, limit, time.Millisecond, "%s", p.stderr)
		_, err := p.client(t, "kitchen").Register(t.Context(), dps.Registration{})
		require.ErrorContains(t, err, "status 503")
		p.stop(t)
		assert.Len(t, p.scenario(), 3, "they are done once: %s", p.stderr)
	}
}
