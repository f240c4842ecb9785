// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"

	"github.com/rehome-iot/rehome/hubconn"
)

// reprovisionName is the writable property that reprovisions the device whenever it is set to
// another value, such as today's date. Unlike a direct method it reaches a device that is offline.
const reprovisionName = "reprovisionRequest"

// reprovisionIfWanted asks DPS where the device belongs if the back end has set the property to
// another value than the device has reported. It reports first: the connection may end.
func (t *thermostat) reprovisionIfWanted(
	ctx context.Context, hub *hubconn.Conn, desired hubconn.Desired,
) {
	wanted, ok := jsonText(member(desired.JSON, reprovisionName))
	if !ok {
		return
	}
	twin, err := hub.Twin(ctx)
	if err != nil {
		t.log.Warn("twin not read: not reprovisioning", failure(err))
		return
	}
	acknowledged := member(twin.Reported.JSON, reprovisionName)
	if done, ok := jsonText(member(acknowledged, "value")); ok && done == wanted {
		return
	}
	ack := hubconn.PropertyAck{Value: wanted, Code: 202, Version: desired.Version}
	if _, err := hub.Report(ctx, map[string]any{reprovisionName: ack}); err != nil {
		t.log.Warn("reprovisioning not acknowledged", failure(err))
		return // else every connection would do it again
	}
	t.orders.askReprovision("desired property")
}

// member is one of a JSON object, nil if there is none of that name.
func member(object json.RawMessage, name string) json.RawMessage {
	var all map[string]json.RawMessage
	_ = json.Unmarshal(object, &all) // the hub has objects only
	return all[name]
}

// jsonText is a JSON string, if it is one and not empty.
func jsonText(value json.RawMessage) (s string, ok bool) {
	err := json.Unmarshal(value, &s)
	return s, err == nil && s != ""
}
