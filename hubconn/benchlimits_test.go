// SPDX-License-Identifier: Apache-2.0

//go:build unix

package hubconn_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// What docs/benchmarks.md promises of an idle connection.
const (
	mostGoroutines = 11
	mostHeap       = 20 << 10
)

// What else is in memory adds to it, in each process something else: the least of some counts.
func TestAnIdleConnectionHasFewGoroutinesAndLittleMemory(t *testing.T) {
	const processes = 5
	server := startBenchServer(t)
	each := idle(t, server, "ours")
	for i := 1; i < processes && each.heap > mostHeap; i++ {
		again := idle(t, server, "ours")
		each = resources{
			goroutines: max(each.goroutines, again.goroutines), heap: min(each.heap, again.heap),
			stack: each.stack,
		}
	}
	t.Logf("%+v", each)
	assert.LessOrEqual(t, each.goroutines, float64(mostGoroutines))
	assert.LessOrEqual(t, each.heap, float64(mostHeap), "bytes")
}
