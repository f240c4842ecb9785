// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each event goes to the worker of its device, whatever the numbers of both are, and none is lost.
func TestABatchIsSplitAmongTheWorkersOfItsDevices(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	for _, devices := range []int{1, 2, 7, 100, 1001} {
		for workers := 1; workers <= maxWorkers; workers++ {
			e := &Engine{Devices: devices, workers: make([]*doings, workers)}
			batch := make([]event, 3*devices)
			for i := range batch {
				batch[i] = event{device: uint32(chance.IntN(devices)), gen: uint8(i)}
			}
			sum := 0
			for i := workers - 1; i >= 0; i-- {
				var own []event
				batch, own = e.split(batch, i)
				sum += len(own)
				for _, n := range own {
					require.Equal(t, i, e.workerOf(n.device), "of %d devices", devices)
				}
			}
			require.Empty(t, batch)
			require.Equal(t, 3*devices, sum)
		}
	}
}
