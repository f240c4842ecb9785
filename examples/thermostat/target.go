// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/rehome-iot/rehome/hubconn"
)

// The temperatures that can be asked for, in °C.
const (
	minTarget = 5
	maxTarget = 35
)

// targetName is the writable property of the model.
const targetName = "targetTemperature"

// followDesired does what the back end wants, and tells it so: each change of the desired
// targetTemperature is answered in the reported properties. On every new connection the current one
// is answered again, since the hub may be another, or have lost what it was told.
func (t *thermostat) followDesired(ctx context.Context, hub *hubconn.Conn) error {
	for desired, err := range hub.Desired(ctx) {
		if err != nil {
			return err
		}
		t.reprovisionIfWanted(ctx, hub, desired)
		ack, changed := t.setTarget(desired)
		if !changed {
			continue
		}
		t.log.Info(
			"target temperature", "value", ack.Value, "version", desired.Version, "status",
			ack.Code, "cause", ack.Description,
		)
		if _, err := hub.Report(ctx, map[string]any{targetName: ack}); err != nil &&
			ctx.Err() == nil {
			t.log.Warn("target temperature not acknowledged", "version", desired.Version,
				failure(err))
		}
	}
	return nil
}

// setTarget sets the target that a state or a change of the desired properties asks for, if it says
// anything of it, and returns the answer to that.
func (t *thermostat) setTarget(desired hubconn.Desired) (ack hubconn.PropertyAck, changed bool) {
	var properties map[string]json.RawMessage
	if err := desired.Decode(&properties); err != nil {
		return ack, false // the hub has objects only
	}
	value, named := properties[targetName]
	switch {
	case !named && !desired.Full:
		return ack, false
	case !named, string(value) == "null": // never set, or deleted
		t.room.setTarget(defaultTarget)
		return hubconn.PropertyAck{
			Value: defaultTarget, Code: 203, Description: "the default",
		}, true
	}
	var celsius float64
	if err := json.Unmarshal(value, &celsius); err != nil || celsius < minTarget ||
		celsius > maxTarget {
		return hubconn.PropertyAck{
			Value: t.room.currentTarget(), Code: 400, Version: desired.Version,
			Description: fmt.Sprintf("must be a number from %d to %d", minTarget, maxTarget),
		}, true
	}
	t.room.setTarget(celsius)
	return hubconn.PropertyAck{Value: celsius, Code: 200, Version: desired.Version}, true
}
