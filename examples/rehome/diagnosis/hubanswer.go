// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"errors"
	"fmt"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// Codes of IoT Hub.
const (
	codeHubSuspended   = 403001
	codeQuota          = 403002
	codeDeviceDisabled = 403012
	codeDeviceNotFound = 404001
)

// hubStep tells what the hub answered, and what that means.
func (d *doctor) hubStep(r *route, took time.Duration) Step {
	s := Step{Name: StepHub, Result: OK, Took: max(took, 0)}
	over := "over mqtt, port 8883"
	if d.hub.over == hubconn.MQTTWebSocket {
		over = "over websocket, port 443"
	}
	failure, _ := errors.AsType[*hubconn.Error](d.hub.err)
	switch {
	case d.hub.err == nil:
		s.Saw = []string{"connack 0 " + over + ": the hub has accepted the device"}
		if d.hub.second {
			s.secondNeeded("the hub")
		}
		return s
	case errors.Is(d.hub.err, errEnough):
		s.Result, s.Took, s.Cause = Skipped, 0, "it was not connected to, as asked"
		if d.Running != nil {
			s.Cause = "it was not connected to: the connection of the program that runs would end"
			s.Fix = "with -connect it is, all the same"
		}
		if until := d.stored.HubRetryAfter; !until.IsZero() {
			s.Cause = leftAlone("the hub", until)
		} else if d.onlyDeviceConnects() {
			s.Cause = "the certificate that dps has issued is shown by the device alone"
			s.Fix = "rehome send connects with it"
		}
		return s
	case r.tls == nil, failure == nil:
		return Step{Name: StepHub, Result: Skipped, Cause: "it was not reached"}
	}
	s.Result = Failed
	s.Saw = sawOfHub(failure)
	if d.hub.reason != nil {
		s.Saw = append(s.Saw, sawOfHub(d.hub.reason)...)
	}
	s.Cause, s.Fix = d.explainHub(failure)
	return s
}

func sawOfHub(e *hubconn.Error) (saw []string) {
	switch {
	case e.ReturnCode != 0:
		saw = append(saw, fmt.Sprintf("connack return code %d after %s", e.ReturnCode,
			seconds(e.Elapsed)))
	case e.Status != 0:
		saw = append(saw, fmt.Sprintf("status %d, code %d %s %q", e.Status, e.Code, e.Name,
			e.Message))
	default:
		saw = append(saw, lastText(e))
	}
	if e.Wait > 0 {
		saw = append(saw, "retry after "+e.Wait.String())
	}
	if e.TrackingID != "" {
		saw = append(saw, "tracking id "+e.TrackingID)
	}
	return saw
}

// explainHub says what a failure of the hub means.
func (d *doctor) explainHub(e *hubconn.Error) (cause, fix string) {
	switch e.Class {
	case hubconn.Throttled:
		if e.Code == codeQuota {
			return "the hub's quota of messages is used up for today",
				"wait, or raise the hub's tier or its number of units"
		}
		return "the hub throttles: it asks for fewer requests",
			"wait: the device comes again by itself; or raise the hub's tier or its number of units"
	case hubconn.Server:
		return "the hub is in trouble, or overloaded",
			"wait: the device comes again by itself; azure's status page may say more"
	case hubconn.Incompatible:
		return "the hub does not speak mqtt 3.1.1",
			"assign the device to a hub of the classic connection profile"
	case hubconn.Rejected:
		return d.explainRejection()
	case hubconn.Unreachable:
		if e.Status != 0 {
			return "a proxy or firewall answered in the place of the hub",
				"allow " + d.hub.host + " there"
		}
	}
	return "the hub did not answer: " + lastText(e), "wait: the device comes again by itself"
}

// explainRejection says why the hub has turned the device away, as far as that can be known.
func (d *doctor) explainRejection() (cause, fix string) {
	again := "the device registers again by itself, which brings it back"
	if reason := d.hub.reason; reason != nil {
		off := reason.Date.Sub(d.clock.now())
		switch {
		case !reason.Date.IsZero() && !d.clock.told && off.Abs() > tolerance:
			return "the device's clock is wrong, " + offBy(off) + " by the hub's date, and so is " +
					"its token",
				"set it (ntp, or a battery for the clock)"
		case reason.Code == codeHubSuspended:
			return "the hub is suspended", "look at the azure subscription"
		case reason.Code == codeDeviceDisabled:
			return "the device is disabled at the hub", "enable it: azure portal, the hub, devices"
		}
	}
	moved := d.dps.assigned() && d.dps.assignment.Hub != d.hub.host
	switch {
	case moved:
		return "the device does not belong to this hub any more: dps assigns it to " +
			d.dps.assignment.Hub, "nothing: the device registers again and goes there"
	case d.hub.reason != nil && d.hub.reason.Code == codeDeviceNotFound:
		return "the hub does not know the device: it was deleted there, or is disabled",
			"enable it at the hub if it is disabled; if it was deleted, " + again
	}
	return "the hub does not accept the device with this credential: deleted or disabled there, " +
		"or with another key", "look at the device at the hub; " + again
}
