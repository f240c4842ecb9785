package provisioning

import (
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// Source is where an assignment came from.
type Source string

// The sources of an assignment.
const (
	// SourceStore is what was remembered from an earlier run.
	SourceStore Source = "store"
	// SourceLookup is a device registration status lookup.
	SourceLookup Source = "lookup"
	// SourceRegistration is a registration.
	SourceRegistration Source = "registration"
)

// State is what a device is doing.
type State string

// The states of a device.
const (
	// StateStopped: no call that drives the device is under way.
	StateStopped State = "stopped"
	// StateConnecting: to the hub.
	StateConnecting State = "connecting"
	// StateConnected: there is a live connection to the hub.
	StateConnected State = "connected"
	// StateRegistering: with DPS.
	StateRegistering State = "registering"
	// StateLookingUp: DPS is asked where the device belongs.
	StateLookingUp State = "looking-up"
	// StateCheckingClock: DPS is asked for the time.
	StateCheckingClock State = "checking-clock"
	// StateWaiting: for NextHub or NextDPS, whichever comes first.
	StateWaiting State = "waiting"
)

// Status tells a program or a person why a device is where it is. It is a copy: reading it costs
// nothing and changes nothing.
type Status struct {
	// State is what the device is doing.
	State State

	// Hub is the assignment in use or to be tried next. Zero before DPS has first answered.
	Hub hubconn.Hub

	// Source is where Hub came from. Empty before DPS has first answered.
	Source Source

	// Confirmed says that Hub has accepted the device; an assignment that has not is kept beside
	// the one before it.
	Confirmed bool

	// HubTransport is what the connection to the hub runs over, or what is known to reach the hub;
	// DPSTransport is that of registrations. Where the fields of the Device name one, it is that;
	// before the device was first driven, zero.
	HubTransport hubconn.Transport
	DPSTransport dps.Transport

	// Cause is why the device is in this state, in one line: the last failure, or why DPS is asked.
	// Empty when all is well and the program asks for no registration. A hub that DPS has named and
	// that speaks another protocol is told here even while an older one serves the device.
	Cause string

	// Err is the last failure since the last connection, nil if there was none.
	Err error

	// Class is the class of Err if the hub was its cause.
	Class hubconn.Class

	// NextHub is when the hub is tried next, zero if that is not planned.
	NextHub time.Time

	// NextDPS is when DPS is asked next, zero if that is not planned.
	NextDPS time.Time

	// HubAttempts counts failures of the hub in a row, since the last stable connection.
	HubAttempts int

	// DPSAttempts counts failures of DPS in a row, since its last answer.
	DPSAttempts int

	// RetryAfter is until when DPS, or the hub, asked to be left alone; zero or past if nobody did.
	RetryAfter time.Time

	// ClockOffset is how far the time in use is ahead of the system's clock, to the second. Zero
	// when the system's clock is followed.
	ClockOffset time.Duration

	// ClockSuspect says that the system's clock stands before a time that has certainly passed, and
	// that nobody has told the right one yet.
	ClockSuspect bool

	// Registrations counts requests to register and to poll since the Device was first used.
	Registrations int

	// Lookups counts status lookups since the Device was first used.
	Lookups int

	// ClockChecks counts questions for the time since the Device was first used. One that needs a
	// second answer is one question.
	ClockChecks int

	// Connections counts connections to hubs since the Device was first used.
	Connections int

	// StoreFailures counts entries that could not be read, used or stored since the Device was
	// first used.
	StoreFailures int
}
