// SPDX-License-Identifier: Apache-2.0

package service

import "time"

// DPS is the provisioning service. Registrations and status lookups count against its quota; polls
// and requests for the time do not, as in package dpstest.
type DPS struct {
	Quota Quota

	// RetryAfter is what a response 429 asks for; 0: until the quota has room again, in whole
	// seconds, rounded up.
	RetryAfter time.Duration

	// PollAfter is what a response 202 asks for, after which the registration is done; 0: it is
	// done at once, and there is no 202.
	PollAfter time.Duration

	// Down is when nobody answers; Failing when everything is answered with 503.
	Down, Failing Interval

	// Assigns says to which hub a device belongs at a time.
	Assigns func(device uint32, at time.Duration) Hub
}

// Answer answers a request for DPS.
func (d *DPS) Answer(r Request) Answer {
	switch {
	case d.Down.Contains(r.At):
		return Answer{Outcome: NoAnswer}
	case r.Untrusting:
		return Answer{Outcome: Untrusted}
	case d.Failing.Contains(r.At):
		return Answer{Outcome: Unavailable}
	case r.Kind == Time:
		return Answer{Outcome: TimeTold}
	case r.Kind == Poll && r.WrongClock:
		return Answer{Outcome: Rejected}
	case r.Kind == Poll:
		return Answer{Outcome: Assigned, Hub: d.Assigns(r.Device, r.At)}
	}
	if wait, ok := d.Quota.Admit(r.At); !ok {
		return Answer{Outcome: Throttled, RetryAfter: d.retryAfter(wait)}
	}
	switch {
	case r.WrongClock:
		return Answer{Outcome: Rejected}
	case r.Kind == Register && d.PollAfter > 0:
		return Answer{Outcome: Assigning, RetryAfter: d.PollAfter}
	}
	return Answer{Outcome: Assigned, Hub: d.Assigns(r.Device, r.At)}
}

func (d *DPS) retryAfter(wait time.Duration) time.Duration {
	if d.RetryAfter > 0 {
		return d.RetryAfter
	}
	return max(time.Second, (wait + time.Second - 1).Truncate(time.Second))
}
