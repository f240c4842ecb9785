// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"cmp"
	"math"
	"sync"

	"github.com/rehome-iot/rehome/internal/boundedlog"
)

// The bounds of an [EventLog] that sets none.
const (
	DefaultMaxEvents     = boundedlog.MaxEntries
	DefaultMaxEventBytes = boundedlog.MaxBytes
)

// EventLog keeps what happened on a network, for readers that each go at their own pace: a reader
// asks for what came after the position it has. The log is bounded, and nobody waits for a reader:
// one that comes too late is told how many events it missed. The zero value is ready for use, and
// safe for concurrent use.
type EventLog struct {
	// MaxEvents is how many events are kept. 0 means DefaultMaxEvents.
	MaxEvents int
	// MaxBytes is how much memory they may take, about; the newest is kept however large it is. 0
	// means DefaultMaxEventBytes.
	MaxBytes int

	mu      sync.Mutex
	log     *boundedlog.Log[*Event] // never changed once they are here; see events
	changed chan struct{}           // nil while nobody waits
}

// events returns the log, whose positions begin at 0: those of events begin at 1. l.mu is held.
func (l *EventLog) events() *boundedlog.Log[*Event] {
	if l.log == nil {
		l.log = boundedlog.New(func(e **Event) int { return (*e).size() })
		l.log.Limit(
			cmp.Or(l.MaxEvents, DefaultMaxEvents), cmp.Or(l.MaxBytes, DefaultMaxEventBytes),
		)
	}
	return l.log
}

// Add appends an event, gives it its position, and drops the oldest ones that there is no room for.
func (l *EventLog) Add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Position = uint64(l.events().Next()) + 1
	l.events().Append(&e)
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// Read returns the events that came after a position (0: from the oldest), max of them at most, and
// how many before those the log no longer has. The events are shared: they must not be changed. A
// position that the log has not reached yet yields none.
func (l *EventLog) Read(after uint64, max int) (events []*Event, missed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, at := l.events().Page(int(min(after, math.MaxInt)), max)
	if first := uint64(at); first > after {
		missed = first - after
	}
	return events, missed
}

// Last returns the position of the newest event; 0: there has been none.
func (l *EventLog) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(l.events().Next())
}

// Changed returns a channel that is closed when the next event comes. Ask for it before Read, so
// that no event is overlooked.
func (l *EventLog) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

// RecordEvents lets the network's sites record in a log what happens at them, from now on; nil
// ends it. Without a log nothing is recorded, and nothing is spent on it.
func (n *Network) RecordEvents(l *EventLog) { n.events.Store(l) }

// Recording reports whether there is a log for events. A site asks before it makes an event that is
// dear.
func (n *Network) Recording() bool { return n.events.Load() != nil }

// Record adds an event to the log of RecordEvents, with the time of the network's clock. Without a
// log it does nothing. It never waits for a reader.
func (n *Network) Record(e Event) {
	if l := n.events.Load(); l != nil {
		e.Time = n.Now().UTC()
		l.Add(e)
	}
}
