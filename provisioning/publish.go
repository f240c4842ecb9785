package provisioning

import (
	"context"
	"log/slog"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/retry"
)

// causeMax is how much of an error's text, in characters, explains a state.
const causeMax = 1000

// publish makes the state visible: to Status, to the log and to Trace.
func (c *core) publish() {
	s := c.describe()
	c.mu.Lock()
	before := c.status
	c.status, c.target, c.live = s, c.state.target(), c.conn
	c.announce()
	c.mu.Unlock()
	if s.State == before.State && s.Hub == before.Hub && s.Source == before.Source && s.Cause == before.Cause {
		return
	}
	c.logChange(s, before)
	if c.trace.Changed != nil {
		c.trace.Changed(s)
	}
}

func (c *core) logChange(s, before Status) {
	level := slog.LevelInfo
	if s.State != StateConnected && s.Err != nil && s.Err != before.Err && retry.Classify(s.Err) == retry.Stop {
		level = slog.LevelError // nothing mends this but a person
	}
	var wait time.Duration
	if at, ok := c.state.wake(); ok && s.State == StateWaiting {
		wait = max(time.Until(at), 0).Round(100 * time.Millisecond)
	}
	c.log.Log(context.Background(), level, "device "+string(s.State),
		"state", string(s.State), "hub", s.Hub.Host, "source", string(s.Source), "cause", s.Cause, "wait", wait.String())
}

// describe puts the state into words.
func (c *core) describe() Status {
	t := &c.state
	s := c.counts
	s.State = c.doing()
	k := t.inUse()
	if k != nil {
		s.Hub, s.Source, s.Confirmed = k.Target(), k.source, k == t.confirmed
	}
	if t.hub.armed && !c.dpsOnly {
		s.NextHub = t.hub.at
	}
	if t.dps.armed {
		s.NextDPS = t.dps.at
	}
	s.RetryAfter = t.dps.hold
	if k != nil && t.hub.class == hubconn.Throttled {
		s.RetryAfter = later(s.RetryAfter, t.hub.held(k.Hub))
	}
	s.HubAttempts, s.DPSAttempts = t.hub.n, t.dps.n
	s.ClockOffset, s.ClockSuspect = c.clock.offset(), c.clock.suspect()
	s.Err, s.Class = c.last.err, c.last.class
	switch {
	case s.State == StateConnected:
	case s.Err != nil:
		s.Cause = oneline.Of(s.Err.Error(), causeMax)
	case t.dps.armed || t.dps.busy:
		s.Cause = t.dps.reason.String()
	}
	return s
}

func (c *core) doing() State {
	t := &c.state
	switch {
	case t.dps.busy && c.driving && !t.connected:
		switch {
		case t.dps.clock != clockForNone:
			return StateCheckingClock
		case t.dps.request == requestLookup:
			return StateLookingUp
		}
		return StateRegistering
	case t.connected && c.conn != nil:
		return StateConnected
	case !c.driving:
		return StateStopped
	case t.hub.busy && !c.dpsOnly:
		return StateConnecting
	}
	return StateWaiting
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
