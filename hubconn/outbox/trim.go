// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"math"
	"time"

	bolt "go.etcd.io/bbolt"
)

// trim removes what has no room in a lane, and what is too old, within a commit: the oldest
// messages, but for those in flight.
func (f *File) trim(
	tx *bolt.Tx, messages *bolt.Bucket, b *batch, o *Outbox, lane lane,
) error {
	c := b.change(o, lane)
	if c.cleared != nil {
		return nil // what has come since has room
	}
	f.mu.Lock()
	kept := o.lanes[lane].bytes + c.bytes
	f.mu.Unlock()
	limit, maxAge := o.limit(lane), f.options.MaxAge
	if f.options.Full == DropNewest {
		limit = math.MaxInt64 // Send has seen to it
	}
	if kept <= limit && maxAge == 0 {
		return nil
	}
	// Removing what a cursor stands on moves it: so they are gathered first.
	var keys [][]byte
	err := b.inFile(o).each(tx, lane, 0, func(sequence uint64, key, record []byte) bool {
		why := full
		if kept <= limit {
			if maxAge == 0 || f.age(record, b.now) <= maxAge {
				return false
			}
			why = old
		}
		if f.isBusy(o, lane, sequence) {
			return true
		}
		size := int64(len(key) + len(record))
		kept -= size
		c.messages--
		c.bytes -= size
		if c.dropped == nil {
			c.dropped = map[uint64]reason{}
		}
		c.dropped[sequence] = why
		keys = append(keys, append([]byte{}, key...))
		return true
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := messages.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// isBusy says that a message is on its way to the hub, or has arrived.
func (f *File) isBusy(o *Outbox, lane lane, sequence uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := &o.lanes[lane]
	return l.isInFlight(sequence) || l.isAcknowledged(sequence)
}

// age is how old a record is at a time of ages.
func (f *File) age(record []byte, now time.Time) time.Duration {
	if len(record) < recordHeader {
		return 0
	}
	r := reader{rest: record[recordHeader:]}
	kept := time.UnixMilli(r.varint())
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ages.of(kept, now)
}
