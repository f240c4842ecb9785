package provisioning

import (
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/retry"
)

type eventKind uint8

const (
	eventBoot eventKind = iota
	eventTick
	eventConnected
	eventHubFailed
	eventLost
	eventClosed
	eventAssigned
	eventNotRegistered
	eventDPSFailed
	eventClock
	eventReprovision
	eventForget
	eventResume
)

// An event is something that happened to the device. Which fields count depends on the kind.
type event struct {
	kind eventKind

	memory memory // eventBoot
	still  bool   // starts nothing yet: another event follows, or nobody is there to perform it

	slot   slot          // eventConnected
	class  hubconn.Class // eventHubFailed, eventLost
	wait   time.Duration // eventHubFailed, eventLost, eventDPSFailed: what the peer asked for, 0 = nothing
	stable bool          // eventLost, eventClosed, eventAssigned: the connection lasted and carried something
	gone   bool          // eventHubFailed: the hub's name does not exist, so no clock is to blame
	silent bool          // eventDPSFailed: nobody answered
	dates  bool          // eventHubFailed, eventDPSFailed: only the dates of the server's certificate were wrong

	assignment *known     // eventAssigned
	failure    dpsFailure // eventDPSFailed
	operation  string     // eventDPSFailed: the operation to go on polling

	clock clockAnswer // eventClock
}

// memory is what the store said at boot.
type memory struct {
	verdict   retry.Verdict // Wait: connect; Lookup: ask; Register: register
	confirmed *known
	candidate *known
}

type dpsFailure uint8

const (
	dpsUnavailable      dpsFailure = iota // 5xx, no answer, two registrations at once
	dpsThrottled                          // 429
	dpsOperationUnknown                   // 404203
	dpsClockWrong                         // 401, and the answer's Date shows that our clock was wrong; it is corrected
	dpsClockUnknown                       // 401 without a Date
	dpsRefused                            // 401, 403, 404201, disabled, failed
	dpsNotAssigned                        // a lookup that says disabled or failed: the record changes only by registering
)

type clockAnswer uint8

const (
	clockUnknown clockAnswer = iota // DPS did not answer, and the clock is plausible
	clockSuspect                    // DPS did not answer, and the clock stands before a time that has certainly passed
	clockRight
	clockCorrected
)

type actionKind uint8

const (
	actionConnect actionKind = iota
	actionCancelConnect
	actionRegister
	actionLookup
	actionCheckClock
	actionCancelDPS
	actionRemember
	actionEndSession
	actionReply
	actionReplyHeld
)

// An action is something for Device to do. The result comes back as an event.
type action struct {
	kind      actionKind
	slot      slot
	target    *known
	operation string
}
