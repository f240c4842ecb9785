// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"
)

// Drop says which messages give way when a lane is full.
type Drop uint8

const (
	// DropOldest drops the oldest messages of the lane, and keeps the new one. What is in flight is
	// not dropped.
	DropOldest Drop = iota
	// DropNewest keeps what there is: Send fails with ErrFull.
	DropNewest
)

// The defaults of Options.
const (
	DefaultInterval      = time.Second
	DefaultMaxBytes      = 16 << 20
	DefaultMaxAlarmBytes = 1 << 20
	DefaultInFlight      = 32
)

// Options are the bounds of a file's outboxes. The zero value has the defaults.
type Options struct {
	// Interval is the least time from one commit to the next. Each is two fsyncs, and one more when
	// the file grows. A message that comes when none was for so long is committed at once, so Send
	// takes Interval at most. A kill costs the acknowledgements of as long: these messages are
	// delivered again. Default: 1 s. Shorter wears flash out, 1 ns is as often as the medium can.
	Interval time.Duration

	// MaxBytes is how much telemetry is kept for one device: bodies, properties and some 20 bytes a
	// message. Default: 16 MiB.
	MaxBytes int64

	// MaxAlarmBytes is the same of alarms, which have a bound of their own so that telemetry leaves
	// them room. Default: 1 MiB.
	MaxAlarmBytes int64

	// MaxAge is for how long a message is kept; older ones are not delivered. A clock that is found
	// to have been behind makes no message older than it is. Default: 0, any age.
	MaxAge time.Duration

	// Full is which messages give way when a lane is full. Default: DropOldest.
	Full Drop

	// InFlight is how many messages of a device may wait for the hub's acknowledgement at a time,
	// up to 10,000; those above the connection's own MaxInFlight wait in it, where alarms do not
	// overtake them. Default: 32.
	InFlight int

	// Timeout is how long Open waits for another process that has the file. Default: 1 s.
	Timeout time.Duration

	// Now is the clock by which messages age. On a board without a clock it is the Now of a
	// Device, which knows better than the system. Default: time.Now.
	Now func() time.Time

	// Logger is told what was dropped, and when commits fail and work again: never what is in a
	// message. Nil is silent.
	Logger *slog.Logger
}

// check returns the options with their defaults.
func (o Options) check(path string) (Options, error) {
	bad := func(field string, value any, fix string) error {
		return &Error{
			Op: "open", Path: path, Err: errOption,
			Problem: fmt.Sprintf("outbox file %s: %s is %v: %s", path, field, value, fix),
		}
	}
	switch {
	case path == "":
		return o, &Error{
			Op: "open", Err: errOption, Problem: "outbox file: the path is empty: name a file",
		}
	case o.Interval < 0:
		return o, bad("Interval", o.Interval, "use 0 for 1 s, or a positive time")
	case o.MaxBytes < 0:
		return o, bad("MaxBytes", o.MaxBytes, "use 0 for 16 MiB, or a positive number")
	case o.MaxAlarmBytes < 0:
		return o, bad("MaxAlarmBytes", o.MaxAlarmBytes, "use 0 for 1 MiB, or a positive number")
	case o.MaxAge < 0:
		return o, bad("MaxAge", o.MaxAge, "use 0 for any age, or a positive time")
	case o.Full > DropNewest:
		return o, bad("Full", uint8(o.Full), "use DropOldest or DropNewest")
	case o.InFlight < 0, o.InFlight > maxInFlight:
		return o, bad("InFlight", o.InFlight, "use 0 for 32, or 1 to 10000")
	case o.Timeout < 0:
		return o, bad("Timeout", o.Timeout, "use 0 for 1 s, or a positive time")
	}
	o.Interval = cmp.Or(o.Interval, DefaultInterval)
	o.MaxBytes = cmp.Or(o.MaxBytes, DefaultMaxBytes)
	o.MaxAlarmBytes = cmp.Or(o.MaxAlarmBytes, DefaultMaxAlarmBytes)
	o.InFlight = cmp.Or(o.InFlight, DefaultInFlight)
	o.Timeout = cmp.Or(o.Timeout, time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

const maxInFlight = 10000
