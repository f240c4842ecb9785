// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// Trace is a set of hooks into a Device, for metrics and diagnosis; any may be nil. They are called
// one at a time, from the goroutine that runs the device: they must return soon and must not call
// Run, Connect, Reprovision, Assignment or Forget. What each is given names the device by its
// registration ID, so that many Devices may share one Trace; its hooks are then called from several
// goroutines at once.
type Trace struct {
	// Changed is called after every change of state.
	Changed func(Status)

	// Request is called before a request to DPS.
	Request func(DPSRequest)

	// Response is called when a request that Request was told of has ended, once for each. A
	// Module asks its device, which has a Trace of its own.
	Response func(DPSResponse)

	// Attempt is called when an attempt at a hub has ended: to connect, or one request of Send or
	// Receive. Those of an MQTT client of the program's own are known to the program.
	Attempt func(HubAttempt)

	// Assigned is called for every assignment by DPS. moved says that it differs from the one in
	// use. A session that goes on after a registration on the same hub learns here, from the
	// Substatus, that the device's data was reset. a.RegistrationID is the device's.
	Assigned func(a dps.Assignment, moved bool)

	// StoreFailed is called when an entry could not be read, used or written. The device goes on
	// without.
	StoreFailed func(StoreFailure)
}

// StoreFailure says whose store failed, and how.
type StoreFailure struct {
	_ [0]func() // never compared, which saves code in a device's program

	// RegistrationID is the device's; ModuleID the module's, empty if it is the device itself.
	RegistrationID, ModuleID string

	// Err is the failure.
	Err error
}

// DPSRequest says what DPS is asked, and why.
type DPSRequest struct {
	_ [0]func() // never compared, which saves code in a device's program

	// RegistrationID is the device's.
	RegistrationID string

	// Endpoint is the host name of DPS.
	Endpoint string

	// Kind is "register", "poll" (a registration that goes on), "lookup" or "time".
	Kind string

	// Reason is why, in a few words, such as "rejected by the hub".
	Reason string

	// Err is the failure that led here, if one did.
	Err error

	// Verdict is what that failure called for.
	Verdict retry.Verdict
}

// DPSResponse says how a request to DPS has ended.
type DPSResponse struct {
	_ [0]func() // never compared, which saves code in a device's program

	// Request is what was asked.
	Request DPSRequest

	// Began is when: what there was to wait for since is in it, such as a Limiter, the polls of a
	// registration, and a second transport or credential where the first did not do.
	Began time.Time

	// Err is why there is no response to use, nil if there is one: a *[dps.Error], or
	// [context.Canceled] of a request that was given up, which says nothing of DPS.
	Err error
}

// HubAttempt says how an attempt at a hub has ended.
type HubAttempt struct {
	_ [0]func() // never compared, which saves code in a device's program

	// RegistrationID is the device's; ModuleID the module's, empty if it is the device itself.
	RegistrationID, ModuleID string

	// State is what was attempted: StateConnecting, StateSending or StateReceiving.
	State State

	// Hub is where.
	Hub hubconn.Hub

	// Began is when.
	Began time.Time

	// Conn is the connection, nil if there is none. Its Stats and its Context may be looked at
	// until long after its end; all else is the session's.
	Conn *hubconn.Conn

	// Err is why the hub did not serve the device, nil if it did; [context.Canceled] of an attempt
	// that was given up, which says nothing of the hub. Its class is [hubconn.ClassOf].
	Err error
}
