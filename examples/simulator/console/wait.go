package console

import (
	"fmt"
	"strings"
)

// shortest is the shortest pause that counts as a wait, in milliseconds.
const shortest = 500

// explain finds where the device waited, and says why, as far as the services can know: by what
// they answered last.
func explain(events []event) {
	connected := false
	var before *event // what was answered last
	for i := range events {
		e := &events[i]
		if before != nil && !connected && e.Kind != kindMoved && e.Kind != kindLost {
			if pause := e.At - before.Until; pause >= shortest {
				e.Wait, e.Why = pause, why(before)
			}
		}
		switch {
		case e.Kind == kindMoved:
			continue // nothing that the device did
		case e.Kind == kindLost:
			connected = false
		case e.Kind == kindConnect:
			connected = e.Outcome == ok
		}
		if e.Kind != kindDPS || !connected {
			before = e
		}
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
