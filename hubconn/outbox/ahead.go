// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	bolt "go.etcd.io/bbolt"

	"github.com/rehome-iot/rehome/hubconn"
)

// How much is read at a time, so that little of what is kept is in memory.
const (
	aheadMessages = 64
	aheadBytes    = 256 << 10
)

// message is a kept message.
type message struct {
	hubconn.Message
	lane     lane
	sequence uint64
	size     int64 // in the file
	verdict  reason
	fit      bool // else verdict is why it is not delivered
}

// ahead is what a delivery has read of a lane and not sent yet.
type ahead struct {
	messages   []message
	after      uint64 // the last that was taken
	generation uint64 // of the lane, when they were read
}

// take returns the next message of a lane, if there is one, and marks it as in flight. Those that
// are not fit to be delivered it drops.
func (d *delivery) take(lane lane) (m message, ok bool, err error) {
	for {
		m, ok, err := d.pop(lane)
		if err != nil || !ok || m.fit {
			return m, ok, err
		}
		d.box.discard(lane, m.sequence, m.size, m.verdict, m.MessageID)
	}
}

func (d *delivery) pop(lane lane) (m message, ok bool, err error) {
	o, a := d.box, &d.ahead[lane]
	o.file.mu.Lock()
	defer o.file.mu.Unlock()
	l := &o.lanes[lane]
	for len(a.messages) == 0 || a.generation != l.generation { // some may have given way
		if l.messages <= len(l.inFlight) {
			return m, false, nil
		}
		a.generation = l.generation
		o.file.mu.Unlock()
		a.messages, err = o.read(lane, a.after)
		o.file.mu.Lock()
		if err != nil || len(a.messages) == 0 {
			return m, false, err
		}
	}
	m, a.messages = a.messages[0], a.messages[1:]
	a.after = m.sequence
	l.inFlight[m.sequence] = struct{}{}
	if _, again := l.unsure[m.sequence]; again && m.fit {
		delete(l.unsure, m.sequence)
		o.stats.Resent++
	}
	return m, true, nil
}

// read returns messages of a lane that come after one, but for those that the hub has. It returns
// none that is in the file and not known to be on the medium: after a power cut its number would be
// given to another message.
func (o *Outbox) read(lane lane, after uint64) (all []message, err error) {
	now, maxAge := o.file.now(), o.file.options.MaxAge
	durable := o.file.durable.Load()
	err = o.file.db.view(func(tx *bolt.Tx) error {
		all = nil
		size := 0
		return o.each(tx, lane, after, func(sequence uint64, key, record []byte) bool {
			if sequence > durable {
				return false
			}
			if o.file.isBusy(o, lane, sequence) {
				return true
			}
			m := message{
				lane: lane, sequence: sequence, size: int64(len(key) + len(record)), fit: true,
			}
			var err error
			switch m.Message, _, err = decode(key, record); {
			case err != nil:
				m.fit, m.verdict = false, damaged
			case maxAge > 0 && o.file.age(record, now) > maxAge:
				m.fit, m.verdict = false, old
			}
			if m.MessageID == "" {
				m.MessageID = messageID(o.file.id, sequence)
			}
			all = append(all, m)
			size += len(record)
			return len(all) < aheadMessages && size < aheadBytes
		})
	})
	return all, err
}
