// SPDX-License-Identifier: Apache-2.0

package mqtt

import "math/bits"

const (
	// maxLoad is how many bytes may be on their way to the network: while there are more, the next
	// message waits. One that is larger than that goes alone.
	maxLoad = 256 << 10

	// firstID is the least packet identifier of a message. Those below it are Paho's, which counts
	// its subscriptions from 1.
	firstID = 1 << 15

	// MaxWindow is the most that Options.MaxInFlight can be: half of the identifiers that are left.
	MaxWindow = 1 << 14
)

// window is the messages in flight, and those that wait for a place among them: each is served in
// the order in which it came, so that no message waits for more than those before it. The tap's
// lock guards it.
type window struct {
	limit  int
	used   int     // places taken
	slots  []*slot // by number; they are made when they are first needed
	free   []int   // slots that nobody uses
	digits int     // of a packet identifier, those with the slot's number; the rest counts its uses

	first, last *request // those that wait

	unwritten, newest *slot // those whose packet has not left whole, in its order
}

// slot is a place of a message.
type slot struct {
	_ [0]func() // never compared, which saves code in a device's program

	number  int
	uses    uint16
	id      uint16
	end     uint64 // where the packet ends in the stream of all bytes
	size    int
	qos     byte
	written bool
	acked   bool
	since   int64    // when it was written, in nanoseconds from the tap's start
	request *request // nil: free, or nobody waits for it any more
	next    *slot    // of those that are not written
}

// request is somebody who waits: for a place, then for the end of his message; or for all places,
// if he has none.
type request struct {
	places  int
	size    int // of the packet
	topic   string
	qos     byte
	payload []byte
	slot    *slot         // the message's place
	done    chan struct{} // has room for the one token
	queued  bool          // it stands among those that wait

	order     *Order // that it belongs to, if any
	withdrawn bool   // one before it in its order was not sent

	prev, next *request
}

func newWindow(limit int) window {
	return window{limit: limit, digits: bits.Len(uint(limit - 1))}
}

// fits reports whether a request can be served while so many bytes are on their way.
func (w *window) fits(r *request, load int) bool {
	return w.used+r.places <= w.limit && (r.size == 0 || load == 0 || load+r.size <= maxLoad)
}

// enqueue makes a request wait its turn.
func (w *window) enqueue(r *request) {
	r.queued, r.prev, r.next = true, w.last, nil
	if w.last != nil {
		w.last.next = r
	} else {
		w.first = r
	}
	w.last = r
}

func (w *window) dequeue(r *request) {
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		w.first = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	} else {
		w.last = r.prev
	}
	r.queued, r.prev, r.next = false, nil, nil
}

// open gives a message its place, with a packet identifier that is in use nowhere: the number of
// uses in it keeps a late acknowledgement of an earlier message from ending this one.
func (w *window) open(r *request, taken func(id uint16) bool) *slot {
	var s *slot
	if n := len(w.free); n > 0 {
		s = w.slots[w.free[n-1]]
		w.free = w.free[:n-1]
	} else {
		s = &slot{number: len(w.slots)}
		w.slots = append(w.slots, s)
	}
	for range 2 { // the highest subscription's identifier may be among these, after thousands
		s.uses++
		s.id = firstID | s.uses<<w.digits | uint16(s.number)
		if !taken(s.id) {
			break
		}
	}
	s.request, s.size, s.qos = r, r.size, r.qos
	s.written, s.acked, s.since, s.next = false, false, 0, nil
	w.used++
	return s
}

// sent notes the last of what is not written.
func (w *window) sent(s *slot) {
	if w.newest != nil {
		w.newest.next = s
	} else {
		w.unwritten = s
	}
	w.newest = s
}

// find returns the slot in use that has a packet identifier.
func (w *window) find(id uint16) *slot {
	if id < firstID {
		return nil
	}
	number := int(id & (1<<w.digits - 1))
	if number >= len(w.slots) || w.slots[number].id != id {
		return nil
	}
	return w.slots[number]
}

// wrote notes how far the stream has left.
func (w *window) wrote(written uint64, now int64) {
	for w.unwritten != nil && w.unwritten.end <= written {
		s := w.unwritten
		if w.unwritten = s.next; s.next == nil {
			w.newest = nil
		}
		s.next, s.written, s.since = nil, true, now
		w.conclude(s)
	}
}

// conclude ends a message that is written and, if it has QoS 1, acknowledged.
func (w *window) conclude(s *slot) {
	if !s.written || !s.acked && s.qos > 0 {
		return
	}
	if s.request != nil {
		s.request.done <- struct{}{}
	}
	s.id, s.request = 0, nil
	w.free = append(w.free, s.number)
	w.used--
}

// owed returns since when the server has been owing a PUBACK, 0 if it owes none, and how many bytes
// of messages wait for theirs.
func (w *window) owed() (since int64, size int) {
	for _, s := range w.slots {
		if s.id == 0 || !s.written {
			continue
		}
		if size += s.size; since == 0 || s.since < since {
			since = s.since
		}
	}
	return since, size
}
