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
	polls         map[string]*window
}

const maxPollWindows = 10_000 // idle ones are dropped when there are more

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
	if q.polls == nil {
		q.polls = map[string]*window{}
	}
	if len(q.polls) > maxPollWindows {
		for id, w := range q.polls {
			if w.forget(now); len(w.hits) == 0 {
				delete(q.polls, id)
			}
		}
	}
	w := q.polls[registrationID]
	if w == nil {
		w = &window{limit: cfg.PollsPer10s, span: 10 * time.Second}
		q.polls[registrationID] = w
	}
	return w.allow(now)
}
