package provisioning

import (
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// The two timers, H for the hub and D for DPS, are independent: a device that waits for DPS goes on trying the hub it remembers.
type state struct {
	rules rules

	confirmed *known // the assignment that last led to a connection
	candidate *known // what DPS said since; confirmed once it has led to a connection
	connected bool

	hub hubTimer
	dps dpsTimer

	gap        int       // DPS answers to rejections since the last stable connection: index into rejectionGaps
	outages    int       // DPS questions asked because the hub gave no useful answer, since the last stable connection
	clockAt    time.Time // when DPS last told the time, in this run of failures; zero: not asked
	clockTries int       // clock questions without an answer in a row
}

// rules is what does not change while a Device runs.
type rules struct {
	hub             retry.Policy
	dps             retry.Policy
	stagger         time.Duration
	lookupElsewhere bool // a lookup takes another port than a registration does
	token           bool // the device authenticates with tokens, so a wrong clock looks like a wrong key
}

type hubTimer struct {
	armed bool
	busy  bool
	at    time.Time
	slot  slot   // the assignment tried last, or being tried
	host  string // its hub
	turns int    // attempts while there were two assignments to choose from
	n     int    // failures in a row since the last stable connection
	class hubconn.Class

	holds      [4]hubHold // the hubs that failed last, and before when they are left alone
	oldRefused bool       // the confirmed hub rejected the device since it last accepted it
}

// hubHold keeps a device from a hub for the time that its last failure calls for, whichever way the device comes by that hub again.
type hubHold struct {
	host  string
	until time.Time
}

// held is the time before which host is left alone, zero if it is not.
func (h *hubTimer) held(host string) time.Time {
	for i := range h.holds {
		if sameHub(h.holds[i].host, host) {
			return h.holds[i].until
		}
	}
	return time.Time{}
}

// hold leaves host alone until a time; zero lifts it. The hold that ends first makes room.
func (h *hubTimer) hold(host string, until time.Time) {
	oldest := 0
	for i := range h.holds {
		if sameHub(h.holds[i].host, host) {
			oldest = i
			break
		}
		if h.holds[i].until.Before(h.holds[oldest].until) {
			oldest = i
		}
	}
	h.holds[oldest] = hubHold{host: host, until: until}
}

type dpsTimer struct {
	armed bool
	busy  bool
	at    time.Time
	n     int       // failures in a row
	hold  time.Time // not before: DPS's own Retry-After
	quiet time.Time // not before, even for the program: a request has just failed

	request   request
	operation string // operation ID to poll instead of registering anew
	reason    reason
	clock     clockFor // ask DPS for the time first, on whose behalf
	corrected bool     // the clock was corrected for this request already
	refused   bool     // the request was refused, and the clock may be why
	manual    bool     // somebody waits for the result
	unknown   bool     // a lookup found no registration: only registering helps
}

// A slot names one of the two assignments a device may hold.
type slot uint8

const (
	slotConfirmed slot = iota
	slotCandidate
)

// known is an assignment and where it came from. It is never changed after it was made.
type known struct {
	dps.Assignment
	source Source
}

func (k *known) matches(a *dps.Assignment) bool {
	return k != nil && sameHub(k.Hub, a.Hub) && k.DeviceID == a.DeviceID
}

type request uint8

const (
	requestRegister request = iota
	requestLookup
)

// A reason says why DPS is asked. It decides what follows from the answer, and is what a support case asks first.
type reason uint8

const (
	reasonNone         reason = iota
	reasonBoot                // nothing was remembered
	reasonStore               // nothing that is remembered can be read, or nothing ever is
	reasonRejected            // the hub turned the device away
	reasonOutage              // the hub gave no useful answer for a long time
	reasonManual              // the program asked
	reasonUnregistered        // a lookup found no registration
)

var reasonNames = [...]string{"", "nothing remembered", "no usable store", "rejected by the hub", "no answer from the hub", "asked by the program", "a lookup found no registration"}

func (r reason) String() string { return reasonNames[r] }

type clockFor uint8

const (
	clockForNone clockFor = iota
	clockForHub           // the hub rejected the device, or its certificate looked out of date
	clockForDPS           // DPS did
)

// wake says when the next timer is due. A device that is not connected and has nothing under way always has one.
func (s *state) wake() (at time.Time, ok bool) {
	if s.hub.armed {
		at, ok = s.hub.at, true
	}
	if s.dps.armed && (!ok || s.dps.at.Before(at)) {
		at, ok = s.dps.at, true
	}
	return at, ok
}

// target is the assignment to use next: what DPS said last, else what was confirmed.
func (s *state) target() *known {
	if s.candidate != nil {
		return s.candidate
	}
	return s.confirmed
}

// inUse is the assignment of the connection, if there is one, else the one to use next.
func (s *state) inUse() *known {
	if s.connected || s.hub.busy {
		if k := s.inSlot(s.hub.slot); k != nil {
			return k
		}
	}
	return s.target()
}

func (s *state) inSlot(slot slot) *known {
	if slot == slotCandidate {
		return s.candidate
	}
	return s.confirmed
}
