// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/retry"
)

// classes are what hubconn makes of a hub's answers.
var classes = [service.Outcomes]retry.Class{
	service.Throttled: retry.Throttled, service.Unavailable: retry.Server,
	service.NoAnswer: retry.Unreachable, service.Rejected: retry.Rejected,
	service.Untrusted: retry.Untrusted, service.NameGone: retry.Unreachable,
}

// untrustedWait is for how long hubconn has a hub left alone whose certificate does not verify.
const untrustedWait = time.Minute

func (p *process) hubSays(e event) {
	p.do.received(e, service.Connect, p.hub)
	outcome := service.Outcome(e.what)
	if outcome != service.Accepted {
		f := rules.HubFailure{
			Class: classes[outcome], RetryAfter: e.wait, NameNotFound: outcome == service.NameGone,
		}
		if outcome == service.Untrusted {
			f.RetryAfter, f.Dates = untrustedWait, true
		}
		p.step(f)
		return
	}
	p.upSince = e.at
	p.do.change(p.id, true, p.hub)
	p.do.events = append(p.do.events, event{
		at: e.at + rules.StableAfter, device: p.id, kind: lasts, gen: p.hubGen,
	})
	p.step(rules.Connected{})
}

// dpsSays makes events of the answers of DPS as provisioning and its package dps do, over HTTPS.
func (p *process) dpsSays(e event) {
	asked := p.asked
	p.do.received(e, asked, p.hub)
	outcome := service.Outcome(e.what)
	answered := outcome != service.NoAnswer && outcome != service.Untrusted
	corrected := answered && p.wrongClock
	if answered {
		p.wrongClock = false // every answer has a Date
	}
	switch {
	case asked == service.Time:
		p.timeSaid(outcome, e.wait, corrected)
	case outcome == service.Assigning:
		p.polling = true
		wait := max(e.wait, leastPoll)
		p.do.events = append(p.do.events, event{
			at: e.at + wait, device: p.id, kind: polls, gen: p.dpsGen,
		})
		p.step(rules.Progress{Operation: operation, RetryAfter: wait})
	case outcome == service.Assigned:
		p.step(rules.Assigned{
			Assignment: p.assignment(service.Hub(e.hub)), Dated: true,
			Stable: p.State.Connected && e.at-p.upSince >= rules.StableAfter,
		})
	case outcome == service.NotFound && asked == service.Lookup:
		p.step(rules.NotRegistered{})
	default:
		p.step(p.dpsFailed(outcome, e.wait, answered, corrected))
	}
}

func (p *process) timeSaid(outcome service.Outcome, wait time.Duration, corrected bool) {
	said := rules.ClockAnswered{
		Clock: rules.ClockRight, Throttled: outcome == service.Throttled,
		Unavailable: outcome == service.Unavailable, RetryAfter: wait,
	}
	switch {
	case outcome == service.NoAnswer, outcome == service.Untrusted:
		said.Clock = rules.ClockUnknown
	case corrected:
		said.Clock = rules.ClockCorrected
	}
	p.step(said)
}

func (p *process) dpsFailed(
	outcome service.Outcome, wait time.Duration, answered, corrected bool,
) rules.DPSFailed {
	f := rules.DPSFailed{
		RetryAfter: wait, Silent: !answered, Dated: answered,
		Dates: outcome == service.Untrusted,
	}
	if p.polling {
		f.Operation = operation
	}
	switch outcome {
	case service.Throttled:
		f.Failure = rules.DPSThrottled
	case service.Unavailable, service.NoAnswer, service.Untrusted:
		f.Failure = rules.DPSUnavailable
	case service.OperationUnknown:
		f.Failure, f.Operation = rules.DPSOperationUnknown, ""
	case service.Rejected:
		f.Failure = rules.DPSRefused
		if corrected && p.Settings.Tokens {
			f.Failure = rules.DPSClockWrong
		}
	}
	return f
}
