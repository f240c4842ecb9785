// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
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
	// RegistrationID is the device's; ModuleID the module's, empty if it is the device itself.
	RegistrationID, ModuleID string

	// Err is the failure.
	Err error
}

// DPSRequest says what DPS is asked, and why.
type DPSRequest struct {
	// RegistrationID is the device's.
	RegistrationID string

	// Kind is "register", "poll" (a registration that goes on), "lookup" or "time".
	Kind string

	// Reason is why, in a few words, such as "rejected by the hub".
	Reason string

	// Err is the failure that led here, if one did.
	Err error

	// Verdict is what that failure called for.
	Verdict retry.Verdict
}
