// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
)

// again is how long a part of a session that was interrupted waits before it begins again.
const again = 10 * time.Second

// thermostat is what outlives a connection.
type thermostat struct {
	_ [0]func() // never compared, which saves code in a device's program

	dev      *provisioning.Device
	log      *slog.Logger
	interval time.Duration
	room     *room
	orders   *orders
	ids      messageIDs
}

// session is what the device does on a connection, each part in a goroutine. It returns when the
// connection, or the program, ends and all parts have: not before, or the device would lose a
// connection that is good.
func (t *thermostat) session(ctx context.Context, hub *hubconn.Conn) error {
	var running sync.WaitGroup
	for name, part := range map[string]func(context.Context, *hubconn.Conn) error{
		"telemetry": t.sendTelemetry,
		"desired":   t.followDesired,
		"methods":   t.answerMethods,
		"messages":  t.logMessages,
	} {
		running.Go(func() { t.keep(ctx, name, hub, part) })
	}
	running.Wait()
	return context.Cause(ctx)
}

// keep runs a part until ctx ends. One that fails alone, say because the hub refused its
// subscription, leaves the others at work.
func (t *thermostat) keep(
	ctx context.Context, name string, hub *hubconn.Conn,
	part func(context.Context, *hubconn.Conn) error,
) {
	for {
		err := part(ctx, hub)
		if hub.Context().Err() != nil {
			<-ctx.Done() // it ends with the connection, though a moment later than the part may
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it has ended")
		}
		t.log.Warn("interrupted: it begins again", "part", name, failure(err),
			"wait", again.Seconds())
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return
		}
	}
}
