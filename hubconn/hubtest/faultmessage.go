package hubtest

import (
	"context"
	"strconv"
	"time"

	"github.com/rehome-iot/rehome/internal/mqttserver"
)

// injection ends the connection when a device asks for it by a telemetry message, as the end-to-end tests of the official SDKs do: with a
// property AzIoTHub_FaultOperationType. The message is not taken, nor acknowledged. (Azure IoT SDK for C#: FaultInjectionConstants)
func injection(ctx context.Context, properties map[string]string) error {
	var end error
	switch properties["AzIoTHub_FaultOperationType"] {
	case "KillTcp":
		end = mqttserver.ErrReset
	case "ShutDownMqtt":
		end = errFault
	default:
		return nil // the others show on other protocols alone
	}
	seconds, err := strconv.Atoi(properties["AzIoTHub_FaultOperationDelayInSecs"])
	if err != nil || seconds < 0 || seconds > 300 {
		seconds = 0
	}
	if err := linger(ctx, time.Duration(seconds)*time.Second); err != nil {
		return err
	}
	return end
}
