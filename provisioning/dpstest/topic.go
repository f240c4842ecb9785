// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"net/url"
	"strings"
)

// A userName is what a device says of itself in its MQTT user name.
type userName struct {
	scope          string
	registrationID string
	version        string // "" if it names none
	client         string // what it says it is, percent-encoded; "" for nothing
}

// parseUserName reads
//
//	{idScope}/registrations/{registrationId}/api-version={version}&ClientVersion={name}
//
// with the parameters in any order, ClientVersion or all of them absent, and with or without a
// question mark before them.
func parseUserName(text string) (userName, bool) {
	scope, rest, ok := strings.Cut(text, "/registrations/")
	if !ok || scope == "" {
		return userName{}, false
	}
	// neither of the IDs holds a slash, but a product may
	id, parameters, _ := strings.Cut(rest, "/")
	if unescaped, err := url.PathUnescape(id); err == nil {
		id = unescaped
	}
	if id == "" {
		return userName{}, false
	}
	u := userName{scope: scope, registrationID: id}
	parameters = strings.TrimPrefix(parameters, "?")
	u.version, _ = parameter(parameters, "api-version")
	u.client, _ = parameter(parameters, "ClientVersion")
	return u, true
}

// A topic is a request of the MQTT device API.
type topic struct {
	op          Op
	requestID   string // to be echoed as it is
	operationID string
}

// maxRequestID keeps the topic of a response, which echoes the ID, within what MQTT can carry.
const maxRequestID = 8 << 10

const (
	registerTopic = "$dps/registrations/PUT/iotdps-register/?"
	pollTopic     = "$dps/registrations/GET/iotdps-get-operationstatus/?"
)

// parseTopic reads the two topics a device may publish to. It reports false for any other.
func parseTopic(text string) (topic, bool) {
	var t topic
	rest, ok := strings.CutPrefix(text, registerTopic)
	if ok {
		t.op = Register
	} else if rest, ok = strings.CutPrefix(text, pollTopic); ok {
		t.op = Poll
		raw, _ := parameter(rest, "operationId")
		t.operationID = raw
		if unescaped, err := url.PathUnescape(raw); err == nil {
			t.operationID = unescaped
		}
	} else {
		return topic{}, false
	}
	t.requestID, ok = parameter(rest, "$rid")
	return t, ok && len(t.requestID) <= maxRequestID
}

// parameter finds a value among "name=value" pairs, raw, whatever the case of the name.
func parameter(pairs, name string) (string, bool) {
	for pair := range strings.SplitSeq(pairs, "&") {
		if key, value, ok := strings.Cut(pair, "="); ok && strings.EqualFold(key, name) {
			return value, true
		}
	}
	return "", false
}
