// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"encoding/json"
	"math"
	"time"
)

// invokeMethod calls a direct method, and answers when the device has.
func (c *restCall) invokeMethod() (restResponse, error) {
	var body struct {
		MethodName string          `json:"methodName"`
		Response   *float64        `json:"responseTimeoutInSeconds"`
		Connect    *float64        `json:"connectTimeoutInSeconds"`
		Payload    json.RawMessage `json:"payload"`
	}
	if err := c.decode(&body); err != nil {
		return restResponse{}, err
	}
	var o InvokeOptions
	for _, timeout := range []struct {
		seconds *float64
		to      *time.Duration
	}{{body.Response, &o.ResponseTimeout}, {body.Connect, &o.ConnectTimeout}} {
		if timeout.seconds != nil {
			// bounded, then checked by Invoke
			*timeout.to = time.Duration(
				math.Max(-1, math.Min(*timeout.seconds, 1e6)) * float64(time.Second),
			)
		}
	}
	status, payload, err := c.hub.Invoke(c.Context(), c.id(), body.MethodName, body.Payload, o)
	if err != nil {
		return restResponse{}, err
	}
	if len(payload) == 0 {
		payload = json.RawMessage("null")
	}
	return restResponse{body: map[string]any{"status": status, "payload": payload}}, nil
}
