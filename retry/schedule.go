// SPDX-License-Identifier: Apache-2.0

package retry

import (
	crand "crypto/rand"
	"math/rand/v2"
	"time"
)

// A Schedule counts the failures of one loop and draws the delay after each.
// It belongs to that loop: it is not safe for concurrent use.
type Schedule struct {
	policy Policy
	failed int
	random *rand.Rand
}

// Start returns a Schedule at its first try. Its random numbers are seeded from
// the operating system's entropy, so that devices switched on together, with
// equal clocks, do not draw equal delays.
func (p Policy) Start() *Schedule {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails: it ends the program when the system has no entropy
	return &Schedule{policy: p, random: rand.New(rand.NewChaCha8(seed))}
}

// Next records that a try failed with err and returns how long to wait before
// the next, no less than [After] of err. It returns ok false once MaxAttempts
// tries have failed, and goes on doing so until Reset.
func (s *Schedule) Next(err error) (delay time.Duration, ok bool) {
	if s.spent() {
		return 0, false
	}
	s.failed++
	if s.spent() {
		return 0, false
	}
	return s.policy.Delay(s.failed, After(err), s.random.Float64()), true
}

// Reset starts the schedule anew, as after a success that lasted.
func (s *Schedule) Reset() { s.failed = 0 }

func (s *Schedule) spent() bool {
	return s.policy.MaxAttempts > 0 && s.failed >= s.policy.MaxAttempts
}
