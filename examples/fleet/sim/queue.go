// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"maps"
	"slices"
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
	// own moment if batches are instants.
	push(event)

	// pop takes the events of the next batch, in no order, and the last moment that belongs to it.
	pop(into []event) (batch []event, last time.Duration)

	// size is how many events there are.
	size() int
}

// instants is a queue whose batches are single instants: a binary heap.
type instants struct{ heap []event }

func (q *instants) size() int { return len(q.heap) }

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

func (q *instants) pop(into []event) ([]event, time.Duration) {
	at := q.heap[0].at
	for len(q.heap) > 0 && q.heap[0].at == at {
		into = append(into, q.heap[0])
		q.removeFirst()
	}
	return into, at
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
	now   int64 // the bucket to pop next
	later map[int64][]event
	held  int
	spare [][]event // emptied buckets, for others to fill
}

const ringSize = 1 << 14

func newCalendar(width time.Duration) *calendar {
	return &calendar{width: width, later: map[int64][]event{}}
}

func (q *calendar) size() int { return q.held }

func (q *calendar) push(e event) {
	q.held++
	q.file(e)
}

func (q *calendar) file(e event) {
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
}

func (q *calendar) pop(into []event) ([]event, time.Duration) {
	for len(q.ring[q.now%ringSize]) == 0 {
		q.advance()
	}
	slot := &q.ring[q.now%ringSize]
	into = append(into, *slot...)
	q.held -= len(*slot)
	if cap(*slot) <= 1<<10 && len(q.spare) < ringSize {
		q.spare = append(q.spare, *slot)
	}
	*slot = nil
	last := time.Duration(q.now+1)*q.width - 1
	q.advance()
	return into, last
}

// advance goes to the next bucket, and brings in the page of its turn where it is the first of one.
// A turn in which nothing happens is skipped.
func (q *calendar) advance() {
	q.now++
	if q.now%ringSize != 0 || len(q.later) == 0 {
		return
	}
	turn := q.now / ringSize
	if len(q.later[turn]) == 0 { // the ring is empty: all that is held is on later pages
		turn = slices.Min(slices.Collect(maps.Keys(q.later)))
		q.now = turn * ringSize
	}
	page := q.later[turn]
	delete(q.later, turn)
	for _, e := range page {
		q.file(e)
	}
}
