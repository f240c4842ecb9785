// SPDX-License-Identifier: Apache-2.0

package scenario

import "runtime/metrics"

// eachBatches is after how many batches the memory is looked at again. A look takes some
// microseconds, a batch of a large fleet milliseconds.
const eachBatches = 16

// memory is how much the program had from the system at most, as debug.SetMemoryLimit counts it,
// when it was looked at.
type memory struct {
	samples [2]metrics.Sample
	batches int
	most    uint64
}

func newMemory() *memory {
	m := &memory{}
	m.samples[0].Name = "/memory/classes/total:bytes"
	m.samples[1].Name = "/memory/classes/heap/released:bytes"
	m.look()
	return m
}

// batch looks now and then.
func (m *memory) batch() {
	if m.batches++; m.batches%eachBatches == 1 {
		m.look()
	}
}

func (m *memory) look() {
	metrics.Read(m.samples[:])
	m.most = max(m.most, m.samples[0].Value.Uint64()-m.samples[1].Value.Uint64())
}
