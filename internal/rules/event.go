// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// An Event is something that has happened to the device: one of the types of this file.
type Event interface{ apply(t *transition) }

// Boot is what the store said at the start. Next is what that calls for: [retry.Wait] is a
// connection to the hub that is remembered, [retry.Lookup] a status lookup, [retry.Register] a
// registration.
type Boot struct {
	Next                 retry.Verdict
	Confirmed, Candidate Assignment

	// Waits is what is left of what an earlier process was told to keep.
	Waits Waits

	// WaitsUnknown says that an earlier process was told to wait, and that nobody can say how much
	// of it is left.
	WaitsUnknown bool
}

// Connected is the success of the attempt at the hub.
type Connected struct{}

// StableAfter is for how long a connection has to last until it is stable. The caller looks.
const StableAfter = 30 * time.Second

// Stable says that the connection has lasted, and that the hub has acknowledged something.
type Stable struct{}

// HubFailure is the failure of an attempt at the hub.
type HubFailure struct {
	Class      retry.Class
	RetryAfter time.Duration // what the hub asked for, 0: nothing
	// NameNotFound says that the hub's name does not exist, while that of DPS does.
	NameNotFound bool
	Dates        bool // only the dates of the server's certificate were wrong
}

// Attempted says that the program has tried an assignment with a client of its own. What became of
// that is the next event, which is applied and not stepped: [Connected] or [HubFailure]. One that
// the device does not hold any more changes nothing.
type Attempted struct{ Assignment Assignment }

// Lost is the end of a connection that the program did not want.
type Lost struct {
	HubFailure
	Stable bool // the connection lasted and carried something
}

// Closed is the end of a connection by the program itself.
type Closed struct {
	// Stable says that the hub has acknowledged something: what the program ends itself need not
	// have lasted.
	Stable bool
}

// Assigned is what DPS said where the device belongs.
type Assigned struct {
	Assignment Assignment
	Stable     bool // there is a connection, and it lasted and carried something
	Dated      bool // the response told the time
	Issued     bool // it brought a certificate, which is stored: [Installed] follows
}

// NotRegistered is the answer of a status lookup that found no assignment.
type NotRegistered struct{}

// Progress says that DPS has taken up the registration under way, and when it wants to be polled.
type Progress struct {
	Operation  string
	RetryAfter time.Duration
}

// DPSFailed is the failure of a request to DPS.
type DPSFailed struct {
	Failure    DPSFailure
	RetryAfter time.Duration // what DPS asked for, 0: nothing
	Operation  string        // the operation to go on polling
	Silent     bool          // nobody answered
	Dates      bool          // only the dates of the server's certificate were wrong
	Dated      bool          // the response told the time
}

// ClockAnswered is what came of a clock check. Any answer tells the time, but after some DPS is to
// be left alone for a while like after any other.
type ClockAnswered struct {
	Clock       ClockVerdict
	Throttled   bool          // it was a 429
	Unavailable bool          // it was a 5xx
	RetryAfter  time.Duration // what DPS asked for then, 0: nothing
}

// Reprovision is the program's wish to register now.
type Reprovision struct{}

// Installed says what certificate the service has issued that is in force: after [Boot], which is
// applied and not stepped then; after one was issued; and whenever the clock was corrected, before
// the event of the answer that has told the time. Times are moments by now's clock. RegisterAt is
// from when DPS renews it, if the hub has not. The zero value says that there is none any more.
type Installed struct {
	RenewAt, RegisterAt, Expires time.Time

	// Fresh says that no hub has been shown it yet: what one has rejected before was another.
	Fresh bool
}

// Renewed says that the hub has issued a certificate, which is in force now.
type Renewed struct{ Installed }

// RenewalFailed is the failure of a question to the hub for a certificate.
type RenewalFailed struct {
	RetryAfter  time.Duration // what the hub asked for, 0: nothing
	Unavailable bool          // this hub is not going to do it
	Silent      bool          // nobody answered, though the connection is there
}

// Renew is the program's wish for a new certificate now.
type Renew struct{}

// CredentialChanged says that the program's own credential has changed while the device runs.
type CredentialChanged struct{}

// Forget drops what is remembered. A live connection is not touched; when it ends the device
// registers.
type Forget struct{}

// Follow says where the device belongs whose module this is: it goes wherever its device goes, and
// nowhere else. None says that nobody knows: a live connection is not touched.
type Follow struct {
	Assignment Assignment
	Named      bool // by DPS, in this process: the hub may lag behind
}

// Nudge says that the network may be back.
type Nudge struct{}

// Resume takes up a device that was left in the middle of something.
type Resume struct{}

// DPSFailure is what a failure of DPS means for the decision.
type DPSFailure uint8

// The failures of DPS.
const (
	DPSUnavailable      DPSFailure = iota // 5xx, no answer, two registrations at once
	DPSThrottled                          // 429
	DPSOperationUnknown                   // 404203
	// 401, and the Date shows that our clock was wrong; it is corrected
	DPSClockWrong
	DPSClockUnknown // 401 without a Date
	DPSRefused      // 401, 403, 404201, disabled, failed
	// a lookup that says disabled or failed: only registering changes it
	DPSNotAssigned
)

// ClockVerdict is what is known of the clock after a check.
type ClockVerdict uint8

// What came of a clock check.
const (
	ClockUnknown   ClockVerdict = iota // DPS did not answer
	ClockRight                         // as DPS says
	ClockCorrected                     // it was wrong, and now follows DPS
)
