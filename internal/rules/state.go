// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strings"
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// State is what the decision depends on. It is a value: no function of this package changes the one
// that it is given. The zero value with its Settings is a device before [Boot].
type State struct {
	_ [0]func() // nobody compares states, and the code for it is 3 KB of a device's program

	Settings Settings

	Confirmed Assignment // the assignment that last led to a connection
	Candidate Assignment // what DPS said since; confirmed once it has led to a connection
	Connected bool

	Hub  HubTimer
	Hubs [HubsKept]HubRecord // what is kept for each hub, in no order
	DPS  DPSTimer

	Renewal RenewalTimer

	Outage Outage

	// Urgent says that the rejection by a hub that had accepted the device since DPS's last
	// response has gone to DPS at once, since the last stable connection: the next one waits.
	Urgent bool

	// Refusals counts DPS's refusals in a row: the index into RefusalGaps.
	Refusals int

	Clock Clock
}

// Assignment is where a device belongs, as far as the decision goes. The zero value is none.
type Assignment struct {
	_ [0]func() // as in State: SameAs compares

	Hub      string
	DeviceID string

	// Incompatible says that the hub speaks another protocol than this device, as DPS tells. It is
	// never tried.
	Incompatible bool

	// Stagger is what DPS has said with it to take for Settings.Stagger where that is 0.
	Stagger time.Duration

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

// HubTimer is H: when to try a hub next.
type HubTimer struct {
	Phase Phase
	At    time.Time // while Waiting
	Next  Slot      // whose turn it is while Waiting

	// the attempt under way, or the last one; of a live connection, the one that led to it
	Tried Attempt
}

// Attempt is the slot that was tried, and the assignment that was in it.
type Attempt struct {
	Slot   Slot
	Target Assignment
}

// DPSTimer is D: when to ask DPS next, what, and why.
type DPSTimer struct {
	_ [0]func() // as in HubRecord

	Phase    Phase
	At       time.Time // while Waiting
	Failures int       // in a row
	Silent   bool      // nobody answered the last request

	NotBefore       time.Time // DPS's own Retry-After
	ManualNotBefore time.Time // for the program's requests: one has just failed
	// since when a request that has no operation yet is throttled; zero: none is
	ThrottledSince time.Time
	// DPS has refused the device: nothing but the time is asked before, unless the program wants
	RefusedUntil time.Time

	Request   Request
	Operation string // operation ID to poll instead of registering anew
	Reason    Reason
	Clock     ClockPurpose // ask DPS for the time first, and why
	Rejecting Assignment   // on whose rejection the clock is asked for

	Manual    bool // somebody waits for the result
	corrected bool // the clock was corrected for this request already
	refused   bool // the request was refused, and the clock may be why
	notFound  bool // a lookup found no registration: only registering helps

	// BehindHub is when an earlier process had planned the question for, if that waits for the hub
	// to go first: the hub's failure brings it forward, to then at the earliest. Zero: it does not.
	BehindHub time.Time
}

// Pending says that a request to DPS is planned or under way.
func (d *DPSTimer) Pending() bool { return d.Phase != Idle }

// floor is before when nothing is asked, however the network has changed: what DPS asked for, and
// the least distance of two questions.
func (d *DPSTimer) floor() time.Time { return later(d.NotBefore, d.ManualNotBefore) }

// Outage is the time since the last stable connection, as far as a hub gave no useful response.
type Outage struct {
	Since time.Time // zero: there is none
	Asked int       // questions to DPS about it
	AskAt time.Time // when the next one was planned for, whatever came first; zero: it was not
}

// Clock is what is known of the device's clock, in this run of failures.
type Clock struct {
	ToldAt      time.Time // when DPS last told the time; zero: it has not been asked
	Tries       int       // questions without a response in a row
	SilentSince time.Time // the first of these
	GivenUp     bool      // the device goes on without: DPS has not told the time at ToldAt
}

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

// The reasons to ask DPS. Their numbers are stored: new ones go to the end.
const (
	ReasonNone         Reason = iota
	ReasonBoot                // nothing was remembered
	ReasonStore               // nothing that is remembered can be read, or nothing ever is
	ReasonRejected            // the hub turned the device away
	ReasonOutage              // the hub gave no useful answer for a long time
	ReasonManual              // the program asked
	ReasonUnregistered        // a lookup found no registration
	ReasonIncompatible        // the hub speaks another protocol
	ReasonRenewal             // the issued certificate is due, and the hub has not renewed it
	ReasonExpired             // the issued certificate is not valid any more
	ReasonCredential          // the program's credential has changed
	reasons
)

var reasonNames = [reasons]string{
	"", "nothing remembered", "no usable store", "rejected by the hub", "no answer from the hub",
	"asked by the program", "a lookup found no registration", "the hub speaks another protocol",
	"certificate due for renewal", "certificate expired", "credential changed",
}

// String is the reason in a few words, "" for none.
func (r Reason) String() string { return reasonNames[r] }

// isForWant says that DPS is asked for want of a usable entry.
func (r Reason) isForWant() bool {
	return r == ReasonBoot || r == ReasonStore || r == ReasonUnregistered
}

// ClockPurpose says whose refusal a clock check is to explain.
type ClockPurpose uint8

// The purposes of a clock check.
const (
	ClockForNone   ClockPurpose = iota
	ClockForHub                 // the hub rejected the device, or its certificate's dates are off
	ClockForDPS                 // DPS did
	ClockForExpiry              // nobody yet: a certificate looks expired
)

// Wake says when the next timer is due. A device that is not connected and has nothing under way
// always has one.
func (s *State) Wake() (at time.Time, ok bool) {
	if s.Hub.Phase == Waiting {
		at, ok = s.Hub.At, true
	}
	if dps, planned := s.WakeDPS(); planned && (!ok || dps.Before(at)) {
		at, ok = dps, true
	}
	if r := &s.Renewal; r.Phase == Waiting && (!ok || r.At.Before(at)) {
		at, ok = r.At, true
	}
	return at, ok
}

// WakeDPS is Wake of D alone, for a caller who asks DPS and tries no hub.
func (s *State) WakeDPS() (at time.Time, ok bool) {
	at, ok = s.DPS.At, s.DPS.Phase == Waiting && !s.held()
	if r := &s.Renewal; r.Phase == Waiting && r.ByDPS && (!ok || r.At.Before(at)) {
		at, ok = r.At, true
	}
	return at, ok
}

// held says that a question planned for DPS waits for the end of the connection: the hub has
// accepted the device, so that nothing is to be asked until it is lost again, but for what brings
// it a certificate.
func (s *State) held() bool {
	return s.Connected && !s.DPS.Manual && !s.DPS.Reason.evenConnected()
}

// Target is the assignment to use next: what DPS said last, else what was confirmed.
func (s *State) Target() Assignment {
	if s.Candidate.Known() {
		return s.Candidate
	}
	return s.Confirmed
}

// Stagger is the window over which the device spreads its first request to DPS after an event.
func (s *State) Stagger() time.Duration {
	if s.Settings.Stagger > 0 {
		return s.Settings.Stagger
	}
	return s.Target().Stagger
}

// InUse is the assignment of the connection, or of the attempt under way, else the one to use next.
func (s *State) InUse() Assignment {
	if s.Connected || s.Hub.Phase == UnderWay {
		return s.Hub.Tried.Target
	}
	return s.Target()
}

func (s *State) inSlot(slot Slot) Assignment {
	if slot == Candidate {
		return s.Candidate
	}
	return s.Confirmed
}

// Failures counts the failures in a row of the hub to use next, or in use.
func (s *State) Failures() int { return s.Kept(s.InUse()).Failures }

// Class is that of the last failure of the hub to use next, or in use.
func (s *State) Class() retry.Class { return s.Kept(s.InUse()).Class }
