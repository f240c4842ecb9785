// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Each device has one worker, and each worker about as many devices, whatever the numbers are.
func TestDevicesAreDividedAmongTheWorkers(t *testing.T) {
	for _, devices := range []int{1, 2, 7, 100, 1001} {
		for workers := 1; workers <= maxWorkers; workers++ {
			e := &Engine{Devices: devices, workers: make([]*doings, workers)}
			has := make([]int, workers)
			for device := range devices {
				has[e.workerOf(uint32(device))]++
			}
			for _, n := range has {
				require.InDelta(t, float64(devices)/float64(workers), n, 1)
			}
		}
	}
}
