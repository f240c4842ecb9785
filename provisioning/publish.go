// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"cmp"
	"fmt"
	"log/slog"

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
	c.home, c.ownSeen = c.homeNow(), c.own
	c.ownSeen.moved = c.ownMoved()
	close(c.published)
	c.published = make(chan struct{})
	c.mu.Unlock()
	defer c.warnOfOutage(&s)
	if s.State == before.State && s.Hub == before.Hub && s.Source == before.Source &&
		s.Cause == before.Cause {
		return
	}
	c.line(slog.LevelInfo, c.stateMessage(&s, &before), c.stateAttrs(&s)...)
	c.tellProblem()
	if c.trace.Changed != nil {
		c.trace.Changed(s)
	}
}

// describe puts the state into words.
func (c *core) describe() Status {
	t := &c.state
	s := c.counts
	s.RegistrationID, s.ModuleID = c.name.device, c.name.module
	s.DownSince, s.DownAttempts = c.outage.since, c.outage.attempts
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
	c.describeCredentials(&s)
	text, err := c.cause(&s)
	if err != nil {
		text = err.Error()
	}
	s.Cause = oneline.Of(joined(text, c.foreign()), causeMax)
	return s
}

// cause is why the device is in this state: a failure, or else what is to be said of it.
func (c *core) cause(s *Status) (string, error) {
	t := &c.state
	switch {
	case t.DPS.Phase == rules.UnderWay && t.DPS.Reason == rules.ReasonManual:
		return c.why(t.DPS.Reason), nil // whatever went wrong before, and though all may be well
	case s.State == StateConnected:
	case s.Err != nil:
		return "", s.Err
	case c.refusedBefore():
		return earlierRefusal, nil
	case t.Target().Incompatible: // which says more than why DPS is asked
	case t.DPS.Pending() && t.DPS.Reason != rules.ReasonOutage:
		return c.why(t.DPS.Reason), nil
	case t.Failures() > 0:
		return "an earlier process failed at the hub: " + t.Class().String(), nil
	case t.DPS.Pending():
		return c.why(t.DPS.Reason), nil
	}
	return "", nil
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
	t, atHub, atDPS := &c.state, c.hub.ready() != nil, c.dps.ready() != nil
	switch {
	case t.DPS.Phase == rules.UnderWay && c.driving && !t.Connected && !atDPS &&
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
		return cmp.Or(c.own.state, StateStopped)
	case t.Hub.Phase == rules.UnderWay && !c.hubless && !atHub:
		return cmp.Or(c.attempting, StateConnecting)
	case atHub || atDPS:
		return StateQueued
	}
	return StateWaiting
}

// describeCredentials puts credentials and certificates into a status.
func (c *core) describeCredentials(s *Status) {
	s.Credential, s.CredentialCause = c.using.kind, c.usingWhy
	if c.certs == nil {
		return
	}
	if newest, known := c.certs.newest(); newest != nil {
		s.Certificate = newest.status(known)
	}
	s.Certificate.Err = c.lastRenewal
	if r := &c.state.Renewal; r.Phase == rules.Waiting {
		s.Certificate.NextRenewal = r.At
	}
}
