// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"time"

	"github.com/rehome-iot/rehome/internal/rules"
)

// patience is what is left to do for a call that has failed as often as the program allows. What
// the last failure has led to belongs to it: a device that gave up before DPS was asked about a hub
// that turns it away would be turned away again at its next wake, and at every one after that, if
// it is allowed one attempt each.
type patience struct {
	_ [0]func() // never compared, which saves code in a device's program

	exhausted error // the last failure, once there were as many as the program allows
	asked     bool  // DPS has answered a question, or has failed to
	unheard   bool  // nobody has told the time, for which DPS is asked before
	followUp  bool  // its answer sends the device to a hub
}

// question takes in what became of a question to DPS, or of one for the time before it.
func (p *patience) question(e rules.Event) {
	switch e := e.(type) {
	case rules.Assigned:
		p.asked, p.followUp = true, true
	case rules.ClockAnswered:
		p.followUp, p.unheard = e.Clock == rules.ClockCorrected, e.Clock == rules.ClockUnknown
	case rules.DPSFailed:
		// One that a wrong clock explains is asked again at once.
		p.asked = e.Failure != rules.DPSClockWrong && e.Failure != rules.DPSClockUnknown
	}
}

// givesUp says that there were as many failures as the program allows, and that nothing is left to
// do about the last one. What is not asked of DPS within the time over which a fleet spreads its
// questions is for a later call, which finds the question planned; and so is what would take the
// port on which nobody has told the time.
func (l *loop) givesUp(now time.Time) bool {
	p, d := &l.patience, &l.state.DPS
	soon := now.Add(rules.WakeSpread + l.state.Stagger())
	switch {
	case p.exhausted == nil:
		return false
	case p.asked, p.unheard && !l.settings.LookupElsewhere:
	case l.dps != nil, d.Phase == rules.Waiting && !d.At.After(soon):
		return false
	}
	return !p.followUp || l.hub == nil
}

// tooLate ends a call that has nothing to do before the deadline of its ctx, and says whether it
// has.
func (l *loop) tooLate(next time.Time) bool {
	deadline, ok := l.ctx.Deadline()
	if !ok || !l.inTime() || !next.After(deadline) || l.hub != nil || l.dps != nil ||
		len(l.waiting)+len(l.renewing) > 0 {
		return false
	}
	l.finish(&TooSoonError{Wait: time.Until(next), Err: l.last.err, deadline: true})
	return true
}
