// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
)

// health is what the module sends: how long the program has been running, in seconds. It has an
// identity of its own, so that the back end tells what the board does from what the room is like.
type health struct {
	Uptime float64 `json:"uptime"`
}

// runModule runs the module until ctx ends. Its connection is another than the device's, and
// whatever is wrong with it is no reason to end that.
func (t *thermostat) runModule(ctx context.Context, m *provisioning.Module) {
	begun := time.Now()
	err := m.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
		t.keep(ctx, "health", hub, func(ctx context.Context, hub *hubconn.Conn) error {
			return t.sendEach(ctx, hub, func() any {
				return health{Uptime: time.Since(begun).Round(time.Second).Seconds()}
			})
		})
		return context.Cause(ctx)
	})
	if ctx.Err() == nil {
		t.log.Error("module ends", "module", m.ID, failure(err))
	}
}
