// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"math"
	"time"
)

// event is something that happens to a device.
type event struct {
	at     time.Duration
	wait   time.Duration // of an answer: what it asks for
	device uint32
	kind   eventKind
	gen    uint8 // of an answer, or of a connection's end: which attempt it is about
	what   uint8 // of an answer: service.Outcome
	hub    uint8 // of an answer
}

type eventKind uint8

const (
	boots    eventKind = iota // the process starts
	dies                      // the process is killed
	hubSays                   // an answer of a hub
	dpsSays                   // an answer of DPS
	polls                     // it is time to poll a registration
	lasts                     // the connection has lasted for 30 s
	linkEnds                  // the scenario ends the connection
	wakes                     // a timer may be due: last, since a step starts what is due as well
)

// before orders the events of a batch by device, and those of a device by time.
func before(a, b event) int {
	if a.device != b.device {
		return cmp.Compare(a.device, b.device)
	}
	if a.at != b.at {
		return cmp.Compare(a.at, b.at)
	}
	return cmp.Compare(a.kind, b.kind)
}

// queue holds what is going to happen.
type queue interface {
	// push adds an event. It is never before the end of the batch that was popped last, or at its
	// own moment if batches are instants, nor before the batch of the limit of next.
	push(event)

	// next is the last moment of the next batch, and how many events it has. It is that of limit's,
	// which may have none then, if nothing comes before; never is that there is none.
	next(limit time.Duration) (last time.Duration, events int)

	// pop takes the events of the next batch, in no order.
	pop(into []event) (batch []event)
}

// instants is a queue whose batches are single instants: a binary heap.
type instants struct{ heap []event }

func (q *instants) next(limit time.Duration) (last time.Duration, events int) {
	if len(q.heap) == 0 || limit < q.heap[0].at {
		return limit, 0
	}
	return q.heap[0].at, 1
}

func (q *instants) push(e event) {
	q.heap = append(q.heap, e)
	for i := len(q.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if q.heap[parent].at <= q.heap[i].at {
			break
		}
		q.heap[parent], q.heap[i] = q.heap[i], q.heap[parent]
		i = parent
	}
}

func (q *instants) pop(into []event) []event {
	at := q.heap[0].at
	for len(q.heap) > 0 && q.heap[0].at == at {
		into = append(into, q.heap[0])
		q.removeFirst()
	}
	return into
}

func (q *instants) removeFirst() {
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap = q.heap[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if q.heap[child].at < q.heap[least].at {
				least = child
			}
		}
		if least == i {
			return
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}

// calendar is a queue whose batches are the buckets of a calendar: a ring of those that come next,
// and a page of events for each later turn of the ring.
type calendar struct {
	width time.Duration
	ring  [ringSize][]event
	now   int64 // the bucket to pop next, or one before that
	near  int   // events in the ring
	later map[int64][]event
	spare [][]event // emptied buckets, for others to fill
}

const ringSize = 1 << 14

func newCalendar(width time.Duration) *calendar {
	return &calendar{width: width, later: map[int64][]event{}}
}

func (q *calendar) push(e event) {
	bucket := max(int64(e.at/q.width), 0)
	if bucket < q.now {
		panic("an event lies in a bucket that has been played already")
	}
	if turn := bucket / ringSize; turn > q.now/ringSize {
		q.later[turn] = append(q.later[turn], e)
		return
	}
	slot := &q.ring[bucket%ringSize]
	if *slot == nil && len(q.spare) > 0 {
		*slot = q.spare[len(q.spare)-1][:0]
		q.spare = q.spare[:len(q.spare)-1]
	}
	*slot = append(*slot, e)
	q.near++
}

func (q *calendar) next(limit time.Duration) (last time.Duration, events int) {
	if limit == never && q.near == 0 && len(q.later) == 0 {
		return never, 0
	}
	q.seek(int64(limit / q.width))
	return time.Duration(q.now+1)*q.width - 1, len(q.ring[q.now%ringSize])
}

func (q *calendar) pop(into []event) []event {
	q.seek(math.MaxInt64)
	slot := &q.ring[q.now%ringSize]
	into = append(into, *slot...)
	q.near -= len(*slot)
	if cap(*slot) <= 1<<10 && len(q.spare) < ringSize {
		q.spare = append(q.spare, *slot)
	}
	*slot = nil
	q.advance()
	return into
}

// seek goes to the next bucket with events, or to that of the limit if none comes before. Turns in
// which nothing happens are skipped.
func (q *calendar) seek(limit int64) {
	for q.now < limit && len(q.ring[q.now%ringSize]) == 0 {
		if q.near > 0 {
			q.advance()
			continue
		}
		q.now = limit
		for turn := range q.later {
			q.now = min(q.now, turn*ringSize)
		}
		q.turn()
	}
}

func (q *calendar) advance() {
	q.now++
	if q.now%ringSize == 0 {
		q.turn()
	}
}

// turn brings in the page of the turn that has been reached.
func (q *calendar) turn() {
	turn := q.now / ringSize
	page := q.later[turn]
	delete(q.later, turn)
	for _, e := range page {
		q.push(e)
	}
}
