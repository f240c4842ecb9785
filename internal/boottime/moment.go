// SPDX-License-Identifier: Apache-2.0

package boottime

import "time"

// A Moment is one within a run of the machine. Its zero value is that of a machine that cannot say.
type Moment struct {
	// Boot is the run's ID; all zero means that there is no telling.
	Boot [16]byte
	// Clock is how long the machine had been running, asleep or not.
	Clock time.Duration
}

// step is how coarse the clock is. Two readings may differ by as much more than the moments do.
const step = 10 * time.Millisecond

// Since returns how long before now m was, at least, or a negative duration if nobody can say.
func (m Moment) Since(now Moment) time.Duration {
	if m.Boot == ([16]byte{}) || m.Boot != now.Boot || now.Clock < m.Clock {
		return -1
	}
	return max(0, now.Clock-m.Clock-step)
}
