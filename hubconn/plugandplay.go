// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"bytes"
	"encoding/json"
	"errors"
)

// PropertyAck is how a device acknowledges a writable property in its reported properties: the
// value it now has, why, and which version of the desired properties set it (Azure docs: "IoT Plug
// and Play conventions").
//
//	conn.Report(ctx, map[string]any{"targetTemperature": hubconn.PropertyAck{
//		Value: 21.5, Code: 200, Version: desired.Version,
//	}})
type PropertyAck struct {
	// Value is the value that the property has now, which need not be the desired one.
	Value any `json:"value"`
	// Code is an HTTP status: 200 done, 202 in progress, 203 the device's own default, 400 refused,
	// 500 failed.
	Code int `json:"ac"`
	// Version is that of the desired properties which this acknowledges; 0 for a default of the
	// device's own.
	Version int64 `json:"av"`
	// Description says more, for people.
	Description string `json:"ad,omitempty"`
}

// Component wraps reported properties of a component of the device's Plug and Play model, with the
// mark that tells a component from a property: {name: {"__t": "c", …}}. properties is whatever
// encodes as a JSON object; a nil value in it deletes that property. The result is for
// [Conn.Report], alone or merged with others.
func Component(name string, properties any) map[string]any {
	return map[string]any{name: component{properties}}
}

type component struct{ properties any }

func (c component) MarshalJSON() ([]byte, error) {
	object, err := json.Marshal(c.properties)
	if err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(object, []byte("{"))
	switch {
	case !ok && string(object) != "null":
		return nil, errors.New("the properties of a component are no JSON object")
	case !ok || string(rest) == "}":
		return []byte(`{"__t":"c"}`), nil
	}
	return append([]byte(`{"__t":"c",`), rest...), nil
}
