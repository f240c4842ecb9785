// SPDX-License-Identifier: Apache-2.0

package rules

import "time"

// An Action is something for the caller to do: one of the types of this file. Each carries what it
// takes to do it. What comes of a request is reported as an event, except for one that was
// cancelled.
type Action interface{ action() }

// Connect tries a hub: [Connected] or [HubFailure].
type Connect struct{ Target Assignment }

// CancelConnect gives up the attempt at the hub.
type CancelConnect struct{}

// Register registers through DPS, or polls the Operation if there is one: [Progress] any number of
// times, then [Assigned] or [DPSFailed].
type Register struct {
	Operation string
	Reason    Reason
}

// Lookup asks DPS where the device belongs: [Assigned], [NotRegistered] or [DPSFailed].
type Lookup struct{ Reason Reason }

// CheckClock asks DPS for the time: [ClockAnswered].
type CheckClock struct{ Reason Reason }

// CancelDPS gives up the request to DPS.
type CancelDPS struct{}

// Announce tells observers what DPS said. Moved says that it differs from the assignment in use.
type Announce struct {
	Assignment Assignment
	Moved      bool
}

// Remember stores the assignments, either of which may be none.
type Remember struct{ Confirmed, Candidate Assignment }

// EndSession closes the live connection, because the device belongs elsewhere.
type EndSession struct{}

// RenewCertificate asks the hub of the live connection for a new certificate: [Renewed] or
// [RenewalFailed].
type RenewCertificate struct{}

// CancelRenewal gives up the question for a certificate: its connection has ended, or DPS has
// issued one.
type CancelRenewal struct{}

// GiveUp ends the device with the hub's rejection, because the program wants that.
type GiveUp struct{}

// ReplyAssigned answers those who asked for a registration.
type ReplyAssigned struct{ Assignment Assignment }

// ReplyFailed tells those who asked for a registration that it has failed, with DPS's last failure.
type ReplyFailed struct{}

// ReplyTooSoon tells those who asked for a registration that none is sent before a time.
type ReplyTooSoon struct{ NotBefore time.Time }

// ReplyRenewed answers those who asked for a renewal.
type ReplyRenewed struct{}

// ReplyRenewalFailed tells those who asked for a renewal that it has failed, with the last failure;
// or, if there is a NotBefore, that nobody is asked before that.
type ReplyRenewalFailed struct{ NotBefore time.Time }

func (Connect) action()       {}
func (CancelConnect) action() {}
func (Register) action()      {}
func (Lookup) action()        {}
func (CheckClock) action()    {}
func (CancelDPS) action()     {}
func (Announce) action()      {}
func (Remember) action()      {}
func (EndSession) action()    {}
func (GiveUp) action()        {}
func (ReplyAssigned) action() {}
func (ReplyFailed) action()   {}
func (ReplyTooSoon) action()  {}

func (RenewCertificate) action()   {}
func (CancelRenewal) action()      {}
func (ReplyRenewed) action()       {}
func (ReplyRenewalFailed) action() {}
