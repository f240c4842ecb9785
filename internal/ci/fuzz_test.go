// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestOnlyABareDeadlineIsTheEndOfFuzzing(t *testing.T) {
	const began = "fuzz: elapsed: 3s, execs: 40304 (13431/sec), new interesting: 104 (total: 108)\n"
	const deadline = "--- FAIL: FuzzScanner (10.20s)\n    context deadline exceeded\nFAIL\n"
	const found = "--- FAIL: FuzzScanner (1.20s)\n    --- FAIL: FuzzScanner (0.00s)\n" +
		"        scanner_test.go:9: context deadline exceeded\n" +
		"    Failing input written to testdata/fuzz/FuzzScanner/0123\n"
	assert.True(t, endedByTime(began+deadline))
	assert.False(t, endedByTime(began+found))
	assert.False(t, endedByTime(began+deadline+found), "a finding is one, whatever else is said")
	assert.False(t, endedByTime(began+"panic: boom\n"+deadline))
	assert.False(t, endedByTime(began+"--- FAIL: FuzzScanner (0.01s)\n    no seeds\nFAIL\n"))
	assert.False(t, endedByTime("fuzz: elapsed: 0s, gathering baseline coverage: 0/4 completed\n"+
		deadline), "nothing has been tried")
}
