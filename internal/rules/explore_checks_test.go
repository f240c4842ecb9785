// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// check holds after every decision.
func (x *exploration) check(s *situation, now time.Time) {
	st := &s.state
	_, armed := st.Wake()
	underWay := st.Hub.Phase == UnderWay || st.DPS.Phase == UnderWay
	if !armed && !underWay && !st.Connected {
		x.violated("dead", "nothing will ever happen again")
	}
	if (st.Hub.Phase == UnderWay) != (s.hubDue != never) ||
		(st.DPS.Phase == UnderWay) != (s.dpsDue != never) ||
		st.Connected != (s.connected != 0) {
		x.violated("disagree", "device and world disagree on what is under way")
	}
	if !st.Connected && st.Hub.Phase == Idle {
		for _, a := range [...]Assignment{st.Confirmed, st.Candidate} {
			if a.Known() && !a.Incompatible {
				x.violated("hubless", "%s is known and not going to be tried", a.Hub)
			}
		}
	}
	if st.Hub.Phase == Waiting {
		hub := hubNumber(st.inSlot(st.Hub.Next).Hub)
		if early := s.notBefore[hub-1] - max(st.Hub.At.Sub(now), 0); early > 0 {
			x.violated("early", "hub %d is going to be tried %v early", hub, early)
		}
	}
	if st.DPS.Phase == Waiting {
		if early := s.notBefore[2] - max(st.DPS.At.Sub(now), 0); early > 0 {
			x.violated("early", "dps is going to be asked %v early", early)
		}
	}
	if k := s.mustKeep; k != 0 && x.world.store == storeWorks &&
		s.stored[0] != k && s.stored[1] != k {
		x.violated("forgotten", "hub %d is not stored any more, and no other has accepted", k)
	}
}

// checkBoot: the hub goes first, and what is to be asked about an outage follows, unless the hub is
// to be left alone for longer than a start is spread.
func (x *exploration) checkBoot(s *situation, boot *Boot, now time.Time) {
	st := &s.state
	limit := BootGrace
	if boot.WaitsUnknown {
		limit = UnknownSpread
	}
	hub := st.Hub.At
	switch {
	case st.Hub.Phase == Idle, hub.Sub(now) >= limit:
		return
	case st.Hub.Phase == UnderWay:
		hub = now
	}
	if st.DPS.Phase == UnderWay ||
		st.DPS.Phase == Waiting && st.DPS.At.Before(hub.Add(BootGrace)) {
		x.violated("order", "hub in %v, and dps in %v", hub.Sub(now), st.DPS.At.Sub(now))
	}
}

// checkRejection: a hub that accepted the device since DPS's last response does not lag behind, so
// that its rejection goes to DPS at once; once only, until a connection has lasted.
func (x *exploration) checkRejection(before, after *situation, hub byte, f HubFailure) {
	if f.Class != retry.Rejected {
		return
	}
	prompt := before.accepted[hub-1] && !before.urgent && !f.NameNotFound
	after.accepted[hub-1] = false
	if !prompt || before.state.Hub.Tried.Slot == Confirmed && before.state.Candidate.Known() {
		return
	}
	after.urgent = true
	d := &after.state.DPS
	busy := before.state.DPS.Pending() && before.state.DPS.Reason != ReasonOutage
	limit := max(roundUp(before.state.Stagger(), x.grid), before.state.DPS.RefusedUntil.Sub(epoch))
	if !busy && d.Phase == Waiting &&
		d.At.Sub(epoch) > max(limit, after.notBefore[2]) || d.Phase == Idle {
		x.violated("lags", "a hub that had accepted rejects, and dps is asked only in %v",
			d.At.Sub(epoch))
	}
}

// checkClockFault: a rejection of a token that was made before the clock was corrected says nothing
// of the device, so that nobody registers for it.
func (x *exploration) checkClockFault(before, after *situation) {
	fault := before.hubClock && !before.wrongClock &&
		x.around(before).hubs[before.hubTried-1] == fine
	asks := func(s *situation) bool {
		d := &s.state.DPS
		return d.Pending() && d.Reason == ReasonRejected && d.Clock == ClockForNone
	}
	if fault && asks(after) && !asks(before) {
		x.violated("needless", "a registration, because the clock was wrong")
	}
}
