// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/rehome-iot/rehome/internal/oneline"
)

// Post sends telemetry over HTTPS, without a connection that stays: for devices that wake, send and
// sleep. One message, or several as one batch, of MaxMessageSize together (in base64: bodies of 190
// KB fit): the hub accepts all of them or none. It makes one attempt, bounded by ctx and by
// DialTimeout and ConnectTimeout together. Every error is an *Error; one of any class but Caller
// leaves open whether the hub has the messages. They count as sent with the hub's 204 alone:
// another success, such as the page of a captive portal with 200, is an error of class Unreachable.
//
// HTTPS carries less than MQTT: property names are HTTP tokens, values printable ASCII. Others are
// refused.
func (d *Dialer) Post(
	ctx context.Context, hub Hub, credential Credential, messages ...Message,
) error {
	fault := func(err error) error { return &Error{Op: "post", Hub: hub, Class: Caller, Err: err} }
	if err := d.validate(hub, credential); err != nil {
		return fault(err)
	}
	if len(messages) == 0 {
		return fault(errors.New("no message"))
	}
	total := 0
	properties := make([]map[string]string, len(messages))
	for i := range messages {
		system := messages[i].system()
		size, err := messages[i].check(hub, &system)
		if err == nil {
			properties[i], err = messages[i].headers()
		}
		if err != nil {
			if len(messages) > 1 {
				err = fmt.Errorf("message %d: %w", i, err)
			}
			return fault(err)
		}
		if total += size; total > MaxMessageSize {
			return fault(
				fmt.Errorf("batch of more than the %d bytes that IoT Hub takes", MaxMessageSize),
			)
		}
	}
	r := apiRequest{
		op: "post", method: http.MethodPost, path: "/messages/events", header: http.Header{},
	}
	if len(messages) == 1 {
		r.body = messages[0].Body
		r.header.Set("Content-Type", "application/octet-stream")
		for name, value := range properties[0] {
			r.header[name] = []string{value} // as it is: the application's names keep their case
		}
	} else {
		var err error
		if r.body, err = batch(messages, properties); err != nil {
			return fault(err)
		}
		if len(r.body) > MaxMessageSize {
			return fault(fmt.Errorf(
				"batch of %d bytes, encoded, is larger than the %d that IoT Hub takes", len(r.body),
				MaxMessageSize,
			))
		}
		r.header.Set("Content-Type", "application/vnd.microsoft.iothub.json")
	}
	r.header["iothub-to"] = []string{"/" + hub.path() + "/messages/events"}
	if _, err := d.call(ctx, hub, credential, r); err != nil {
		return err
	}
	return nil
}

// element is a message in a batch.
type element struct {
	Body       []byte            `json:"body"` // in base64
	Properties map[string]string `json:"properties,omitempty"`
}

// batch is the body of several messages.
func batch(messages []Message, properties []map[string]string) ([]byte, error) {
	elements := make([]element, len(messages))
	for i, m := range messages {
		elements[i] = element{Body: append([]byte{}, m.Body...), Properties: properties[i]}
	}
	return json.Marshal(elements)
}

// BatchLen is how many of a device's messages, from the first on, go into one batch of
// [Dialer.Post]: the most that fit in it, encoded. A message that Post would refuse, such as one
// that is too large, is in no batch: the one before it ends there, and where it is the first, it is
// 1, for Post to say what is wrong. It is 0 for no message.
func BatchLen(messages []Message) int {
	size := len("[]")
	for i := range messages {
		system := messages[i].system()
		_, err := messages[i].check(Hub{}, &system)
		e := element{}
		if err == nil {
			e.Properties, err = messages[i].headers()
		}
		if err != nil {
			return max(i, 1)
		}
		frame, _ := json.Marshal(e) // of texts, and no body: "null" in place of its base64
		size += len(frame) - len("null") + len(`""`)
		size += base64.StdEncoding.EncodedLen(len(messages[i].Body))
		if i > 0 {
			size += len(",")
		}
		if size > MaxMessageSize {
			return max(i, 1)
		}
	}
	return len(messages)
}

// headers are a message's properties by the names they have in HTTP.
func (m *Message) headers() (map[string]string, error) {
	created := ""
	if !m.CreationTime.IsZero() {
		created = m.CreationTime.UTC().Format(timeFormat)
	}
	headers := map[string]string{}
	for name, value := range map[string]string{
		"iothub-messageid": m.MessageID, "iothub-correlationid": m.CorrelationID,
		"iothub-contenttype": m.ContentType, "iothub-contentencoding": m.ContentEncoding,
		"iothub-creationtimeutc": created, "dt-subject": m.Component, "iothub-outputname": m.Output,
	} {
		if value == "" {
			continue
		}
		if !printable(value) {
			return nil, fmt.Errorf("%s is not printable ASCII, as HTTPS needs it", name)
		}
		headers[name] = value
	}
	for name, value := range m.Properties {
		if strings.Trim(name, alphanumeric+"!#$%&'*+-.^_`|~") != "" {
			return nil, fmt.Errorf("property name %q is not an HTTP token", oneline.ASCII(name, 64))
		}
		if !printable(value) {
			return nil, fmt.Errorf("property %q is not printable ASCII, as HTTPS needs it", name)
		}
		headers["iothub-app-"+name] = value
	}
	return headers, nil
}

func printable(s string) bool { return oneline.ASCII(s, len(s)) == s && strings.TrimSpace(s) == s }
