// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// batchType is the content type of a batch of messages.
const batchType = "application/vnd.microsoft.iothub.json"

// appPrefix begins the header of an application property.
const appPrefix = "iothub-app-"

// systemHeaders are the headers of system properties, and the properties' names over MQTT.
var systemHeaders = map[string]string{
	"iothub-messageid": "$.mid", "iothub-correlationid": "$.cid", "iothub-userid": "$.uid",
	"iothub-expiry": "$.exp", "iothub-contenttype": "$.ct", "iothub-contentencoding": "$.ce",
	"iothub-creationtimeutc": "$.ctime", "iothub-outputname": "$.on",
	"iothub-interface-id": "$.ifid", "iothub-messageschema": "$.schema", "dt-subject": "$.sub",
}

// storeEvents takes the telemetry of a request: one message, or a batch, all of it or nothing.
func (h *Hub) storeEvents(r *http.Request, id string, body []byte) webReply {
	if len(body) > maxMessage {
		return webRefusal(codeTooLarge, "message above 256 KB")
	}
	var messages []Message
	if kind, _, _ := strings.Cut(
		r.Header.Get("Content-Type"), ";",
	); strings.EqualFold(strings.TrimSpace(kind), batchType) {
		var err error
		if messages, err = decodeBatch(body); err != nil {
			return webRefusal(codeFormat, err.Error())
		}
	} else {
		properties := make(map[string]string)
		for name, values := range simnet.SentHeader(r) {
			lower := strings.ToLower(name)
			if strings.HasPrefix(lower, appPrefix) || systemHeaders[lower] != "" {
				properties[name] = values[0]
			}
		}
		messages = []Message{{Body: body}}
		messages[0].Properties, messages[0].System = sortProperties(properties)
	}
	size, count := 0, 0
	for _, m := range messages {
		n := m.size()
		size += n
		count += units(n)
	}
	if size > maxMessage {
		return webRefusal(codeTooLarge, "messages above 256 KB")
	}
	if code := h.spend(count); code != 0 {
		return webRefusal(code, "Total number of messages on IotHub exceeded the allocated quota.")
	}
	at := h.network.Now()
	device, module := splitID(id)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range messages {
		m.DeviceID, m.ModuleID, m.Transport, m.Time = device, module, "https", at
		h.messages.Append(m)
		h.recordMessage(&m)
	}
	return webReply{reply: reply{status: http.StatusNoContent}}
}

// decodeBatch reads a batch: bodies are in base64, unless their element says otherwise.
func decodeBatch(body []byte) ([]Message, error) {
	var elements []struct {
		Body          *string           `json:"body"`
		Base64Encoded *bool             `json:"base64Encoded"`
		Properties    map[string]string `json:"properties"`
	}
	if err := json.Unmarshal(body, &elements); err != nil || len(elements) == 0 {
		return nil, errors.New("body is not a JSON array of messages")
	}
	messages := make([]Message, len(elements))
	for i, e := range elements {
		if e.Body == nil {
			return nil, errors.New("a message without a body")
		}
		messages[i].Body = []byte(*e.Body)
		if e.Base64Encoded == nil || *e.Base64Encoded {
			raw, err := base64.StdEncoding.DecodeString(*e.Body)
			if err != nil {
				return nil, errors.New("a body that is not base64")
			}
			messages[i].Body = raw
		}
		messages[i].Properties, messages[i].System = sortProperties(e.Properties)
	}
	return messages, nil
}

// sortProperties tells the application's properties from the system's by their names in HTTP.
func sortProperties(all map[string]string) (properties, system map[string]string) {
	properties, system = make(map[string]string), make(map[string]string)
	for name, value := range all {
		lower := strings.ToLower(name)
		switch {
		case systemHeaders[lower] != "":
			system[systemHeaders[lower]] = value
		case strings.HasPrefix(lower, appPrefix):
			properties[name[len(appPrefix):]] = value
		default:
			properties[name] = value
		}
	}
	return properties, system
}

// size is what counts against the limit: the body, the properties' names and values, and the system
// properties' values.
func (m *Message) size() int {
	n := len(m.Body)
	for name, value := range m.Properties {
		n += len(name) + len(value)
	}
	for _, value := range m.System {
		n += len(value)
	}
	return n
}
