// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// tellProblem tells what nothing but a person mends, once for each cause since the last stable
// connection. Of a device without a Logger it goes to slog's default: a program that shows nothing
// at all, and does not connect, leaves its developer without a clue.
func (c *core) tellProblem() {
	message, cause, fix := c.problem()
	if message == "" || !c.isNews(message+cause[0].Value.String()) {
		return
	}
	level := slog.LevelError
	if c.state.Connected {
		level = slog.LevelWarn // an older assignment serves
	}
	attrs := append(cause, slog.String("fix", fix))
	if d := &c.state.DPS; d.Phase == rules.Waiting && !c.state.Connected {
		attrs = append(attrs, seconds("wait", time.Until(d.At)))
	}
	if !c.unlogged {
		c.line(level, message, attrs...)
		return
	}
	c.name.in(slog.Default()).LogAttrs(context.Background(), level, message, attrs...)
}

// problem is what nothing but a person mends, and how; an empty message if there is nothing.
func (c *core) problem() (message string, cause []slog.Attr, fix string) {
	switch foreign := c.foreign(); {
	case c.device != nil: // its device tells
		return "", nil, ""
	case c.state.Refusals > 0 && !c.state.Connected && retry.Classify(c.last.dps) == retry.Stop:
		return refuses, failureAttrs(c.last.dps), c.refusalFix()
	case c.refusedBefore():
		return refuses, []slog.Attr{slog.String("cause", earlierRefusal)}, earlierFix
	case c.hubTurnsAway():
		return "the hub rejects the device", failureAttrs(c.last.err), rejectionFix
	case foreign != "":
		return "the hub speaks another protocol", foreignAttrs("", foreign), protocolFix
	case c.last.err != nil && c.last.class == retry.Incompatible:
		return "the hub speaks another protocol", failureAttrs(c.last.err), protocolFix
	}
	return "", nil, ""
}

// refusedBefore says that the device waits since DPS has refused it to an earlier process, which
// alone knew why: who mends that and starts the program again is not left with a wait.
func (c *core) refusedBefore() bool {
	return c.state.Refusals > 0 && c.last.dps == nil && c.state.DPS.Phase == rules.Waiting &&
		!c.state.Target().Known()
}

// hubTurnsAway says that the hub of DPS's last response rejects the device even so, for longer than
// it may lag behind DPS, and not for the clock: nobody but a person can change that.
func (c *core) hubTurnsAway() bool {
	t := &c.state
	tried, clock := t.Hub.Tried.Target, t.Clock
	return hubconn.ClassOf(c.last.err) == retry.Rejected && !t.Connected &&
		tried.SameAs(t.Target()) && t.Kept(tried).Gap > 1 && t.DPS.Failures == 0 &&
		(!c.usesToken || !clock.ToldAt.IsZero() && !clock.GivenUp) &&
		c.outage.attempts > 0 && time.Since(c.outage.since) >= warnAfter[0]
}

const (
	rejectionFix = "see in the hub's registry that the device is enabled, and has the credential " +
		"that it shows; hub and DPS are asked again, at once by Device.Reprovision (SIGHUP to " +
		"the thermostat)"

	refuses        = "DPS refuses the device"
	earlierRefusal = "an earlier process was refused by dps"

	protocolFix = "assign the device to a hub of the classic connection profile, " +
		"which speaks MQTT 3.1.1" + askingAgain

	// askingAgain is when DPS is asked next, and how to have it asked now.
	askingAgain = "; it is asked again after wait seconds, at once by Device.Reprovision " +
		"(SIGHUP to the thermostat) or a start with another ID scope or credential"

	earlierFix = "compare ID scope, registration ID and credential with the enrollment at DPS, " +
		"and see that it is enabled" + askingAgain

	compareFix = "DPS does not tell which is wrong: compare the ID scope with the overview page " +
		"of the DPS instance in the Azure portal, the registration ID with the enrollment's, and "
	keyFix = "the key with the enrollment's primary or secondary key (in an enrollment group: " +
		"the key derived from the group's and exactly this registration ID)"
	certificateFix = "the certificate with the enrollment's (in an enrollment group: the chain " +
		"up to the enrolled signer)"
)

// refusalFix is what to do about a refusal by DPS.
func (c *core) refusalFix() string {
	failure, ok := errors.AsType[*dps.Error](c.last.dps)
	switch {
	case !ok || failure.Op == opValidate:
		return "mend what the cause names" + askingAgain
	case failure.Mismatched() && c.usesToken:
		return compareFix + keyFix + askingAgain
	case failure.Mismatched():
		return compareFix + certificateFix + askingAgain
	case failure.State == "disabled":
		return "enable the enrollment at DPS" + askingAgain
	case failure.State != "":
		return "look at the enrollment's allocation and its hubs at DPS" + askingAgain
	}
	return "look at the enrollment at DPS" + askingAgain
}
