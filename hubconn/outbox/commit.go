// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"log/slog"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// removalsWait is how long what the hub has acknowledged waits for a commit that keeps
	// something, before it has one of its own: a device that sends once in a while then has one
	// commit a message, and a power cut costs it as long of duplicates.
	removalsWait = time.Minute
	// manyRemovals do not wait for longer than messages do.
	manyRemovals = 1000
)

// now is the time by which messages age.
func (f *File) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ages.read()
}

func (f *File) wakeUp() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// commitAll commits what there is until the file is closed, and once more then.
func (f *File) commitAll() {
	defer close(f.done)
	var last time.Time
	for {
		closing := f.await(last)
		last = time.Now()
		b := f.take()
		if b.any() {
			f.conclude(b, f.commit(b))
		}
		if closing {
			return
		}
	}
}

// await returns when it is time for a commit, or the file is being closed.
func (f *File) await(last time.Time) (closing bool) {
	for {
		due, some := f.due(last)
		left := time.Until(due)
		if some && left <= 0 {
			return false
		}
		timer := time.NewTimer(left)
		if !some {
			timer.Stop()
		}
		select {
		case <-timer.C:
		case <-f.wake:
		case <-f.closing:
			closing = true
		}
		timer.Stop()
		if closing {
			return true
		}
	}
}

// due says when the next commit is, if there is anything to commit.
func (f *File) due(last time.Time) (due time.Time, some bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	due = last.Add(f.options.Interval)
	switch {
	case len(f.pending) > 0, f.removals >= manyRemovals:
		return due, true
	case f.removals > 0:
		if lazy := f.since.Add(removalsWait); lazy.After(due) {
			due = lazy
		}
		return due, true
	}
	return due, false
}

// A batch is what one commit does.
type batch struct {
	puts  []*put
	ended map[*Outbox]*[lanes][]uint64 // messages to be removed
	floor []byte                       // of ages; nil: unchanged
	now   time.Time

	// What comes of it, for each lane.
	changes map[*Outbox]*[lanes]laneChange
	numbers map[*Outbox]uint32 // of devices that are new in the file
	last    uint64             // the sequence number of the latest message
}

// laneChange is what a commit changes in a lane.
type laneChange struct {
	messages int
	bytes    int64
	dropped  map[uint64]reason
	cleared  map[uint64]int64 // with their size
}

func (b *batch) any() bool { return len(b.puts) > 0 || len(b.ended) > 0 }

func (b *batch) change(o *Outbox, l lane) *laneChange {
	c := b.changes[o]
	if c == nil {
		c = &[lanes]laneChange{}
		b.changes[o] = c
	}
	return &c[l]
}

// take returns what there is to commit.
func (f *File) take() *batch {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := &batch{puts: f.pending, ended: make(map[*Outbox]*[lanes][]uint64, len(f.ended))}
	f.pending = nil
	for o := range f.ended {
		all := &[lanes][]uint64{}
		for i := range o.lanes {
			for sequence := range o.lanes[i].acknowledged {
				all[i] = append(all[i], sequence)
			}
		}
		b.ended[o] = all
	}
	if b.now = f.ages.read(); f.ages.changed {
		b.floor = f.ages.stored()
	}
	return b
}

// commit makes one transaction of a batch.
func (f *File) commit(b *batch) error {
	return f.db.update(func(tx *bolt.Tx) error {
		b.changes, b.numbers = map[*Outbox]*[lanes]laneChange{}, map[*Outbox]uint32{}
		messages := tx.Bucket(bucketMessages)
		messages.FillPercent = fillPercent
		if b.floor != nil {
			if err := tx.Bucket(bucketSettings).Put(keyFloor, b.floor); err != nil {
				return err
			}
		}
		for o, ended := range b.ended {
			for l := range ended {
				for _, sequence := range ended[l] {
					if err := messages.Delete(keyOf(o.number, lane(l), sequence)); err != nil {
						return err
					}
				}
			}
		}
		for _, p := range b.puts {
			var err error
			if p.clears {
				err = f.clear(tx, messages, b, p.box)
			} else {
				err = f.write(tx, messages, b, p)
			}
			if err != nil {
				return err
			}
		}
		for o := range b.changes {
			for l := range lane(lanes) {
				if err := f.trim(tx, messages, b, o, l); err != nil {
					return err
				}
			}
		}
		b.last = messages.Sequence()
		return nil
	})
}

