// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math/rand/v2"
)

// seeded is a device's source of chance.
func seeded(seed uint64, device uint32, same bool) (p rand.PCG) {
	if same {
		device = 0
	}
	p.Seed(seed, uint64(device))
	p.Uint64() // what two seeds draw first that differ in a bit may be alike
	return p
}

// source draws from one.
type source struct{ pcg *rand.PCG }

// Float64 implements rules.Random.
func (s source) Float64() float64 { return float64(s.pcg.Uint64()<<11>>11) / (1 << 53) }
