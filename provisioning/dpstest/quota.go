// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"sync"
	"time"
)

// A window allows a number of events in any stretch of time of a given length.
type window struct {
	limit int // negative: no limit
	span  time.Duration
	hits  []time.Time
}

// allow counts an event, or says how long it has to wait. Refused events do not count.
func (w *window) allow(now time.Time) (wait time.Duration, ok bool) {
	if w.limit < 0 {
		return 0, true
	}
	w.forget(now)
	if len(w.hits) < w.limit {
		w.hits = append(w.hits, now)
		return 0, true
	}
	if len(w.hits) == 0 {
		return w.span, false
	}
	return w.hits[0].Add(w.span).Sub(now), false
}

func (w *window) forget(now time.Time) {
	old := 0
	for old < len(w.hits) && now.Sub(w.hits[old]) >= w.span {
		old++
	}
	w.hits = w.hits[old:]
}

// quotas keeps the service's three limits, which do not touch each other: registrations and status
// lookups of the tenant, polls of each device, and operators' requests.
type quotas struct {
	mu            sync.Mutex
	registrations window
	operations    window

	// The windows of devices that have polled since rotated, and of those that had polled in the
	// time before: older ones have nothing to count. So nobody ever looks through all of them.
	polls, before map[string]*window
	rotated       time.Time
}

const (
	pollSpan = 10 * time.Second
	// maxPollWindows bounds each of the two maps. Where more devices poll at a time, some may poll
	// more often than they should.
	maxPollWindows = 100_000
)

func (q *quotas) allow(
	cfg Config, op Op, registrationID string, now time.Time,
) (wait time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if op == Service {
		q.operations.limit, q.operations.span = cfg.ServiceOperationsPerMinute, time.Minute
		return q.operations.allow(now)
	}
	if op != Poll {
		q.registrations.limit, q.registrations.span = cfg.RegistrationsPerMinute, time.Minute
		return q.registrations.allow(now)
	}
	if cfg.PollsPer10s < 0 {
		return 0, true
	}
	if idle := now.Sub(q.rotated); q.polls == nil || idle >= pollSpan ||
		len(q.polls) >= maxPollWindows {
		if q.before = q.polls; idle >= 2*pollSpan {
			q.before = nil
		}
		q.polls, q.rotated = map[string]*window{}, now
	}
	w := q.polls[registrationID]
	if w == nil {
		if w = q.before[registrationID]; w == nil {
			w = &window{limit: cfg.PollsPer10s, span: pollSpan}
		}
		q.polls[registrationID] = w
	}
	return w.allow(now)
}
