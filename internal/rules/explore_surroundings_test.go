// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import (
	"strings"
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// A way is how a hub behaves, or DPS over one port.
type way uint8

const (
	fine       way = iota
	silent         // nobody answers
	broken         // 5xx
	throttling     // 429
	rejecting      // a hub: not authorized; DPS: disabled
	flapping       // a hub that accepts and drops every connection
	fickle         // a hub that accepts and drops, or rejects
	untrusted      // the certificate does not verify
	expired        // of the certificate only the dates are wrong
	gone           // the name does not exist
	foreign        // a hub that speaks another protocol
	unassigned     // DPS: registered nowhere, until the device registers
)

var wayNames = [...]string{
	"fine", "silent", "5xx", "429", "rejects", "flaps", "fickle", "untrusted", "expired", "gone",
	"foreign", "unassigned",
}

func (w way) String() string { return wayNames[w] }

// clockFault is what is wrong with the clock of the device whenever it starts.
type clockFault uint8

const (
	clockRight  clockFault = iota
	wrongTokens            // tokens are rejected
	wrongDates             // and no server's certificate is valid
)

var clockNames = [...]string{"", " clock: tokens", " clock: dates"}

// surroundings are what does not change during a phase.
type surroundings struct {
	hubs             [2]way
	home             byte // the hub that DPS names: 1 or 2
	lookup, register way
	clock            clockFault
	renews           way  // how the hub answers who asks for a certificate
	noPolicy         bool // DPS issues none

	// What whoever throttles asks for.
	hubRetryAfter, dpsRetryAfter time.Duration
}

func (s *surroundings) String() string {
	var b strings.Builder
	b.WriteString("A " + s.hubs[0].String() + ", B " + s.hubs[1].String())
	b.WriteString(", home " + string('@'+rune(s.home)) + ", dps " + s.register.String())
	if s.lookup != s.register {
		b.WriteString("/lookup " + s.lookup.String())
	}
	return b.String() + clockNames[s.clock]
}

// storeKind is how the store behaves.
type storeKind uint8

const (
	storeWorks   storeKind = iota
	storeReads             // writes fail: every start finds what the first one found
	storeIsBlind           // what it holds cannot be read
)

var storeNames = [...]string{"", " store: read-only", " store: blind"}

const (
	exploredID        = "sensor-042"
	exploredOperation = "operation"
)

// hubName is the host of hub 1 or 2, and "" of 0.
func hubName(hub byte) string { return [...]string{"", "a.example.net", "b.example.net"}[hub] }

func hubNumber(name string) byte {
	return map[string]byte{"": 0, hubName(1): 1, hubName(2): 2}[name]
}

func assignmentOf(hub byte) Assignment {
	if hub == 0 {
		return Assignment{}
	}
	return Assignment{Hub: hubName(hub), DeviceID: exploredID}
}

// asking is what DPS is asked at the moment.
type asking uint8

const (
	nothing asking = iota
	registration
	polling
	looking
	clockQuestion
)

// An answer is an event, and what else follows from it in the world.
type answer struct {
	event    Event
	told     bool          // the device knows the time now
	asked    time.Duration // for how long whoever responded is to be left alone
	moves    bool          // DPS has named a hub
	progress bool          // the request goes on
}

