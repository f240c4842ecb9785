// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"strings"
)

// shortest is the shortest pause that counts as a wait, in milliseconds.
const shortest = 500

// explain finds where the device waited, and says why, as far as the services can know: by what
// they answered last. A device that is connected waits for DPS alone, and only when it was told to:
// otherwise it has nothing to ask.
func explain(events []event) {
	connected := false
	var before, dps *event // what was answered last, by anybody and by DPS
	for i := range events {
		e := &events[i]
		since := before
		if connected {
			since = nil
		}
		if e.Kind == kindDPS && dps != nil && (dps.RetryAfter != "" || dps.Outcome != ok) {
			since = dps
		}
		if since != nil && e.Kind != kindMoved && e.Kind != kindLost {
			if pause := e.At - since.Until; pause >= shortest {
				e.Wait, e.Why = pause, why(since)
			}
		}
		switch e.Kind {
		case kindMoved:
			continue // nothing that the device did
		case kindLost:
			connected = false
		case kindConnect:
			connected = e.Outcome == ok
		case kindDPS:
			dps = e
		}
		before = e
	}
}

// why is the reason of a wait after an event.
func why(e *event) string {
	place := "DPS"
	if e.To != "dps" {
		place, _, _ = strings.Cut(e.To, ".")
	}
	switch {
	case e.RetryAfter != "" && e.Outcome == refused:
		return fmt.Sprintf("%s throttles: Retry-After %s", place, e.RetryAfter)
	case e.RetryAfter != "":
		return fmt.Sprintf("%s asked for it: Retry-After %s", place, e.RetryAfter)
	case e.Kind == kindLost:
		return "back-off: the connection ended"
	case e.Outcome == silent:
		return "time-out and back-off: no answer from " + place
	case e.Outcome == refused:
		return "back-off after " + e.Answer
	}
	return "nobody asked for it"
}
