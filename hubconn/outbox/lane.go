// SPDX-License-Identifier: Apache-2.0

package outbox

// A lane holds messages of one device that are delivered in their order.
type lane uint8

// The lanes, in the order in which they are delivered.
const (
	alarms lane = iota
	telemetry

	lanes = 2
)

func laneNumber(b byte) lane { return lane(b) }

// laneState is what is known of a lane without a look at the file. The file's lock guards it.
type laneState struct {
	messages int   // kept, but for those that are acknowledged
	bytes    int64 // of them
	pending  int64 // bytes of messages that wait for the next commit

	// acknowledged are messages that the hub has and the file still holds, with their size.
	acknowledged map[uint64]int64
	// inFlight are messages that are on their way.
	inFlight map[uint64]struct{}
	// unsure are messages that were on their way when a connection ended.
	unsure map[uint64]struct{}
	// generation changes when messages give way: what was read before may not be there any more.
	generation uint64
}

func newLaneState() laneState {
	return laneState{
		acknowledged: map[uint64]int64{}, inFlight: map[uint64]struct{}{},
		unsure: map[uint64]struct{}{},
	}
}

// isAcknowledged says that a message is in the file, and need not be sent.
func (l *laneState) isAcknowledged(sequence uint64) bool {
	_, ok := l.acknowledged[sequence]
	return ok
}

func (l *laneState) isInFlight(sequence uint64) bool {
	_, ok := l.inFlight[sequence]
	return ok
}
