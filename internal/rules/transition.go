// SPDX-License-Identifier: Apache-2.0

package rules

import "time"

// transition is one step under way.
type transition struct {
	State
	draw
	actions []Action
}

func (t *transition) do(a Action) { t.actions = append(t.actions, a) }

// planDPS sets D for a request, never before what DPS asked for.
func (t *transition) planDPS(at time.Time, r Request, why Reason) {
	d := &t.DPS
	if r != Registration {
		d.Operation = ""
	}
	d.Request, d.Reason, d.Clock, d.Silent = r, why, ClockForNone, false
	d.corrected, d.refused, d.notFound, d.BehindHub = false, false, false, time.Time{}
	d.Rejecting = Assignment{}
	t.armDPS(at)
}

func (t *transition) armDPS(at time.Time) {
	if t.DPS.Clock == ClockForNone {
		at = later(later(at, t.DPS.RefusedUntil), t.expiredNotBefore())
	}
	t.DPS.Phase, t.DPS.At = Waiting, later(at, t.DPS.NotBefore)
}

func (t *transition) disarmDPS() {
	if t.DPS.Phase == UnderWay {
		t.do(CancelDPS{})
	}
	t.DPS = DPSTimer{
		NotBefore: t.DPS.NotBefore, ManualNotBefore: t.DPS.ManualNotBefore,
		Failures: t.DPS.Failures,
	}
}

// dpsFree says that nothing is asked of DPS, or planned, that a question about the hub would not
// come before.
func (t *transition) dpsFree() bool {
	return t.DPS.Phase == Idle || t.DPS.Phase == Waiting && t.DPS.Reason == ReasonOutage
}

// startOver: nothing is remembered any more.
func (t *transition) startOver() {
	if !t.DPS.Pending() {
		t.planDPS(t.staggered(t.Stagger()), Registration, ReasonBoot)
	}
}

// forgetFailures starts the counts of the hub in use anew, after a connection that lasted. What
// other hubs asked for, they still do.
func (t *transition) forgetFailures() {
	if a := t.Hub.Tried.Target; a.Known() {
		*t.record(a) = HubRecord{Hub: a.Hub, DeviceID: a.DeviceID, Accepted: true}
	}
	t.Urgent, t.Outage, t.Clock = false, Outage{}, Clock{}
	t.DPS.Failures, t.Refusals = 0, 0
	if t.DPS.Phase == Waiting && !t.DPS.Manual && !t.DPS.Reason.evenConnected() {
		t.disarmDPS()
	}
}

// manualFailed tells who waits for a registration that it has failed, and says whether that is the
// end of it: the old assignment and connection stay as they were, and only a device with nowhere to
// go asks again by itself.
func (t *transition) manualFailed() (over bool) {
	if !t.DPS.Manual {
		return false
	}
	t.DPS.Manual = false
	t.do(ReplyFailed{})
	if t.DPS.Reason == ReasonCredential {
		return false
	}
	if !t.Connected && (t.DPS.Reason != ReasonManual || !t.Target().Known()) {
		return false
	}
	t.disarmDPS()
	if !t.Connected && !t.Outage.Since.IsZero() {
		t.rearmOutage()
	}
	return true
}
