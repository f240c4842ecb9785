// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// reading is the body of a message.
type reading struct {
	Temperature float64 `json:"temperature"`
}

func (t *thermostat) sendTelemetry(ctx context.Context, hub *hubconn.Conn) error {
	return t.sendEach(ctx, hub, func() any { return reading{Temperature: t.room.read()} })
}

// sendEach sends what read returns, at once and then at every interval. What cannot be sent is not
// kept: the next reading is worth more than the last.
func (t *thermostat) sendEach(ctx context.Context, hub *hubconn.Conn, read func() any) error {
	ticker := time.NewTicker(t.interval)
	defer ticker.Stop()
	for {
		body, err := json.Marshal(read())
		if err != nil {
			return err
		}
		err = hub.Send(ctx, hubconn.Message{
			Body: body, ContentType: "application/json", ContentEncoding: "utf-8",
			MessageID: t.ids.next(), CreationTime: t.now(),
		})
		if err != nil && ctx.Err() == nil {
			t.log.Warn("message not sent", failure(err))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// now is the time by the device's clock with its correction, if it has one. The zero time, while a
// board without a clock of its own does not know better, leaves the creation time out: the hub
// stamps each message by itself.
func (t *thermostat) now() time.Time {
	status := t.dev.Status()
	if status.ClockSuspect {
		return time.Time{}
	}
	return time.Now().Add(status.ClockOffset)
}

// messageIDs are unique: random for each start of the program, then counted. They let a receiver
// tell duplicates.
type messageIDs struct {
	start string
	count atomic.Uint64
}

func (m *messageIDs) next() string { return m.start + "-" + strconv.FormatUint(m.count.Add(1), 10) }

func newStart() string { return rand.Text()[:12] }
