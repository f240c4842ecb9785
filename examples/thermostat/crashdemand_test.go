// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"math"
	"slices"
	"time"
)

// demand is what a received answer asks for: nothing more for so long.
type demand struct {
	since time.Time
	asked time.Duration
}

func (d demand) until() time.Time { return d.since.Add(d.asked) }

// rule is what the answers that a device has received ask for before its next request.
type rule func(b *board, received []*exchange, next *exchange) demand

// all of the rules hold, so the demand that ends last counts.
func all(rules ...rule) rule {
	return func(b *board, received []*exchange, next *exchange) (last demand) {
		for _, asked := range rules {
			if d := asked(b, received, next); d.until().After(last.until()) {
				last = d
			}
		}
		return last
	}
}

// retryAfter is what an answer asks for in so many words.
func retryAfter(_ *board, received []*exchange, next *exchange) (last demand) {
	for _, e := range received {
		d := demand{e.sent, e.retryAfter}
		if e.service == next.service && d.asked > 0 && d.until().After(last.until()) {
			last = d
		}
	}
	return last
}

// afterFailure is the floor of every back-off.
func afterFailure(service string, floor time.Duration) rule {
	return func(_ *board, received []*exchange, next *exchange) demand {
		e := lastOf(received, func(e *exchange) bool { return e.service == service && e.failed })
		if e == nil || next.service != service {
			return demand{}
		}
		return demand{e.sent, floor}
	}
}

// What a device and the test may measure differently: in all, and for each process that takes up
// what the one before it has kept.
const (
	reckoning       = 3 * time.Second
	reckoningByEach = 50 * time.Millisecond
)

// asLongAgain is what a DPS that throttles is left alone for beyond its Retry-After: as long as it
// has throttled the device already. The device knows that from the moment at which it has taken in
// the first such answer, and a process that starts counts on only when it has its turn: what the
// machine stood still does not count.
func asLongAgain(b *board, received []*exchange, next *exchange) demand {
	throttled := func(e *exchange) bool { return e.service == toDPS && e.retryAfter > 0 }
	last := lastOf(received, throttled)
	if last == nil || next.service != toDPS {
		return demand{}
	}
	first := received[slices.IndexFunc(received, throttled)]
	lasted := b.fleet.lag.between(first.sent, last.sent) - reckoning -
		time.Duration(last.process-first.process)*reckoningByEach
	return demand{last.sent, last.retryAfter + max(0, lasted)}
}

// stays says that an assigned device has no reason to ask DPS for so long.
func stays(quiet time.Duration) rule {
	return func(_ *board, received []*exchange, next *exchange) demand {
		e := lastOf(received, func(e *exchange) bool { return e.assigned })
		if e == nil || next.service != toDPS {
			return demand{}
		}
		return demand{e.sent, quiet}
	}
}

// sameOperation says that a device that has been given an operation polls that one until it is
// over, and never registers anew. An answer that ends it counts even if it has come in vain: what
// the device cannot know it asks for again, but soon.
func sameOperation(before []*exchange, next *exchange) demand {
	last := lastOf(before, func(e *exchange) bool { return e.operation != "" && e.takenIn != "" })
	if last == nil || last.over() || next.service != toDPS || next.operation == last.operation {
		return demand{}
	}
	given := lastOf(before, func(e *exchange) bool {
		return e.kind == "register" && e.operation == next.operation
	})
	if given != nil && given.sent.After(last.sent) {
		return demand{} // it has received that answer, however short its process lived after it
	}
	if over := lastOf(before, (*exchange).over); over != nil && over.sent.After(last.sent) &&
		(next.at.Sub(over.sent) > restartTime || usesHub(before, over)) {
		return demand{}
	}
	return demand{last.sent, never}
}

// usesHub says that a device has gone to the hub that an answer names: it may have stored that and
// been killed before it said so, and the hub's answer is why it asks DPS anew.
func usesHub(before []*exchange, answer *exchange) bool {
	return answer.assigned && slices.ContainsFunc(before, func(e *exchange) bool {
		return e.service == toHub && e.at.After(answer.sent)
	})
}

// gaps are the least distances after the first, second … such answer of DPS.
var gaps = [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute}

func gapAfter(answers int) time.Duration {
	if answers == 0 {
		return 0
	}
	gap := gaps[min(answers, len(gaps))-1]
	return time.Duration(math.Round(0.8 * float64(gap))) // they are spread by a fifth
}

// growingGaps says that DPS is asked less and less often by a device that it gives the same answer.
func growingGaps(same func(*exchange) bool) rule {
	return func(_ *board, received []*exchange, next *exchange) demand {
		e := lastOf(received, same)
		if e == nil || next.service != toDPS {
			return demand{}
		}
		return demand{e.sent, gapAfter(count(received, same))}
	}
}

// quickTries says that a hub that turns the device away is tried a few times more after DPS has
// named it first, since it may lag behind, once after each later answer, and then at the next gap.
func quickTries(_ *board, received []*exchange, next *exchange) demand {
	assigned := func(e *exchange) bool { return e.assigned }
	named := lastOf(received, assigned)
	if named == nil || next.service != toHub {
		return demand{}
	}
	answers, tries := count(received, assigned), 1
	if answers == 1 {
		tries = 4
	}
	since := count(received, func(e *exchange) bool {
		return e.service == toHub && e.failed && e.sent.After(named.sent)
	})
	if since < tries {
		return demand{}
	}
	return demand{named.sent, gapAfter(answers)}
}

func lastOf(all []*exchange, fits func(*exchange) bool) (last *exchange) {
	for _, e := range all {
		if fits(e) && (last == nil || e.sent.After(last.sent)) {
			last = e
		}
	}
	return last
}

func count(all []*exchange, fits func(*exchange) bool) (n int) {
	for _, e := range all {
		if fits(e) {
			n++
		}
	}
	return n
}
