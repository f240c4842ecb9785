// SPDX-License-Identifier: Apache-2.0

package console

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// device is a row of the fleet.
type device struct {
	ID       string `json:"id"` // registration ID, or device ID where nobody registered it
	DeviceID string `json:"deviceId"`
	Hub      string `json:"hub,omitempty"`
	// whether it has a live connection to Hub
	Connected  bool   `json:"connected,omitempty"`
	Disabled   bool   `json:"disabled,omitempty"` // its identity at the hub
	Status     string `json:"status,omitempty"`
	Substatus  string `json:"substatus,omitempty"`
	Enrollment string `json:"enrollment,omitempty"` // "" for a group
	Group      string `json:"group,omitempty"`
	Allocation string `json:"allocation,omitempty"` // as its enrollment says now
	Error      string `json:"error,omitempty"`      // the last one
	ErrorAt    int64  `json:"errorAt,omitempty"`    // milliseconds
	Recovered  bool   `json:"recovered,omitempty"`  // something has worked since
}

// hub is a column.
type hub struct {
	Host   string `json:"host"`
	Linked bool   `json:"linked"`
	Weight int    `json:"weight,omitempty"`
}

// change is what has happened to the fleet.
type change struct {
	Devices []device `json:"devices"`
	Gone    []string `json:"gone,omitempty"`
}

// fleet is the picture of all devices as it was read last.
type fleet struct {
	mu      sync.Mutex
	devices map[string]device // by lower-case ID
	hubs    []hub
}

// read reads where devices are, and returns what is not as it was.
func (f *fleet) read(sim *Simulator, h *history) (changed []device, gone []string) {
	now := map[string]device{}
	policies := newPolicies(sim.DPS)
	known := map[string]map[string]string{} // registration by hub and device ID
	for _, p := range sim.DPS.Placements() {
		d := device{
			ID: p.RegistrationID, DeviceID: cmp.Or(p.Device, p.RegistrationID), Hub: p.Hub,
			Status: p.Status, Substatus: p.Substatus, Group: p.GroupID,
		}
		if d.Group == "" {
			d.Enrollment = p.RegistrationID
		}
		d.Allocation = policies.of(d.Group, d.Enrollment)
		if p.ErrorCode != 0 {
			d.Error = p.ErrorMessage
		}
		id := strings.ToLower(d.ID)
		now[id] = d
		if known[d.Hub] == nil {
			known[d.Hub] = map[string]string{}
		}
		known[d.Hub][d.DeviceID] = id
	}
	for _, hub := range sim.Hubs {
		for _, id := range hub.Devices() {
			key, ok := known[hub.Host()][id]
			if !ok { // made at the hub, or left there
				key = strings.ToLower(id)
				if _, taken := now[key]; taken {
					continue
				}
				now[key] = device{ID: id, DeviceID: id, Hub: hub.Host()}
			}
			d := now[key]
			d.Connected = hub.Connected(id)
			if !d.Connected {
				identity, ok := hub.Get(id)
				d.Disabled = ok && identity.Disabled
			}
			now[key] = d
		}
	}
	for key, d := range now {
		last := h.lastError(d.ID, d.DeviceID)
		if last.text != "" {
			d.Error, d.ErrorAt, d.Recovered = last.text, last.at, last.recovered()
		}
		now[key] = d
	}

	f.mu.Lock()
	before := f.devices
	f.devices = now
	f.mu.Unlock()
	for key, d := range now {
		old, ok := before[key]
		if ok && old == d {
			continue
		}
		changed = append(changed, d)
		if d.Connected != old.Connected || d.Hub != old.Hub || d.Substatus != old.Substatus {
			h.note(old, d)
		}
	}
	for key := range before {
		if _, ok := now[key]; !ok {
			gone = append(gone, before[key].ID)
		}
	}
	slices.SortFunc(changed, func(a, b device) int { return cmp.Compare(a.ID, b.ID) })
	return changed, gone
}

// readHubs reads the columns, and says whether they are not as they were.
func (f *fleet) readHubs(sim *Simulator) ([]hub, bool) {
	weights := map[string]int{}
	for _, l := range sim.DPS.Links() {
		weights[l.Host] = l.Weight
	}
	hubs := []hub{}
	for _, h := range sim.Hubs {
		w, linked := weights[h.Host()]
		hubs = append(hubs, hub{Host: h.Host(), Linked: linked, Weight: w})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	same := slices.Equal(f.hubs, hubs)
	f.hubs = hubs
	return hubs, !same
}

// all returns the fleet, sorted, and the columns: empty lists and not nil, which is null in JSON.
func (f *fleet) all() ([]device, []hub) {
	f.mu.Lock()
	defer f.mu.Unlock()
	devices := slices.AppendSeq([]device{}, maps.Values(f.devices))
	slices.SortFunc(devices, func(a, b device) int { return cmp.Compare(a.ID, b.ID) })
	return devices, append([]hub{}, f.hubs...)
}

// find returns a device by its ID.
func (f *fleet) find(id string) (device, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.devices[strings.ToLower(id)]
	return d, ok
}

// policies are the allocation policies of enrollments.
type policies struct{ groups, enrollments map[string]string }

func newPolicies(dps *dpstest.Server) policies {
	p := policies{map[string]string{}, map[string]string{}}
	for _, g := range dps.Groups() {
		p.groups[g.EnrollmentGroupID] = g.AllocationPolicy
	}
	for _, e := range dps.Enrollments() {
		p.enrollments[strings.ToLower(e.RegistrationID)] = e.AllocationPolicy
	}
	return p
}

func (p policies) of(group, enrollment string) string {
	if group != "" {
		return p.groups[group]
	}
	return p.enrollments[strings.ToLower(enrollment)]
}
