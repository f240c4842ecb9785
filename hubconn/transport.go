// SPDX-License-Identifier: Apache-2.0

package hubconn

import "strconv"

// Transport is how a connection carries MQTT to the hub.
type Transport int

// The transports (Azure docs: "Communicate with an IoT hub using the MQTT protocol").
const (
	// Auto leaves the choice to whoever makes several attempts, as the Device of package
	// provisioning does; a Dialer, which makes one, uses MQTT.
	Auto          Transport = iota
	MQTT                    // MQTT 3.1.1 over TLS, port 8883
	MQTTWebSocket           // MQTT 3.1.1 over a secure WebSocket, port 443
)

// String returns "auto", "mqtt" or "ws".
func (t Transport) String() string {
	switch t {
	case Auto:
		return "auto"
	case MQTT:
		return "mqtt"
	case MQTTWebSocket:
		return "ws"
	}
	return "transport " + strconv.Itoa(int(t))
}
