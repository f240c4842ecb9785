// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"encoding/binary"
	"time"
)

// clockStep is by how much a clock may run ahead of the monotonic one and still be taken for right:
// more is somebody who has set it, or a suspended machine.
const clockStep = time.Minute

// plausible is before any time that a clock shows which has been set. A message of before has no
// known age.
var plausible = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// ages says how old messages are, at least. Boards begin in 1970, or where their clock stood when
// the power went, and find out later: what was kept before that must not seem to be days old then.
type ages struct {
	now    func() time.Time
	opened time.Time
	// floor is when the clock was last found to have been behind. A message of before that counts
	// from there: it is not known when it was kept. It is in the file.
	floor   time.Time
	changed bool // since it was written
	// wall and steady are one moment by both clocks.
	wall, steady time.Time
}

func newAges(now func() time.Time, floor []byte) ages {
	wall := now().Round(0) // without the monotonic clock
	a := ages{now: now, opened: wall, wall: wall, steady: time.Now()}
	if len(floor) == 8 {
		a.floor = time.UnixMilli(int64(binary.BigEndian.Uint64(floor)))
	}
	return a
}

// read returns the time, and notes when the clock has been set forward.
func (a *ages) read() time.Time {
	wall, steady := a.now().Round(0), time.Now()
	if ahead := wall.Sub(a.wall) - steady.Sub(a.steady); ahead > clockStep || ahead < -clockStep {
		if ahead > 0 {
			a.floor, a.changed = wall, true
		}
		a.wall, a.steady = wall, steady
	}
	return wall
}

// of is how old a message is at a time that read has returned, at least.
func (a *ages) of(kept, now time.Time) time.Duration {
	if kept.Before(plausible) && kept.Before(a.opened) {
		kept = a.opened
	}
	if kept.Before(a.floor) {
		kept = a.floor
	}
	return now.Sub(kept)
}

// stored is the floor as it stands in the file.
func (a *ages) stored() []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(a.floor.UnixMilli()))
}
