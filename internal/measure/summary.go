// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"time"

	"github.com/rehome-iot/rehome/provisioning"
)

// Summary is what all devices are doing, in numbers that do not grow with the number of devices.
type Summary struct {
	// Devices counts them by what they do and what keeps them from being connected. Of each state
	// there is at least the number of those with no trouble, even if it is 0.
	Devices map[Doing]int
	// Longest is for how long the one has been down that has been so the longest; 0: none is.
	Longest time.Duration
	// FirstExpiry is when the first of the certificates in use expires; zero: there is none.
	FirstExpiry time.Time
	// HeldBack counts those that DPS or a hub has asked to wait, and ClockSuspect those whose clock
	// cannot be right.
	HeldBack, ClockSuspect int
}

// Doing is what a device does, and what keeps it from being connected: a word of OfStatus.
type Doing struct {
	State   provisioning.State
	Trouble string
}

// states are all that a device may be in. Who divides by the number of those in one wants a 0 where
// there are none.
var states = []provisioning.State{
	provisioning.StateStopped, provisioning.StateConnecting, provisioning.StateConnected,
	provisioning.StateSending, provisioning.StateReceiving, provisioning.StateRegistering,
	provisioning.StateLookingUp, provisioning.StateCheckingClock, provisioning.StateWaiting,
}

// Summary returns what all devices are doing now.
func (d *Devices) Summary() Summary {
	sum, now := Summary{Devices: map[Doing]int{}}, time.Now()
	for _, state := range states {
		sum.Devices[Doing{State: state}] = 0
	}
	for _, s := range d.Statuses() {
		sum.Devices[Doing{s.State, OfStatus(&s)}]++
		sum.Longest = max(sum.Longest, Down(&s, now))
		if until := s.Certificate.ValidUntil; !until.IsZero() &&
			(sum.FirstExpiry.IsZero() || until.Before(sum.FirstExpiry)) {
			sum.FirstExpiry = until
		}
		if s.RetryAfter.After(now) {
			sum.HeldBack++
		}
		if s.ClockSuspect {
			sum.ClockSuspect++
		}
	}
	return sum
}

// Down is for how long a device has had no connection that works.
func Down(s *provisioning.Status, now time.Time) time.Duration {
	if s.DownSince.IsZero() {
		return 0
	}
	return max(now.Sub(s.DownSince), 0)
}
