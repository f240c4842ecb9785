package rules

import (
	"strings"
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// State is what the decision depends on. It is a value: no function of this package changes the one
// that it is given. The zero value with its Settings is a device before [Boot].
type State struct {
	Settings Settings

	Confirmed Assignment // the assignment that last led to a connection
	Candidate Assignment // what DPS said since; confirmed once it has led to a connection
	Connected bool

	Hub HubTimer
	DPS DPSTimer

	// Rejections counts DPS's responses to rejections since the last stable connection: the index
	// into RejectionGaps.
	Rejections int

	// Outages counts the questions to DPS about a silent hub since the last stable connection.
	Outages int

	ClockAt    time.Time // when DPS last told the time, in this run of failures; zero: not asked
	ClockTries int       // clock questions without a response in a row
}

// Assignment is where a device belongs, as far as the decision goes. The zero value is none.
type Assignment struct {
	Hub      string
	DeviceID string

	// Record is the caller's own and never looked at here.
	Record any
}

// Known says that there is one.
func (a Assignment) Known() bool { return a.Hub != "" }

// SameAs compares hub and device ID, host names as DNS does.
func (a Assignment) SameAs(b Assignment) bool {
	return a.Known() && SameHost(a.Hub, b.Hub) && a.DeviceID == b.DeviceID
}

// SameHost compares host names as DNS does.
func SameHost(a, b string) bool { return strings.EqualFold(a, b) }

// Phase is what a timer is in: exactly one of these.
type Phase uint8

// The phases of a timer.
const (
	Idle     Phase = iota // nothing is planned
	Waiting               // a request is planned at At
	UnderWay              // a request is under way
)

// HubTimer is H: when to try the hub next.
type HubTimer struct {
	Phase Phase
	At    time.Time // while Waiting

	Next Slot // whose turn it is while Waiting
	// the attempt under way, or the last one; of a live connection, the one that led to it
	Tried Attempt

	Turns    int         // attempts while there were two assignments to choose from
	Failures int         // in a row, since the last stable connection
	Class    retry.Class // of the last failure

	waits    [4]hubWait // of the hubs that failed last
	rejected bool       // the confirmed hub rejected the device since it last accepted it
}

// Attempt names the hub that was tried, and the assignment on whose behalf.
type Attempt struct {
	Slot Slot
	Host string
}

// hubWait keeps a device from a hub for the time that its last failure calls for, whichever way the
// device comes by that hub again.
type hubWait struct {
	host      string
	notBefore time.Time
}

// NotBefore is the time before which host is left alone, zero if it is not.
func (h *HubTimer) NotBefore(host string) time.Time {
	for i := range h.waits {
		if SameHost(h.waits[i].host, host) {
			return h.waits[i].notBefore
		}
	}
	return time.Time{}
}

// leaveAlone keeps host from being tried before a time; zero lifts it. The wait that ends first
// makes room.
func (h *HubTimer) leaveAlone(host string, until time.Time) {
	oldest := 0
	for i := range h.waits {
		if SameHost(h.waits[i].host, host) {
			oldest = i
			break
		}
		if h.waits[i].notBefore.Before(h.waits[oldest].notBefore) {
			oldest = i
		}
	}
	h.waits[oldest] = hubWait{host: host, notBefore: until}
}

// DPSTimer is D: when to ask DPS next, what, and why.
type DPSTimer struct {
	Phase    Phase
	At       time.Time // while Waiting
	Failures int       // in a row

	NotBefore       time.Time // DPS's own Retry-After
	ManualNotBefore time.Time // for the program's requests: one has just failed

	Request   Request
	Operation string // operation ID to poll instead of registering anew
	Reason    Reason
	Clock     ClockPurpose // ask DPS for the time first, and why

	Manual    bool // somebody waits for the result
	corrected bool // the clock was corrected for this request already
	refused   bool // the request was refused, and the clock may be why
	notFound  bool // a lookup found no registration: only registering helps
}

// Pending says that a request to DPS is planned or under way.
func (d *DPSTimer) Pending() bool { return d.Phase != Idle }

// Slot names one of the two assignments that a device may hold.
type Slot uint8

// The two assignments.
const (
	Confirmed Slot = iota
	Candidate
)

// Request is what DPS is asked for.
type Request uint8

// The requests that concern the assignment.
const (
	Registration Request = iota
	StatusLookup
)

// Reason says why DPS is asked. It decides what follows from the response, and is what a support
// case asks first.
type Reason uint8

// The reasons to ask DPS.
const (
	ReasonNone         Reason = iota
	ReasonBoot                // nothing was remembered
	ReasonStore               // nothing that is remembered can be read, or nothing ever is
	ReasonRejected            // the hub turned the device away
	ReasonOutage              // the hub gave no useful answer for a long time
	ReasonManual              // the program asked
	ReasonUnregistered        // a lookup found no registration
)

var reasonNames = [...]string{
	"", "nothing remembered", "no usable store", "rejected by the hub", "no answer from the hub",
	"asked by the program", "a lookup found no registration",
}

// String is the reason in a few words, "" for none.
func (r Reason) String() string { return reasonNames[r] }

// ClockPurpose says whose refusal a clock check is to explain.
type ClockPurpose uint8

// The purposes of a clock check.
const (
	ClockForNone ClockPurpose = iota
	ClockForHub               // the hub rejected the device, or its certificate looked out of date
	ClockForDPS               // DPS did
)

// Wake says when the next timer is due. A device that is not connected and has nothing under way
// always has one.
func (s *State) Wake() (at time.Time, ok bool) {
	if s.Hub.Phase == Waiting {
		at, ok = s.Hub.At, true
	}
	if s.DPS.Phase == Waiting && (!ok || s.DPS.At.Before(at)) {
		at, ok = s.DPS.At, true
	}
	return at, ok
}

// Target is the assignment to use next: what DPS said last, else what was confirmed.
func (s *State) Target() Assignment {
	if s.Candidate.Known() {
		return s.Candidate
	}
	return s.Confirmed
}

// InUse is the assignment of the connection, or of the attempt under way, else the one to use next.
func (s *State) InUse() Assignment {
	if s.Connected || s.Hub.Phase == UnderWay {
		if a := s.inSlot(s.Hub.Tried.Slot); a.Known() {
			return a
		}
	}
	return s.Target()
}

func (s *State) inSlot(slot Slot) Assignment {
	if slot == Candidate {
		return s.Candidate
	}
	return s.Confirmed
}
