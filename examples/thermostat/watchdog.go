// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/rehome-iot/rehome/provisioning"
)

// An attempt that has not ended by then hangs: the limits of connections and of requests are a few
// minutes. What is planned for a time and has not begun so long after it never will.
const attemptLimit = 15 * time.Minute

// startLimit is how much more time a start asks for where no watchdog says how often.
const startLimit = 3 * time.Minute

// watch keeps systemd's watchdog quiet, and a start that has not connected yet from its time limit,
// while the program is alive where that matters: the loop of serve takes a ping, the device tells
// its state, and what it was doing or waiting for comes to an end. That the network or the hub is
// away is no reason for a restart, which would change nothing.
func (r *reporter) watch(ctx context.Context, dev *provisioning.Device, log *slog.Logger) {
	if !r.manager.Active() {
		return
	}
	within := r.manager.Watchdog
	if within <= 0 {
		within = startLimit
	}
	var p progress
	ticker := time.NewTicker(max(within/2, 1))
	defer ticker.Stop()
	for r.manager.Watchdog > 0 || !r.isReady() {
		select {
		case r.pings <- struct{}{}:
		case <-ctx.Done():
			return
		}
		s := dev.Status()
		if p.stuck(s, time.Now()) {
			log.Error("device is stuck", "fix", "systemd's watchdog restarts the program")
			return
		}
		more := within
		if r.isReady() {
			more = 0
		} else if s.State == provisioning.StateConnected {
			r.changed(s)
		}
		_ = r.manager.Alive(more)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *reporter) isReady() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready
}

// step is what changes whenever a device does something.
type step struct {
	state                                           provisioning.State
	cause                                           string
	nextHub, nextDPS                                time.Time
	hubAttempts, dpsAttempts, connections, renewals int
	registrations, lookups, clockChecks             int
}

// progress is since when a device has been at one step, and how long that may last.
type progress struct {
	step  step
	since time.Time
	limit time.Duration // 0: none
}

// stuck says that the step has lasted for too long. It measures by the monotonic clock: the other
// one may be set at any time.
func (p *progress) stuck(s provisioning.Status, now time.Time) bool {
	at := step{
		s.State, s.Cause, s.NextHub, s.NextDPS, s.HubAttempts, s.DPSAttempts, s.Connections,
		s.Renewals, s.Registrations, s.Lookups, s.ClockChecks,
	}
	if p.since.IsZero() || at != p.step {
		*p = progress{step: at, since: now}
		switch s.State {
		case provisioning.StateConnecting, provisioning.StateLookingUp,
			provisioning.StateCheckingClock:
			p.limit = attemptLimit
		case provisioning.StateWaiting:
			if due := soonest(s.NextHub, s.NextDPS); !due.IsZero() {
				p.limit = max(due.Sub(now), 0) + attemptLimit
			}
		}
		// Registering lasts as long as DPS asks to wait between polls, and connected for ever.
	}
	return p.limit > 0 && now.Sub(p.since) > p.limit
}
