package provisioning

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/retry"
)

// causeMax is how much of an error's text, in characters, explains a state; reasonMax how much of
// a program's reason for a request.
const (
	causeMax  = 1000
	reasonMax = 200
)

// publish makes the state visible: to Status, to the log and to Trace.
func (c *core) publish() {
	s := c.describe()
	c.mu.Lock()
	before := c.status
	c.status, c.target, c.live = s, knownFrom(c.state.Target()), c.conn
	c.home = c.homeNow()
	close(c.published)
	c.published = make(chan struct{})
	c.mu.Unlock()
	if s.State == before.State && s.Hub == before.Hub && s.Source == before.Source &&
		s.Cause == before.Cause {
		return
	}
	c.logChange(s, before)
	if c.trace.Changed != nil {
		c.trace.Changed(s)
	}
}

func (c *core) logChange(s, before Status) {
	level := slog.LevelInfo
	if s.State != StateConnected && s.Err != nil && s.Err != before.Err &&
		retry.Classify(s.Err) == retry.Stop {
		level = slog.LevelError // nothing mends this but a person
	}
	if c.foreign() != "" {
		level = max(level, slog.LevelWarn)
	}
	var wait time.Duration
	if at, ok := c.state.Wake(); ok && s.State == StateWaiting {
		wait = max(time.Until(at), 0).Round(100 * time.Millisecond)
	}
	c.log.Log(
		context.Background(), level, c.identity.String()+" "+string(s.State),
		"state", string(s.State), "hub", s.Hub.Host, "source", string(s.Source),
		"cause", s.Cause, "wait", wait.String(),
	)
}

// describe puts the state into words.
func (c *core) describe() Status {
	t := &c.state
	s := c.counts
	s.State = c.doing()
	s.HubTransport, s.DPSTransport = c.toHub.current(c.state.Connected), c.toDPS.first()
	inUse := t.InUse()
	if k := knownFrom(inUse); k != nil {
		s.Hub, s.Source = c.identity.at(k.Target()), k.source
		s.Confirmed = inUse.Record == t.Confirmed.Record
	}
	if t.Hub.Phase == rules.Waiting && !c.hubless {
		s.NextHub = t.Hub.At
	}
	if t.DPS.Phase == rules.Waiting {
		s.NextDPS = t.DPS.At
	}
	s.RetryAfter = t.DPS.NotBefore
	if kept := t.Kept(inUse); kept.Class == retry.Throttled && kept.NotBefore.After(s.RetryAfter) {
		s.RetryAfter = kept.NotBefore
	}
	s.HubAttempts, s.DPSAttempts = t.Failures(), t.DPS.Failures
	s.ClockOffset, s.ClockSuspect = c.clock.offset(), c.clock.suspect()
	s.Err, s.Class = c.last.err, c.last.class
	switch {
	case t.DPS.Phase == rules.UnderWay && t.DPS.Reason == rules.ReasonManual:
		s.Cause = c.why(t.DPS.Reason) // whatever went wrong before, and though all may be well
	case s.State == StateConnected:
	case s.Err != nil:
		s.Cause = oneline.Of(s.Err.Error(), causeMax)
	case t.Target().Incompatible: // which says more than why DPS is asked
	case t.DPS.Pending() && t.DPS.Reason != rules.ReasonOutage:
		s.Cause = c.why(t.DPS.Reason)
	case t.Failures() > 0:
		s.Cause = "an earlier process failed at the hub: " + t.Class().String()
	case t.DPS.Pending():
		s.Cause = c.why(t.DPS.Reason)
	}
	if foreign := c.foreign(); foreign != "" {
		s.Cause = oneline.Of(strings.TrimPrefix(s.Cause+"; "+foreign, "; "), causeMax)
	}
	return s
}

// foreign says that DPS has named a hub that speaks another protocol, even if an older one serves
// the device: nothing but a person mends that.
func (c *core) foreign() string {
	target := c.state.Target()
	k := knownFrom(target)
	if k == nil || !target.Incompatible {
		return ""
	}
	return fmt.Sprintf(
		"%s does not speak MQTT 3.1.1, its connection profile is %q: it is not tried",
		k.Hub, k.ConnectionProfile,
	)
}

func (c *core) doing() State {
	t := &c.state
	switch {
	case t.DPS.Phase == rules.UnderWay && c.driving && !t.Connected &&
		(c.device == nil || t.DPS.Clock != rules.ClockForNone): // a module's device does the rest
		switch {
		case t.DPS.Clock != rules.ClockForNone:
			return StateCheckingClock
		case t.DPS.Request == rules.StatusLookup:
			return StateLookingUp
		}
		return StateRegistering
	case t.Connected && c.conn != nil:
		return StateConnected
	case !c.driving:
		return StateStopped
	case t.Hub.Phase == rules.UnderWay && !c.hubless:
		return StateConnecting
	}
	return StateWaiting
}
