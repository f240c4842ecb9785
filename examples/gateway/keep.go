// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/examples/gateway/intake"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/outbox"
	"github.com/rehome-iot/rehome/internal/oneline"
)

// later is when a sender that met trouble which passes may come again.
const later = 5 * time.Second

// plausible is before any time that a clock shows which has been set.
var plausible = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// Keep implements intake.Keeper: the messages are kept by the replica that runs the device, or is
// to, so that those of one device are in one order. Another replica forwards them there.
func (g *gateway) Keep(
	ctx context.Context, device string, lane intake.Lane, messages ...hubconn.Message,
) error {
	if g.list.find(device) == nil {
		return &intake.Refusal{
			Status: http.StatusNotFound,
			Text: "there is no device " + oneline.Of(device, 128) +
				": add it to the list of identities",
		}
	}
	now := time.Now()
	for i := range messages {
		// It may be delivered much later. A board that does not know the time yet says nothing.
		if messages[i].CreationTime.IsZero() && now.After(plausible) {
			messages[i].CreationTime = now
		}
		if err := check(device, messages[i]); err != nil {
			return err
		}
	}
	if g.o.replicated() {
		r := g.joined.Load()
		if r == nil {
			return errNotJoined
		}
		holder, err := r.holder(device)
		if err != nil {
			return err
		}
		if holder != "" {
			return r.forward(ctx, holder, device, lane, messages)
		}
	}
	return g.keepHere(ctx, device, lane, messages)
}

// longestID is at least as long as the ID that a message without one gets on its way.
var longestID = strings.Repeat("x", 64)

// check refuses what no hub would take: before any of several messages is kept, and as they came,
// since JSON on the way to another replica replaces what is no UTF-8.
func check(device string, m hubconn.Message) error {
	if m.MessageID == "" {
		m.MessageID = longestID
	}
	if err := m.Check(hubconn.Hub{DeviceID: device}); err != nil {
		return &intake.Refusal{Status: http.StatusBadRequest, Text: whyNot(err)}
	}
	return nil
}

// leastKept is the smallest lane: the largest message has room in it, and what is read of a full
// one to be handed over to another replica.
const leastKept = 320 << 10

// keepHere keeps messages in the outbox of this process: in parts that have room in a lane, since a
// replica that hands over adds IDs to what was a full one.
func (g *gateway) keepHere(
	ctx context.Context, device string, lane intake.Lane, messages []hubconn.Message,
) error {
	for len(messages) > 0 {
		n, size := 1, sizeOf(&messages[0])
		for ; n < len(messages); n++ {
			if size += sizeOf(&messages[n]); size > g.o.keepBytes/2 {
				break
			}
		}
		if err := g.keepPart(ctx, device, lane, messages[:n]); err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

// sizeOf is how many bytes a message takes in the outbox, or some more.
func sizeOf(m *hubconn.Message) int64 {
	size := 128 + len(m.Body) + len(m.MessageID) + len(m.CorrelationID) + len(m.ContentType) +
		len(m.ContentEncoding) + len(m.Component)
	for name, value := range m.Properties {
		size += 16 + len(name) + len(value)
	}
	return int64(size)
}

// keepPart keeps all of the messages, or none.
func (g *gateway) keepPart(
	ctx context.Context, device string, lane intake.Lane, messages []hubconn.Message,
) error {
	box, err := g.box(device)
	if err == nil {
		send := box.Send
		if lane == intake.Alarms {
			send = box.SendAlarm
		}
		err = send(ctx, messages...)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, outbox.ErrFull):
		return &intake.Refusal{
			Status: http.StatusServiceUnavailable, RetryAfter: later,
			Text: "the device has no room for more: its hub takes nothing, or not enough",
		}
	case hubconn.ClassOf(err) == hubconn.Caller:
		return &intake.Refusal{Status: http.StatusBadRequest, Text: whyNot(err)}
	}
	return &intake.Refusal{
		Status: http.StatusServiceUnavailable, RetryAfter: later, Text: "not kept: " + err.Error(),
	}
}

// whyNot is what the hub's client says about a message, without the file that it would be kept in.
func whyNot(err error) string {
	if failure, ok := errors.AsType[*hubconn.Error](err); ok && failure.Err != nil {
		err = failure.Err
	}
	return oneline.Of(err.Error(), 300)
}
