// SPDX-License-Identifier: Apache-2.0

package service

import "time"

// Kind is what is asked.
type Kind uint8

// The kinds of requests: one for a hub, all others for DPS.
const (
	Connect  Kind = iota // CONNECT to a hub
	Register             // the PUT that begins a registration
	Poll                 // of a registration that is under way
	Lookup               // a status lookup
	Time                 // an unauthenticated request, for the Date of its answer
	Kinds
)

var kindNames = [Kinds]string{"connect", "register", "poll", "lookup", "time"}

// String is the kind in one word.
func (k Kind) String() string { return kindNames[k] }

// Hub is the index of a hub in [World].Hubs.
type Hub uint8

// Request is one request of one device.
type Request struct {
	At         time.Duration // since the beginning of the simulation
	Device     uint32
	Kind       Kind
	Hub        Hub  // of Connect
	WrongClock bool // what authenticates the device was made by a clock that is wrong
	Untrusting bool // and by that, the device does not take the service's certificate
}

// Outcome is what became of a request.
type Outcome uint8

// The outcomes.
const (
	Accepted         Outcome = iota // of Connect: CONNACK 0
	Assigning                       // of Register and Poll: 202
	Assigned                        // of Register, Poll and Lookup: 200, with the hub
	TimeTold                        // of Time: any response with a Date
	Throttled                       // 429
	Unavailable                     // 503; of Connect: CONNACK 3, or 5 after a long time
	NoAnswer                        // refused, or nobody there
	Rejected                        // of Connect: CONNACK 5 at once; of DPS: 401 with its Date
	NotFound                        // of Lookup: no registration
	OperationUnknown                // of Poll
	NameGone                        // of Connect: the hub's name does not exist, that of DPS does
	Untrusted                       // nothing was asked: the device did not take the certificate
	Outcomes
)

var outcomeNames = [Outcomes]string{
	"accepted", "assigning", "assigned", "time told", "throttled", "unavailable", "no answer",
	"rejected", "not found", "operation unknown", "name gone", "untrusted",
}

// String is the outcome in a few words.
func (o Outcome) String() string { return outcomeNames[o] }

// Good says that the request was not in vain.
func (o Outcome) Good() bool {
	switch o {
	case Accepted, Assigning, Assigned, TimeTold:
		return true
	}
	return false
}

// Answer is what a service says.
type Answer struct {
	Outcome    Outcome
	Hub        Hub           // of Assigned
	RetryAfter time.Duration // what the service asks for; 0: nothing
	Takes      time.Duration // beyond the time on the way
}

// Interval is a stretch of time, without its end.
type Interval struct{ From, To time.Duration }

// Contains says that a moment is within.
func (i Interval) Contains(at time.Duration) bool { return at >= i.From && at < i.To }
