// SPDX-License-Identifier: Apache-2.0

package service

import "time"

// HubModel is an IoT hub.
type HubModel struct {
	// Name is its host name.
	Name string

	// Rate is how many connections a second it takes.
	Rate Rate

	// Down is when it refuses every connection before TLS; Failing when it answers with CONNACK 3;
	// Gone when its name does not exist.
	Down, Failing, Gone Interval

	// Knows says that the hub has the device in its registry at a time; nil: always.
	Knows func(device uint32, at time.Duration) bool
}

// Rate is the rate of new connections of a hub.
type Rate struct {
	Quota Quota // beyond which a connection is refused at once, with CONNACK 3; nil: none

	// PerSecond is a rate that is shaped first, if there is no Quota: what comes too fast waits for
	// its turn, for up to Backlog, and gets CONNACK 5 if that is not enough, as the service does.
	// 0: no limit.
	PerSecond float64
	Backlog   time.Duration

	due time.Duration // of the next connection
}

// take is how long the connection has to wait, and whether it is let in then.
func (r *Rate) take(at time.Duration) (wait time.Duration, ok bool) {
	if r.Quota != nil {
		_, ok := r.Quota.Admit(at)
		return 0, ok
	}
	if r.PerSecond <= 0 {
		return 0, true
	}
	interval := time.Duration(float64(time.Second) / r.PerSecond)
	due := max(r.due, at)
	// a second's worth may come at once
	if wait = max(0, due-at-max(0, time.Second-interval)); wait > r.Backlog {
		return r.Backlog, false
	}
	r.due = due + interval
	return wait, true
}

// Answer answers a CONNECT.
func (h *HubModel) Answer(r Request) Answer {
	switch {
	case h.Gone.Contains(r.At):
		return Answer{Outcome: NameGone}
	case h.Down.Contains(r.At):
		return Answer{Outcome: NoAnswer}
	case r.Untrusting:
		return Answer{Outcome: Untrusted}
	case h.Failing.Contains(r.At):
		return Answer{Outcome: Unavailable}
	}
	wait, ok := h.Rate.take(r.At)
	switch {
	case !ok:
		return Answer{Outcome: Unavailable, Takes: wait}
	case r.WrongClock, h.Knows != nil && !h.Knows(r.Device, r.At):
		return Answer{Outcome: Rejected, Takes: wait}
	}
	return Answer{Outcome: Accepted, Takes: wait}
}
