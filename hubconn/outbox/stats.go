// SPDX-License-Identifier: Apache-2.0

package outbox

import "time"

// Stats are the numbers of an outbox. Those that count begin with the opening of the file.
type Stats struct {
	// Kept is how many messages the file holds for the hub now, KeptAlarms how many of them are
	// alarms, and KeptBytes how much they take.
	Kept, KeptAlarms int
	KeptBytes        int64
	// Accepted counts the messages of Send and SendAlarm that were kept.
	Accepted uint64
	// Delivered counts the messages that the hub has acknowledged.
	Delivered uint64
	// HandedOver counts the messages that HandOver has given to somebody else.
	HandedOver uint64
	// Resent counts the deliveries of messages that were on their way when a connection ended: the
	// hub may have had them. What a process that was killed had on its way is not known.
	Resent uint64
	// DroppedFull counts messages that gave way, or found no room, because the lane was full;
	// DroppedOld those that reached MaxAge; DroppedRefused those that no hub would take, and
	// DroppedDamaged those that are not as they were written. All of them were not acknowledged.
	DroppedFull, DroppedOld, DroppedRefused, DroppedDamaged uint64
}

// Dropped is how many messages were dropped, for whatever reason.
func (s Stats) Dropped() uint64 {
	return s.DroppedFull + s.DroppedOld + s.DroppedRefused + s.DroppedDamaged
}

// FileStats are the numbers of a file since it was opened.
type FileStats struct {
	// Commits counts the commits, of two fsyncs each.
	Commits uint64
	// Failed counts the commits that failed; Err is the error of the last, nil since one worked.
	Failed uint64
	Err    error
	// Size is the size of the file: it grows, and what is free in it is used again.
	Size int64
}

// reason is why a message was dropped.
type reason uint8

const (
	full reason = iota
	old
	refused
	damaged

	reasons = 4
)

func (r reason) String() string {
	return [...]string{
		"the lane is full", "the message is too old", "the hub would not take the message",
		"the record is damaged",
	}[r]
}

// toldEvery is how often the log is told of messages that go on being dropped for one reason.
const toldEvery = time.Minute

// told is what the log knows of what is dropped.
type told struct {
	count uint64 // dropped and not told of
	at    time.Time
}