// write stores the messages of one call.
func (f *File) write(tx *bolt.Tx, messages *bolt.Bucket, b *batch, p *put) error {
	number, err := f.number(tx, b, p.box)
	if err != nil {
		return err
	}
	change := b.change(p.box, p.lane)
	for _, record := range p.records {
		sequence, err := messages.NextSequence()
		if err != nil {
			return err
		}
		key := keyOf(number, p.lane, sequence)
		sign(key, record)
		if err := messages.Put(key, record); err != nil {
			return err
		}
		change.messages++
		change.bytes += int64(len(key) + len(record))
	}
	return nil
}

// number is the device's number in the file, which its first message gives it.
func (f *File) number(tx *bolt.Tx, b *batch, o *Outbox) (uint32, error) {
	if o.number != 0 { // the committer alone changes it
		return o.number, nil
	}
	if n := b.numbers[o]; n != 0 {
		return n, nil
	}
	n := numberOf(tx, o.device)
	if n == 0 {
		devices := tx.Bucket(bucketDevices)
		next, err := devices.NextSequence()
		if err != nil {
			return 0, err
		}
		n = uint32(next)
		if err := devices.Put([]byte(o.device), numberBytes(n)); err != nil {
			return 0, err
		}
	}
	b.numbers[o] = n
	return n, nil
}

// conclude takes in what has come of a batch, and tells those who wait.
func (f *File) conclude(b *batch, err error) {
	f.mu.Lock()
	recovered, failing := false, err != nil && f.stats.Err == nil
	for _, p := range b.puts {
		p.box.lanes[p.lane].pending -= p.size
	}
	var tell []func(string)
	if err != nil {
		f.stats.Failed++
		f.stats.Err = explained("send", f.path, "", err)
		f.since = time.Now() // what was to be removed is tried again after a while
		f.recount(b)
	} else {
		recovered, f.stats.Err = f.stats.Err != nil, nil
		f.stats.Commits++
		f.durable.Store(b.last)
		tell = f.apply(b)
	}
	failure := f.stats.Err
	f.mu.Unlock()
	for _, p := range b.puts {
		p.err = err
		close(p.done)
		p.box.signal()
	}
	for _, t := range tell {
		t("")
	}
	switch {
	case failing:
		f.options.Logger.Warn("outbox not written", slog.String("detail", failure.Error()))
	case recovered:
		f.options.Logger.Info("outbox written again")
	}
}

// apply changes what is known of the lanes as the file has changed; mu is held.
func (f *File) apply(b *batch) (tell []func(string)) {
	for o, n := range b.numbers {
		o.number = n
	}
	for o, ended := range b.ended {
		for i := range ended {
			for _, sequence := range ended[i] {
				delete(o.lanes[i].acknowledged, sequence)
			}
			f.removals -= len(ended[i])
		}
	}
	f.since = time.Now()
	for _, p := range b.puts {
		p.box.stats.Accepted += uint64(len(p.records))
	}
	for o, changes := range b.changes {
		var dropped [reasons]uint64
		for i := range changes {
			l, c := &o.lanes[i], &changes[i]
			l.messages += c.messages
			l.bytes += c.bytes
			f.forget(l, c.cleared)
			if len(c.dropped) > 0 {
				l.generation++
			}
			for sequence, why := range c.dropped {
				dropped[why]++
				delete(l.inFlight, sequence)
				delete(l.unsure, sequence)
			}
		}
		for why, n := range dropped {
			if n > 0 {
				tell = append(tell, o.drop(reason(why), n))
			}
		}
	}
	for o := range f.ended {
		if len(o.lanes[alarms].acknowledged)+len(o.lanes[telemetry].acknowledged) == 0 {
			delete(f.ended, o)
		}
	}
	if b.floor != nil {
		f.ages.changed = false
	}
	return tell
}

// recount looks into the file, since a commit that has failed may have been made all the same; mu
// is held.
func (f *File) recount(b *batch) {
	_ = f.db.view(func(tx *bolt.Tx) error {
		for o := range b.changes {
			_ = o.count(tx)
		}
		return nil
	})
}
