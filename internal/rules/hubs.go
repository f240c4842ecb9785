// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// HubsKept is for how many hubs something is kept: the two that a device may hold, and two that it
// held before.
const HubsKept = 4

// HubRecord is what is kept for one hub and device ID: what one hub asks for holds for that hub
// alone, whichever way the device comes by it again. The zero value is that of a hub that was never
// tried.
type HubRecord struct {
	_ [0]func() // nobody compares two: the code for that would cost every device 3 KB

	Hub      string
	DeviceID string

	Class    retry.Class // of the last failure
	Failures int         // in a row, since the last stable connection

	NotBefore time.Time // what the hub asked for, or the floor of its last failure
	At        time.Time // when to try it next, of itself

	Accepted bool // it has accepted the device since DPS's last response

	// The hub's name did not exist so often in a row while that of DPS resolved, since a moment.
	Missing      int
	MissingSince time.Time

	// Gap counts the rejections that called for a question to DPS since the last stable
	// connection: the index into RejectionGaps. At GapAt the hub is tried once, and then DPS asked.
	Gap   int
	GapAt time.Time

	// Quick is how many tries are left before GapAt: the hub may lag behind DPS.
	Quick int
}

func (r *HubRecord) of(a Assignment) bool {
	return r.Hub != "" && SameHost(r.Hub, a.Hub) && r.DeviceID == a.DeviceID
}

// Kept is what is kept for an assignment's hub.
func (s *State) Kept(a Assignment) HubRecord {
	for i := range s.Hubs {
		if s.Hubs[i].of(a) {
			return s.Hubs[i]
		}
	}
	return HubRecord{Hub: a.Hub, DeviceID: a.DeviceID}
}

// NotBefore is the time before which a host is left alone, whoever the device is there; zero if it
// is not.
func (s *State) NotBefore(host string) (at time.Time) {
	for i := range s.Hubs {
		if SameHost(s.Hubs[i].Hub, host) {
			at = later(at, s.Hubs[i].NotBefore)
		}
	}
	return at
}

// record is the place of what is kept for an assignment's hub. One that the device does not hold
// any more makes room, that which is to be left alone least long.
func (t *transition) record(a Assignment) *HubRecord {
	var spare *HubRecord
	for i := range t.Hubs {
		r := &t.Hubs[i]
		if r.of(a) {
			return r
		}
		if r.of(t.Confirmed) || r.of(t.Candidate) {
			continue
		}
		if spare == nil || r.NotBefore.Before(spare.NotBefore) {
			spare = r
		}
	}
	*spare = HubRecord{Hub: a.Hub, DeviceID: a.DeviceID}
	return spare
}

// planHub sets H: of the assignments that may be tried, the one whose hub allows it first; both at
// once, what DPS said last.
func (t *transition) planHub() {
	if t.Connected || t.Hub.Phase == UnderWay {
		return
	}
	t.Hub.Phase = Idle
	for _, slot := range [...]Slot{Candidate, Confirmed} {
		a := t.inSlot(slot)
		if !a.Known() || a.Incompatible {
			continue
		}
		at := later(t.now, later(t.Kept(a).At, t.NotBefore(a.Hub)))
		at = later(at, t.Renewal.HubHeldUntil)
		if t.Hub.Phase == Idle || at.Before(t.Hub.At) {
			t.Hub.Phase, t.Hub.At, t.Hub.Next = Waiting, at, slot
		}
	}
}

// cancelConnect gives up the attempt under way, if there is one.
func (t *transition) cancelConnect() {
	if t.Hub.Phase == UnderWay {
		t.do(CancelConnect{})
		t.Hub.Phase = Idle
	}
}
