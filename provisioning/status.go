package provisioning

import (
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// Source is where an assignment came from.
type Source string

const (
	SourceStore        Source = "store"        // remembered from an earlier run
	SourceLookup       Source = "lookup"       // a device registration status lookup
	SourceRegistration Source = "registration" // a registration
)

// State is what a device is doing.
type State string

const (
	StateStopped       State = "stopped"        // neither Run nor Connect is under way
	StateConnecting    State = "connecting"     // to the hub
	StateConnected     State = "connected"      //
	StateRegistering   State = "registering"    // with DPS
	StateLookingUp     State = "looking-up"     // asking DPS where the device belongs
	StateCheckingClock State = "checking-clock" // asking DPS for the time
	StateWaiting       State = "waiting"        // for NextHub or NextDPS, whichever comes first
)

// Status tells a program or a person why a device is where it is. It is a copy: reading it costs nothing and changes nothing.
type Status struct {
	State State

	// Hub is the assignment in use or to be tried next, and Source where it came from. Both are empty before the first answer.
	Hub    hubconn.Hub
	Source Source

	// Confirmed says that Hub has accepted the device; an assignment that has not is kept beside the one before it.
	Confirmed bool

	// Cause is why the device is in this state, in one line: the last failure, or why DPS is asked. Empty when all is well.
	Cause string

	// Err is the last failure since the last connection, nil if there was none. Class is its class if the hub was its cause.
	Err   error
	Class hubconn.Class

	// NextHub and NextDPS are when the hub is tried and DPS asked next; zero if neither is planned.
	NextHub, NextDPS time.Time

	// HubAttempts and DPSAttempts count failures in a row: of the hub since the last stable connection, of DPS since its last answer.
	HubAttempts, DPSAttempts int

	// RetryAfter is until when DPS, or the hub, asked to be left alone; zero or past if nobody did.
	RetryAfter time.Time

	// ClockOffset is how far the time in use is ahead of the system's clock. ClockSuspect says that the system's clock stands before a time
	// that has certainly passed, and that nobody has told the right one yet.
	ClockOffset  time.Duration
	ClockSuspect bool

	// Since the Device was first used: requests to DPS by kind, connections to hubs, and entries that could not be read, used or stored.
	Registrations, Lookups, ClockChecks, Connections, StoreFailures int
}
