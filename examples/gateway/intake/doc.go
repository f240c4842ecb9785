// SPDX-License-Identifier: Apache-2.0

// Package intake takes telemetry for devices from local senders, by HTTP and by MQTT. Either says
// yes when the message is durably kept, and not before.
package intake

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// A Keeper keeps messages of a device until its hub has them.
type Keeper interface {
	// Keep returns nil when all of the messages are on the medium, here or with the replica that
	// runs the device; else a *Refusal, or the cause of ctx.
	Keep(ctx context.Context, device string, lane Lane, messages ...hubconn.Message) error
}

// Lane says whether messages go before others.
type Lane string

// The lanes of a device, each in an order of its own.
const (
	Telemetry Lane = "events"
	Alarms    Lane = "alarms"
)

// Refusal is why messages were not taken.
type Refusal struct {
	// Status is that of HTTP which says the same.
	Status int
	// Text is one line for whoever wrote the sender.
	Text string
	// RetryAfter is when it may be different; zero: not before somebody changes something.
	RetryAfter time.Duration
}

// Error returns Text.
func (r *Refusal) Error() string { return r.Text }

// Permanent says that to send the same message again is in vain.
func (r *Refusal) Permanent() bool { return r.Status < http.StatusInternalServerError }

func refused(status int, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Text: fmt.Sprintf(format, args...)}
}
