package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// health is what the module sends: how long the program has been running, in seconds. It has an
// identity of its own, so that the back end tells what the board does from what the room is like.
type health struct {
	Uptime float64 `json:"uptime"`
}

// checkModule finds what is wrong with the module's settings.
func (s *settings) checkModule() error {
	if s.module == "" && s.moduleKey == "" {
		return nil
	}
	at := hubconn.Hub{Host: "hub", DeviceID: "device", ModuleID: s.module}
	switch {
	case s.module == "":
		return fmt.Errorf("%s needs -module: give the module's id (or set %s)",
			s.origin("module-key"), envName("module"))
	case s.moduleKey == "":
		return fmt.Errorf("%s needs -module-key: give the module's own key (or set %s)",
			s.origin("module"), envName("module-key"))
	}
	if err := at.Validate(); err != nil || looksLikeKey(s.module) {
		return s.wrong("module", err)
	}
	if err := (dps.SymmetricKey{ID: "module", Key: s.moduleKey}).Validate(); err != nil {
		return s.wrongSecret("module-key", err)
	}
	return nil
}

func (s *settings) newModule(dev *provisioning.Device) *provisioning.Module {
	return &provisioning.Module{
		Device: dev, ID: s.module, Credential: dps.SymmetricKey{ID: s.module, Key: s.moduleKey},
	}
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
		t.log.Error("module ends", "module", m.ID, "cause", fmt.Sprint(err))
	}
}
