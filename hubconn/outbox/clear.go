// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"context"

	bolt "go.etcd.io/bbolt"
)

// Clear removes all that is kept for the device, and returns when that is on the medium: at a
// factory reset, or when the device has another owner. What is in flight may arrive yet. The error
// is an *Error.
func (o *Outbox) Clear(ctx context.Context) error {
	return o.await(ctx, "clear", &put{box: o, clears: true, done: make(chan struct{})})
}

// clear removes the messages of a device within a commit.
func (f *File) clear(tx *bolt.Tx, messages *bolt.Bucket, b *batch, o *Outbox) error {
	for l := range lane(lanes) {
		c := b.change(o, l)
		c.cleared = map[uint64]int64{}
		var keys [][]byte
		err := b.inFile(o).each(tx, l, 0, func(sequence uint64, key, record []byte) bool {
			c.cleared[sequence] = int64(len(key) + len(record))
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
	}
	return nil
}

// inFile is a device as the file has it within a commit: one that is new has a number by then.
func (b *batch) inFile(o *Outbox) *Outbox {
	if o.number != 0 {
		return o
	}
	return &Outbox{number: b.numbers[o]}
}

// forget takes what was cleared out of what is known of a lane; mu is held.
func (f *File) forget(l *laneState, cleared map[uint64]int64) {
	for sequence, size := range cleared {
		if l.isAcknowledged(sequence) { // just now, and counted then
			delete(l.acknowledged, sequence)
			f.removals--
			continue
		}
		l.messages--
		l.bytes -= size
		delete(l.inFlight, sequence)
		delete(l.unsure, sequence)
	}
	if len(cleared) > 0 {
		l.generation++
	}
}
