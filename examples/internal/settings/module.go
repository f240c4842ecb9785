// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"fmt"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// checkModule finds what is wrong with the module's settings.
func (s *Settings) checkModule() error {
	if s.Module == "" && s.ModuleKey == "" {
		return nil
	}
	at := hubconn.Hub{Host: "hub", DeviceID: "device", ModuleID: s.Module}
	switch {
	case s.Module == "":
		return fmt.Errorf("%s needs -module: give the module's id (or set %s)",
			s.origin("module-key"), s.EnvName("module"))
	case s.ModuleKey == "":
		return fmt.Errorf("%s needs -module-key: give the module's own key (or set %s)",
			s.origin("module"), s.EnvName("module-key"))
	}
	if err := at.Validate(); err != nil || LooksLikeKey(s.Module) {
		return s.Wrong("module", err)
	}
	if err := (dps.SymmetricKey{ID: "module", Key: s.ModuleKey}).Validate(); err != nil {
		return s.wrongSecret("module-key", err)
	}
	return nil
}

// NewModule is the module of a device that Device has made, nil if the settings name none.
func (s *Settings) NewModule(dev *provisioning.Device) *provisioning.Module {
	if s.Module == "" {
		return nil
	}
	return &provisioning.Module{
		Device: dev, ID: s.Module, Credential: dps.SymmetricKey{ID: s.Module, Key: s.ModuleKey},
	}
}
