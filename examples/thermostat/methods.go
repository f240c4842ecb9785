// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// answerFirst is the time between a method's answer and a reboot, at least: the answer goes out
// over the connection that the reboot ends.
const answerFirst = time.Second

// longestDelay is how far ahead a reboot can be asked for.
const longestDelay = time.Hour

// answerMethods serves the direct methods. Both answer 202, accepted: what they ask for takes
// longer than an answer may, or ends the connection that the answer goes by.
func (t *thermostat) answerMethods(ctx context.Context, hub *hubconn.Conn) error {
	return hub.HandleMethods(ctx, hubconn.Methods{Handlers: t.methods(), Default: t.unknownMethod})
}

func (t *thermostat) methods() map[string]hubconn.MethodHandler {
	return map[string]hubconn.MethodHandler{"reprovision": t.reprovision, "reboot": t.reboot}
}

func (t *thermostat) reprovision(context.Context, hubconn.MethodRequest) (int, any, error) {
	t.orders.askReprovision("direct method")
	return t.answer("reprovision", 202, message{"asking dps where the device belongs"})
}

func (t *thermostat) reboot(_ context.Context, r hubconn.MethodRequest) (int, any, error) {
	var request struct {
		Delay float64 `json:"delay"` // seconds
	}
	if len(r.Payload) > 0 {
		if err := json.Unmarshal(r.Payload, &request); err != nil {
			return t.answer(
				"reboot", 400, message{`the payload must be {"delay": seconds}, or none`},
			)
		}
	}
	if request.Delay < 0 || request.Delay > longestDelay.Seconds() {
		return t.answer("reboot", 400, message{
			fmt.Sprintf("delay must be from 0 to %.0f seconds", longestDelay.Seconds()),
		})
	}
	delay := max(answerFirst, time.Duration(request.Delay*float64(time.Second)))
	if !t.orders.askReboot(delay) {
		return t.answer("reboot", 409, message{"a reboot is under way"})
	}
	return t.answer("reboot", 202, map[string]float64{"delay": delay.Seconds()})
}

func (t *thermostat) unknownMethod(_ context.Context, r hubconn.MethodRequest) (int, any, error) {
	return t.answer(excerpt([]byte(r.Name)), 501, message{"there is no such method"})
}

// message is the payload of an answer that says something in words.
type message struct {
	Message string `json:"message"`
}

// answer logs a call and answers it. What it was called with is not logged.
func (t *thermostat) answer(method string, status int, payload any) (int, any, error) {
	t.log.Info("method called", "method", method, "status", status)
	return status, payload, nil
}
