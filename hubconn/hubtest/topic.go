// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// Message is a telemetry message as the hub took it.
type Message struct {
	// DeviceID is the device the message came from, or whose module it came from.
	DeviceID string
	// ModuleID is the module the message came from, "" for the device itself.
	ModuleID string
	// Transport is "mqtt", "ws" (MQTT over WebSocket) or "https".
	Transport string
	// Time is when the hub received the message, by the services' clock ([simnet.Network.Now]).
	Time time.Time
	// Body is the payload as it came. It is shared with the log: do not write to it.
	Body []byte
	// Properties are the application properties.
	Properties map[string]string
	// System are the system properties by their names on the wire: "$.mid", "$.cid", "$.ct",
	// "$.ce", "$.ctime" and so on.
	System map[string]string
	// QoS is the quality of service of the PUBLISH, 0 or 1. It is 0 over HTTPS.
	QoS byte
	// Duplicate is the DUP flag of the PUBLISH: the device says that it may have sent the message
	// before.
	Duplicate bool
}

// route is what a topic is for.
type route int

const (
	unknown route = iota
	telemetry
	twinGet
	twinReport
	methodResponse
	certificateRequest
)

// address is a topic parsed.
type address struct {
	route    route
	identity string // of telemetry: "device" or "device/module"
	bag      string // properties, or what follows the question mark
	status   string // of a method's response
}

// parseTopic parses the topics that a device may publish to. The IDs in topics are not escaped.
// Azure docs: "Communicate with an IoT hub using the MQTT protocol".
func parseTopic(topic string) (address, bool) {
	if rest, ok := strings.CutPrefix(topic, "devices/"); ok {
		device, rest, _ := strings.Cut(rest, "/")
		identity := device
		if module, ok := strings.CutPrefix(rest, "modules/"); ok {
			var name string
			name, rest, _ = strings.Cut(module, "/")
			if name == "" {
				return address{}, false
			}
			identity += "/" + name
		}
		bag, ok := strings.CutPrefix(rest+"/", "messages/events/")
		if !ok || device == "" {
			return address{}, false
		}
		bag = strings.TrimSuffix(bag, "/")
		return address{route: telemetry, identity: identity, bag: bag}, true
	}
	if bag, ok := strings.CutPrefix(topic, "$iothub/twin/GET/"); ok {
		return address{
			route: twinGet, bag: strings.TrimPrefix(bag, "?"),
		}, strings.HasPrefix(bag, "?")
	}
	if bag, ok := strings.CutPrefix(topic, "$iothub/twin/PATCH/properties/reported/"); ok {
		return address{
			route: twinReport, bag: strings.TrimPrefix(bag, "?"),
		}, strings.HasPrefix(bag, "?")
	}
	if bag, ok := strings.CutPrefix(topic, "$iothub/credentials/POST/issueCertificate/"); ok {
		return address{
			route: certificateRequest, bag: strings.TrimPrefix(bag, "?"),
		}, bag == "" || strings.HasPrefix(bag, "?")
	}
	if rest, ok := strings.CutPrefix(topic, "$iothub/methods/res/"); ok {
		status, bag, ok := strings.Cut(rest, "/?")
		return address{route: methodResponse, status: status, bag: bag}, ok && status != ""
	}
	return address{}, false
}

// mayPublish reports whether a client may publish to an address: telemetry under its own name only.
func (a address) mayPublish(clientID string) bool {
	if a.route == certificateRequest {
		return !strings.Contains(clientID, "/") // certificates are for devices
	}
	return a.route != telemetry || a.identity == clientID
}

// maySubscribe reports whether a client may subscribe to a filter.
func maySubscribe(clientID, filter string) bool {
	switch filter {
	case "$iothub/methods/POST/#", "$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#":
		return true
	}
	device, module, isModule := strings.Cut(clientID, "/")
	filter = ownFilter(clientID, filter)
	if !isModule && filter == credentialFilter {
		return true
	}
	if !isModule {
		return slices.Contains(commandFilters(device), filter)
	}
	rest, ok := strings.CutPrefix(filter, "devices/"+device+"/modules/"+module+"/")
	return ok && (rest == "#" || rest == "inputs/#" || rest == "messages/devicebound/#")
}

// commandFilters are those by which a device gets its messages: the documented one, and the wider
// ones of the published samples, whose recorded output shows that they serve. Azure docs: "Use MQTT
// to develop an IoT device client"; github.com/Azure-Samples/IoTMQTTSample, "mosquitto_pub".
func commandFilters(device string) []string {
	own := "devices/" + device + "/messages/"
	return []string{own + "devicebound/#", own + "#", "#"}
}

// ownFilter puts a client's own IDs in the place of the wildcards that stand for them: the SDK
// Embedded C subscribes to "devices/+/messages/devicebound/#". Nobody gets more by it: the hub
// sends a client no other's messages.
func ownFilter(clientID, filter string) string {
	device, module := splitID(clientID)
	rest, ok := strings.CutPrefix(filter, "devices/+/")
	if ok {
		filter = "devices/" + device + "/" + rest
	}
	own := "devices/" + device + "/modules/"
	if rest, ok = strings.CutPrefix(filter, own+"+/"); ok && module != "" {
		filter = own + module + "/" + rest
	}
	return filter
}

// parseBag decodes a property bag: name=value pairs joined by &, percent-encoded, a plus sign
// meaning itself. Some clients end the topic with a slash. System properties come apart from the
// application's; anything that cannot be decoded is taken as it is.
func parseBag(bag string) (properties, system map[string]string) {
	properties, system = make(map[string]string), make(map[string]string)
	bag = strings.TrimPrefix(strings.TrimSuffix(bag, "/"), "?")
	if bag == "" {
		return properties, system
	}
	for pair := range strings.SplitSeq(bag, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, value = unescape(name), unescape(value)
		switch {
		case name == "":
		case strings.HasPrefix(name, "$."):
			system[name] = value
		default:
			properties[name] = value
		}
	}
	return properties, system
}

func unescape(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}
