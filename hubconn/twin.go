// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"unicode"
)

// MaxReportedSize is the largest set of reported properties IoT Hub accepts, as it counts: names
// and texts by their characters, numbers as 8, true and false as 4, and nothing for what JSON puts
// around them (Azure docs: "Understand and use device twins in IoT Hub"). A patch that is larger
// cannot fit.
const MaxReportedSize = 32 << 10

// Twin is the device's document at the hub, as far as the device sees it.
type Twin struct {
	// Desired are the properties that the back end sets and the device follows.
	Desired Properties
	// Reported are the properties that the device sets and the back end reads.
	Reported Properties
}

// Properties is one half of a twin.
type Properties struct {
	// Version is raised by the hub with each change; 0 when the hub gave none.
	Version int64
	// JSON is the object with the properties alone: the service's $version and $metadata are taken
	// out.
	JSON json.RawMessage
}

// Decode decodes the properties into v, as json.Unmarshal does.
func (p Properties) Decode(v any) error { return json.Unmarshal(p.JSON, v) }

// Twin gets the device's or module's twin. While the hub throttles (429) it waits, no less than the
// hub's retry-after, and repeats the request, within ctx. A response that does not come within 30
// s, or has another status, is an *Error; the connection stays up.
func (c *Conn) Twin(ctx context.Context) (Twin, error) {
	t, _, err := c.twin(ctx, "twin")
	return t, err
}

// twin also returns how many patches of desired properties had arrived before the response.
func (c *Conn) twin(ctx context.Context, op string) (t Twin, patches uint64, err error) {
	a, err := c.request(ctx, op, "$iothub/twin/GET/", nil)
	if err != nil {
		return Twin{}, 0, err
	}
	t, err = parseTwin(a.body)
	if err != nil {
		return Twin{}, 0, &Error{Op: op, Hub: c.hub, Class: Server, Err: err}
	}
	return t, a.patches, nil
}

// Report changes the reported properties by a patch: whatever encodes as a JSON object, its members
// merged into what is there, a null (nil) deleting its member (RFC 7396). It returns the new
// version of the reported properties.
//
// A patch of more than MaxReportedSize, or of more than MaxMessageSize bytes as JSON, or one that
// is no object, is refused with an *Error of class Caller before it is sent. While the hub
// throttles (429), Report waits and repeats the request, within ctx. Another status is an *Error
// with it: 400 and 413 are the caller's. After an error without a status the patch may have been
// applied or not. The connection stays up in all these cases. Reports made at the same time may be
// applied in either order.
func (c *Conn) Report(ctx context.Context, patch any) (version int64, err error) {
	body, err := encodePatch(patch)
	if err != nil {
		return 0, &Error{Op: "report", Hub: c.hub, Class: Caller, Err: err}
	}
	a, err := c.request(ctx, "report", "$iothub/twin/PATCH/properties/reported/", body)
	if err != nil {
		return 0, err
	}
	return a.version, nil
}

func encodePatch(patch any) ([]byte, error) {
	body, err := json.Marshal(patch)
	switch {
	case err != nil:
		return nil, fmt.Errorf("patch: %w", err)
	case !bytes.HasPrefix(body, []byte("{")):
		return nil, errors.New("a patch is a JSON object, and this is none")
	case len(body) > MaxMessageSize:
		return nil, fmt.Errorf(
			"patch of %d bytes is larger than the %d that IoT Hub takes", len(body), MaxMessageSize,
		)
	}
	if len(body) <= MaxReportedSize/4 {
		// a number has one digit and a comma at least, so nothing counts more than four times its
		// length
		return body, nil
	}
	var decoded any
	if err := json.Unmarshal(body, &decoded); err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	if size := propertySize(decoded); size > MaxReportedSize {
		return nil, fmt.Errorf(
			"patch of size %d is larger than the %d that reported properties may have", size,
			MaxReportedSize,
		)
	}
	return body, nil
}

// propertySize counts as IoT Hub does. What a patch deletes takes no room.
func propertySize(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if member != nil {
				n += propertySize(name) + propertySize(member)
			}
		}
	case []any:
		for _, element := range v {
			n += propertySize(element)
		}
	case string:
		for _, r := range v {
			if !unicode.IsControl(r) {
				n++
			}
		}
	case bool:
		n = 4
	case float64:
		n = 8
	}
	return n
}

// parseTwin reads the response to a GET: {"desired": {…, "$version": n}, "reported": {…,
// "$version": m}}.
func parseTwin(body []byte) (Twin, error) {
	var halves struct{ Desired, Reported json.RawMessage }
	if err := json.Unmarshal(body, &halves); err != nil {
		return Twin{}, fmt.Errorf("the twin is not what it should be: %w", err)
	}
	var t Twin
	var err error
	if t.Desired, err = parseProperties(halves.Desired); err != nil {
		return Twin{}, fmt.Errorf("desired properties: %w", err)
	}
	if t.Reported, err = parseProperties(halves.Reported); err != nil {
		return Twin{}, fmt.Errorf("reported properties: %w", err)
	}
	return t, nil
}

// parseProperties takes the service's own members out of properties. What is left is encoded anew,
// its numbers as they were.
func parseProperties(body []byte) (Properties, error) {
	if len(body) == 0 {
		return Properties{JSON: json.RawMessage("{}")}, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return Properties{}, errors.New("not a JSON object")
	}
	var p Properties
	if version, ok := members["$version"]; ok {
		p.Version = parseVersion(string(version))
	}
	delete(members, "$version")
	delete(members, "$metadata")
	if members == nil {
		members = map[string]json.RawMessage{} // null
	}
	var err error
	p.JSON, err = json.Marshal(members)
	return p, err
}