// hubAnswers are the possible ones of a hub to an attempt that was begun with a wrong clock or not.
func (s *surroundings) hubAnswers(hub byte, wrongClock bool) []answer {
	failure := func(f HubFailure, asked time.Duration) answer {
		f.RetryAfter = 0
		if f.Class == retry.Throttled {
			f.RetryAfter = asked
		}
		return answer{event: f, asked: min(asked, retry.LongestHonoured)}
	}
	accepts := answer{event: Connected{}}
	rejects := s.rejects()
	w := s.hubs[hub-1]
	if wrongClock && s.clock == wrongDates && w != silent && w != gone {
		return []answer{failure(HubFailure{Class: retry.Untrusted, Dates: true}, UntrustedFloor)}
	}
	var answers []answer
	switch w {
	case fine, flapping:
		answers = []answer{accepts}
	case silent:
		answers = []answer{failure(HubFailure{Class: retry.Unreachable}, HubFloor)}
	case broken:
		answers = []answer{failure(HubFailure{Class: retry.Server}, HubFloor)}
	case throttling:
		answers = []answer{failure(HubFailure{Class: retry.Throttled}, s.hubRetryAfter)}
	case rejecting:
		answers = []answer{rejects}
	case fickle:
		answers = []answer{accepts, rejects}
	case untrusted:
		answers = []answer{failure(HubFailure{Class: retry.Untrusted}, UntrustedFloor)}
	case expired:
		answers = []answer{
			failure(HubFailure{Class: retry.Untrusted, Dates: true}, UntrustedFloor),
		}
	case gone:
		answers = []answer{
			failure(HubFailure{Class: retry.Rejected, NameNotFound: true}, HubFloor),
		}
	case foreign:
		answers = []answer{failure(HubFailure{Class: retry.Incompatible}, HubFloor)}
	}
	if !wrongClock {
		return answers
	}
	switch w {
	case fine, flapping, fickle:
		return []answer{rejects}
	case throttling:
		return append(answers, rejects)
	}
	return answers
}

func (s *surroundings) rejects() answer {
	return answer{event: HubFailure{Class: retry.Rejected}, asked: HubFloor}
}

// dpsAnswers are the possible ones of DPS. Over HTTPS a response tells the time; over MQTT, none
// does.
func (s *surroundings) dpsAnswers(what asking, wrongClock, tokens, https bool) []answer {
	w := s.register
	if what == looking || what == clockQuestion {
		w, https = s.lookup, true
	}
	if what == clockQuestion {
		switch {
		case w == silent || w == broken:
			return []answer{{event: ClockAnswered{Clock: ClockUnknown}}}
		case wrongClock:
			return []answer{{event: ClockAnswered{Clock: ClockCorrected}, told: true}}
		}
		return []answer{{event: ClockAnswered{Clock: ClockRight}, told: true}}
	}
	operation := ""
	if what == polling {
		operation = exploredOperation
	}
	failure := func(f DPSFailure) answer {
		return answer{
			event: DPSFailed{Failure: f, Dated: https, Operation: operation}, told: https,
		}
	}
	if w == silent || w == untrusted || w == expired || wrongClock && s.clock == wrongDates {
		return []answer{{event: DPSFailed{
			Silent: true, Operation: operation,
			Dates: w == expired || w != silent && w != untrusted,
		}}}
	}
	switch w {
	case broken:
		return []answer{failure(DPSUnavailable)}
	case throttling:
		a := failure(DPSThrottled)
		e := a.event.(DPSFailed)
		e.RetryAfter, a.asked = s.dpsRetryAfter, min(s.dpsRetryAfter, retry.LongestHonoured)
		a.event = e
		return []answer{a}
	}
	if wrongClock && tokens {
		if !https {
			return []answer{{event: DPSFailed{Failure: DPSClockUnknown}}}
		}
		return []answer{failure(DPSClockWrong)}
	}
	if w == rejecting {
		if what == looking {
			return []answer{failure(DPSRefused), failure(DPSNotAssigned)}
		}
		return []answer{failure(DPSRefused)}
	}
	if what == looking && w == unassigned {
		return []answer{{event: NotRegistered{}, told: true}}
	}
	if what == registration {
		return []answer{{
			event:    Progress{Operation: exploredOperation, RetryAfter: pollDistance},
			asked:    pollDistance,
			progress: true,
		}}
	}
	return []answer{{
		event: Assigned{Assignment: assignmentOf(s.home), Dated: https}, told: https, moves: true,
	}}
}

// pollDistance is what DPS asks for between two polls.
const pollDistance = 3 * time.Second
