// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"fmt"
	"slices"
	"strings"
)

// Module is an identity under a device's: with credentials, a twin, methods and messages of its
// own. Functions that take a device ID take "device/module" for it. A module cannot be disabled;
// its device can.
type Module struct {
	// ID is the module ID: 1 to 128 characters of a device ID's.
	ID string
	// PrimaryKey is base64; a token signed with it lets the module in. Default: see [Hub.Put].
	PrimaryKey string
	// SecondaryKey counts as PrimaryKey does.
	SecondaryKey string
	// PrimaryThumbprint is the digest of a client certificate, as a [Device]'s.
	PrimaryThumbprint string
	// SecondaryThumbprint counts as PrimaryThumbprint does.
	SecondaryThumbprint string
	// GenerationID tells apart identities that had the same ID one after the other. The hub sets
	// it.
	GenerationID string
}

// maxModules is how many modules a device may have. Azure docs: 50.
const maxModules = 50

// PutModule creates a module of a device, or changes the one with its ID, as Put does with a
// device.
func (h *Hub) PutModule(deviceID string, m Module) error {
	if err := checkID(m.ID); err != nil {
		return err
	}
	d, err := Device{
		ID: m.ID, PrimaryKey: m.PrimaryKey, SecondaryKey: m.SecondaryKey,
		PrimaryThumbprint: m.PrimaryThumbprint, SecondaryThumbprint: m.SecondaryThumbprint,
	}.normal()
	if err != nil {
		return err
	}
	d.ID = deviceID + "/" + m.ID
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.devices[deviceID] == nil {
		return unknownIdentity("put module", deviceID)
	}
	if h.devices[d.ID] == nil && len(h.modulesOf(deviceID)) >= maxModules {
		return fmt.Errorf("hubtest: device %q has %d modules already", deviceID, maxModules)
	}
	h.put(d)
	return nil
}

// Module returns a module.
func (h *Hub) Module(deviceID, moduleID string) (Module, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.devices[deviceID+"/"+moduleID]
	if !ok {
		return Module{}, false
	}
	return Module{
		ID: moduleID, PrimaryKey: r.PrimaryKey, SecondaryKey: r.SecondaryKey,
		PrimaryThumbprint: r.PrimaryThumbprint, SecondaryThumbprint: r.SecondaryThumbprint,
		GenerationID: r.GenerationID,
	}, true
}

// Modules returns the IDs of a device's modules, sorted.
func (h *Hub) Modules(deviceID string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []string
	for _, id := range h.modulesOf(deviceID) {
		_, module := splitID(id)
		ids = append(ids, module)
	}
	slices.Sort(ids)
	return ids
}

// DeleteModule removes a module and closes its connection. It reports whether there was one.
func (h *Hub) DeleteModule(deviceID, moduleID string) bool {
	id := deviceID + "/" + moduleID
	h.mu.Lock()
	_, ok := h.devices[id]
	delete(h.devices, id)
	h.mu.Unlock()
	h.Disconnect(id)
	return ok
}

// modulesOf returns the identities of a device's modules; h.mu is held.
func (h *Hub) modulesOf(deviceID string) []string {
	var ids []string
	for id := range h.devices {
		if strings.HasPrefix(id, deviceID+"/") {
			ids = append(ids, id)
		}
	}
	return ids
}

// splitID takes an identity apart: "device" or "device/module". A device ID has no slash in it.
func splitID(id string) (device, module string) {
	device, module, _ = strings.Cut(id, "/")
	return device, module
}
