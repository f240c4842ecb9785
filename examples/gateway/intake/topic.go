// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/oneline"
)

// The topics that messages come by: those that a device of IoT Hub publishes to, with its property
// bag, and the same for alarms. Azure docs: "Communicate with an IoT hub using the MQTT protocol".
//
//	devices/{registration ID}/messages/events/{properties}
//	devices/{registration ID}/messages/alarms/{properties}
const topicForm = "devices/{id}/messages/events/{properties}"

// parseTopic reads a topic: for whom a message is, and all of it but its body.
func parseTopic(topic string) (device string, lane Lane, m hubconn.Message, err error) {
	wrong := func(format string, args ...any) (string, Lane, hubconn.Message, error) {
		return "", "", m, refused(http.StatusBadRequest, format, args...)
	}
	rest, ok := strings.CutPrefix(topic, "devices/")
	device, rest, found := strings.Cut(rest, "/")
	if !ok || !found || device == "" {
		return wrong("there is no such topic: use %s", topicForm)
	}
	rest, ok = strings.CutPrefix(rest+"/", "messages/")
	name, bag, _ := strings.Cut(rest, "/")
	lane = Lane(name)
	if !ok || lane != Telemetry && lane != Alarms {
		return wrong("there is no such topic: use %s", topicForm)
	}
	bag = strings.TrimPrefix(strings.TrimSuffix(bag, "/"), "?")
	if bag == "" {
		return device, lane, m, nil
	}
	for pair := range strings.SplitSeq(bag, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.PathUnescape(name) // a plus sign is one
		value, err2 := url.PathUnescape(value)
		if err1 != nil || err2 != nil || name == "" {
			return wrong("the property bag of the topic is not written so: use name=value&name=" +
				"value, percent-encoded")
		}
		if err := setProperty(&m, name, value); err != nil {
			return wrong("%v", err)
		}
	}
	return device, lane, m, nil
}

// setProperty sets a property by its name on the wire.
func setProperty(m *hubconn.Message, name, value string) error {
	switch name {
	case "$.mid":
		m.MessageID = value
	case "$.cid":
		m.CorrelationID = value
	case "$.ct":
		m.ContentType = value
	case "$.ce":
		m.ContentEncoding = value
	case "$.sub":
		m.Component = value
	case "$.ctime":
		at, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return refused(http.StatusBadRequest,
				"the property $.ctime is no time: write it as 2026-01-31T12:00:00Z")
		}
		m.CreationTime = at
	default:
		if m.Properties == nil {
			m.Properties = map[string]string{}
		}
		if _, twice := m.Properties[name]; twice {
			return refusedTwice(name)
		}
		m.Properties[name] = value
	}
	return nil
}

// refusedTwice refuses a property that is there twice. Its name is cut before it is quoted: up to
// ten characters stand for one that does not print.
func refusedTwice(name string) error {
	return refused(http.StatusBadRequest, "the property %q is there twice",
		oneline.Of(name, shownName))
}
