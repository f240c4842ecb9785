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
	wanted, ok := stringProperty(desired.JSON, reprovisionName)
	if !ok {
		return
	}
	twin, err := hub.Twin(ctx)
	if err != nil {
		t.log.Warn("the twin cannot be read: not reprovisioning", "cause", err.Error())
		return
	}
	if done, ok := reportedString(twin.Reported.JSON, reprovisionName); ok && done == wanted {
		return
	}
	ack := hubconn.PropertyAck{Value: wanted, Code: 202, Version: desired.Version}
	if _, err := hub.Report(ctx, map[string]any{reprovisionName: ack}); err != nil {
		t.log.Warn("reprovisioning not acknowledged: not done", "cause", err.Error())
		return // else every connection would do it again
	}
	t.orders.askReprovision("desired property")
}

func stringProperty(properties json.RawMessage, name string) (value string, ok bool) {
	var all map[string]json.RawMessage
	if json.Unmarshal(properties, &all) != nil {
		return "", false
	}
	return value, json.Unmarshal(all[name], &value) == nil && value != ""
}

// reportedString is the value that was acknowledged.
func reportedString(properties json.RawMessage, name string) (value string, ok bool) {
	var all map[string]json.RawMessage
	if json.Unmarshal(properties, &all) != nil {
		return "", false
	}
	return stringProperty(all[name], "value")
}
