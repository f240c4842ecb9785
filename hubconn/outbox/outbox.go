// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"bytes"
	"fmt"
	"log/slog"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Outbox is what is kept for one device, made by [File.Outbox]. Its methods are safe for concurrent
// use.
type Outbox struct {
	file    *File
	device  string
	arrived chan struct{} // holds one token when there may be something to deliver
	turn    chan struct{} // holds one while it is being delivered

	// The rest is guarded by the file's lock.

	number uint32 // of the device in the file; 0: it has none yet
	lanes  [lanes]laneState
	stats  Stats
	told   [reasons]told
}

// Stats returns the outbox's numbers as they are now.
func (o *Outbox) Stats() Stats {
	o.file.mu.Lock()
	defer o.file.mu.Unlock()
	s := o.stats
	for i := range o.lanes {
		s.Kept += o.lanes[i].messages
		s.KeptBytes += o.lanes[i].bytes
	}
	s.KeptAlarms = o.lanes[alarms].messages
	return s
}

// count sets how much the file holds. The file's lock is held, or nobody else has the outbox.
func (o *Outbox) count(tx *bolt.Tx) error {
	o.number = numberOf(tx, o.device)
	for i := range o.lanes {
		l := &o.lanes[i]
		l.messages, l.bytes = 0, 0
		err := o.each(tx, lane(i), 0, func(sequence uint64, key, record []byte) bool {
			if !l.isAcknowledged(sequence) {
				l.messages++
				l.bytes += int64(len(key) + len(record))
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// each calls yield with the messages of a lane that come after one, in their order, until it
// returns false. An error says that they are not in their order: in a damaged file pages may lead
// back to those before them, for ever.
func (o *Outbox) each(
	tx *bolt.Tx, lane lane, after uint64, yield func(sequence uint64, key, record []byte) bool,
) error {
	if o.number == 0 {
		return nil
	}
	first := keyOf(o.number, lane, after+1)
	c := tx.Bucket(bucketMessages).Cursor()
	for key, record := c.Seek(first); len(key) == keySize && bytes.HasPrefix(key, first[:5]); {
		_, _, sequence, _ := laneOf(key)
		if sequence <= after {
			return fmt.Errorf("%w (its pages are in no order)", ErrDamaged)
		}
		after = sequence
		if !yield(sequence, key, record) {
			return nil
		}
		key, record = c.Next()
	}
	return nil
}

// signal tells whoever delivers that there may be something.
func (o *Outbox) signal() {
	select {
	case o.arrived <- struct{}{}:
	default:
	}
}

// acknowledge notes that the hub has a message. The file's lock is not held.
func (o *Outbox) acknowledge(lane lane, sequence uint64, size int64) {
	f := o.file
	f.mu.Lock()
	defer f.mu.Unlock()
	o.stats.Delivered++
	o.remove(lane, sequence, size)
}

// discard notes that a message is dropped, other than by a commit.
func (o *Outbox) discard(lane lane, sequence uint64, size int64, why reason, id string) {
	f := o.file
	f.mu.Lock()
	o.remove(lane, sequence, size)
	tell := o.drop(why, 1)
	f.mu.Unlock()
	tell(id)
}

// remove takes a message that was in flight out of what is kept, and has the next commit do so in
// the file; mu is held. One that gave way meanwhile is out already.
func (o *Outbox) remove(lane lane, sequence uint64, size int64) {
	f, l := o.file, &o.lanes[lane]
	if !l.isInFlight(sequence) {
		return
	}
	delete(l.inFlight, sequence)
	l.acknowledged[sequence] = size
	l.messages--
	l.bytes -= size
	if f.removals++; f.removals == 1 {
		f.since = time.Now()
	}
	f.ended[o] = struct{}{}
	if f.removals == 1 || f.removals == manyRemovals {
		f.wakeUp()
	}
}

// drop counts messages that were dropped; mu is held. What it returns tells the log, if it is time
// for that, and is called without the lock.
func (o *Outbox) drop(why reason, n uint64) (tell func(id string)) {
	switch why {
	case full:
		o.stats.DroppedFull += n
	case old:
		o.stats.DroppedOld += n
	case refused:
		o.stats.DroppedRefused += n
	case damaged:
		o.stats.DroppedDamaged += n
	}
	t := &o.told[why]
	t.count += n
	if !t.at.IsZero() && time.Since(t.at) < toldEvery {
		return func(string) {}
	}
	count := t.count
	t.count, t.at = 0, time.Now()
	return func(id string) {
		attrs := []any{
			slog.String("device", o.device), slog.Uint64("messages", count),
			slog.String("cause", why.String()),
		}
		if id != "" {
			attrs = append(attrs, slog.String("message_id", id))
		}
		o.file.options.Logger.Warn("messages dropped", attrs...)
	}
}
