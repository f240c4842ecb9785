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

func TestAnIdleConnectionHasFewGoroutinesAndLittleMemory(t *testing.T) {
	each := idle(t, startBenchServer(t), "ours")
	t.Logf("%+v", each)
	assert.LessOrEqual(t, each.goroutines, float64(mostGoroutines))
	assert.LessOrEqual(t, each.heap, float64(mostHeap), "bytes")
}
