// SPDX-License-Identifier: Apache-2.0

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
	// StateConnecting: to the hub. A client of the program's own is, from when NextAttempt has
	// returned a hub until it is told what became of that.
	StateConnecting State = "connecting"
	// StateConnected: there is a live connection to the hub, or one of the program's own client
	// that was confirmed.
	StateConnected State = "connected"
	// StateSending and StateReceiving: one HTTPS request of Send or Receive is under way, which is
	// no connection. Such a call is never connecting or connected; apart from these two, it is in
	// the states below, and stopped when it has returned.
	StateSending   State = "sending"
	StateReceiving State = "receiving"
	// StateRegistering: with DPS.
	StateRegistering State = "registering"
	// StateLookingUp: DPS is asked where the device belongs.
	StateLookingUp State = "looking-up"
	// StateCheckingClock: DPS is asked for the time.
	StateCheckingClock State = "checking-clock"
	// StateQueued: for the device's turn at its hub or at DPS, which the Budget gives it: others go
	// first, or one of them was told to wait.
	StateQueued State = "queued"
	// StateWaiting: for NextHub or NextDPS, whichever comes first.
	StateWaiting State = "waiting"
)

// Status tells a program or a person why a device is where it is. It is a copy: reading it costs
// nothing and changes nothing.
type Status struct {
	_ [0]func() // nobody compares it, and the code for it is 1 KB of a device's program

	// RegistrationID is the device's, as its attestation has it; ModuleID that of a module, empty
	// if this is of the device itself. Zero before the first call.
	RegistrationID, ModuleID string

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

	// Credential is what the hub has accepted the device with, at the live connection or the last
	// one; empty if there was none. CredentialCause is why not with one that comes before it, in
	// one line; empty if nothing was refused.
	Credential      CredentialKind
	CredentialCause string

	// Certificate is about the certificate that was issued to the device, if Issuance is set.
	Certificate CertificateStatus

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

	// DownSince is since when there has been no connection that works: since the last stable one
	// ended, or since the device was first driven without one; that of an earlier process where its
	// waits are remembered. Zero while the device is stably connected, and when nothing has missed
	// a connection yet. It is by the system's clock of then: a board that boots in 1970 may show
	// that. [time.Since] is right all the same, but for the time that the board was suspended.
	DownSince time.Time

	// DownAttempts counts the attempts at the hub and at DPS that have failed since DownSince.
	DownAttempts int

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

	// Renewals counts requests for a certificate over a hub since the Device was first used.
	Renewals int

	// Connections counts connections to hubs since the Device was first used.
	Connections int

	// Disconnections counts those of them that ended without the program or the library having
	// closed them. Connections less one is how often the device has reconnected; what a connection
	// has sent and renewed is in [hubconn.Conn.Stats].
	Disconnections int

	// StoreFailures counts entries that could not be read, used or stored since the Device was
	// first used.
	StoreFailures int
}

// CertificateStatus is about the newest certificate that was issued to a device. Zero: there is
// none.
type CertificateStatus struct {
	// ValidFrom and ValidUntil are its own.
	ValidFrom, ValidUntil time.Time

	// Accepted says that a hub has accepted it.
	Accepted bool

	// NextRenewal is when the next one is asked for, zero if that is not planned.
	NextRenewal time.Time

	// Err is why there is no certificate, or none newer, since one was last issued; nil if nothing
	// failed.
	Err error
}
