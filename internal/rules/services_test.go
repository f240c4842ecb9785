// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

type hubMode int

const (
	hubAccepts hubMode = iota
	hubRejects
	hubThrottles
	hubBreaks
	hubSilent
	hubUntrusted
	hubExpired
	hubGone
	hubForeign
	hubModes
)

type dpsMode int

const (
	dpsAssigns dpsMode = iota
	dpsThrottles
	dpsBreaks
	dpsRefuses
	dpsForgetsOperations
	dpsKnowsNothing
	dpsFails401
	dpsNamesForeign
	dpsModes
)

func (w *world) retryAfter() time.Duration {
	return []time.Duration{
		time.Second, 30 * time.Second, 10 * time.Minute, time.Hour,
	}[w.rnd.IntN(4)]
}

func (w *world) hubAnswers() {
	hub := w.target.Hub
	w.hubDue = time.Time{}
	floor := HubFloor
	mode := w.hubs[hub]
	if w.skewed && w.state.Settings.Tokens && mode == hubAccepts {
		mode = hubRejects
	}
	var e HubFailure
	switch mode {
	case hubAccepts:
		w.connectedTo, w.connectedAt, w.stable = hub, w.now, false
		w.feed(Connected{})
		return
	case hubRejects:
		e.Class = retry.Rejected
	case hubGone:
		e.Class, e.NameNotFound = retry.Rejected, true
	case hubForeign:
		e.Class = retry.Incompatible
	case hubThrottles:
		e.Class, e.RetryAfter = retry.Throttled, w.retryAfter()
		floor = e.RetryAfter
	case hubBreaks:
		e.Class = retry.Server
	case hubSilent:
		e.Class = retry.Unreachable
	case hubUntrusted, hubExpired:
		e = HubFailure{
			Class: retry.Untrusted, RetryAfter: UntrustedFloor, Dates: mode == hubExpired,
		}
		floor = UntrustedFloor
	}
	w.notBefore[hub] = w.now.Add(floor)
	w.feed(e)
}

// tellTime answers a clock check.
func (w *world) tellTime() {
	e := ClockAnswered{Clock: ClockRight}
	switch {
	case w.dpsMode == dpsBreaks:
		e.Clock = ClockUnknown
	case w.skewed:
		e.Clock, w.skewed = ClockCorrected, false
		w.notBefore = map[string]time.Time{} // once more, with a fresh token
	}
	w.feed(e)
}

func (w *world) dpsAnswers() {
	w.dpsDue = time.Time{}
	if _, clock := w.dpsAction.(CheckClock); clock {
		w.tellTime()
		return
	}
	if w.skewed && w.state.Settings.Tokens && w.dpsMode == dpsAssigns {
		w.skewed = false
		w.notBefore = map[string]time.Time{}
		w.feed(DPSFailed{Failure: DPSClockWrong})
		return
	}
	var e DPSFailed
	switch w.dpsMode {
	case dpsThrottles:
		e = DPSFailed{Failure: DPSThrottled, RetryAfter: w.retryAfter(), Operation: "op"}
		w.dpsNotBefore = w.now.Add(e.RetryAfter)
	case dpsBreaks:
		e.Failure = DPSUnavailable
	case dpsRefuses:
		e.Failure = DPSRefused
	case dpsForgetsOperations:
		e.Failure = DPSOperationUnknown
	case dpsFails401:
		e.Failure = DPSClockUnknown
	default:
		if _, lookup := w.dpsAction.(Lookup); lookup && w.dpsMode == dpsKnowsNothing {
			w.feed(NotRegistered{})
			return
		}
		a := assignedTo(w.home)
		a.Incompatible = w.dpsMode == dpsNamesForeign
		w.feed(Assigned{Assignment: a})
		return
	}
	w.feed(e)
}
