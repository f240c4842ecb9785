// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// stateVersion is the form of saved states that this package writes and reads.
const stateVersion = 1

// hubState is what a hub keeps over a restart. Connections, logs, faults and limits are not part of
// it.
type hubState struct {
	Version    int               `json:"version"`
	Host       string            `json:"host"`
	Policies   map[string]string `json:"policies"`
	Generation int               `json:"generation"`
	ETags      uint64            `json:"etags"`
	Devices    []deviceState     `json:"devices"`
	// in DER: the authorities that a hub without credential sync trusts; null with it
	Trusted [][]byte `json:"trusted"`
}

type deviceState struct {
	Device   Device    `json:"device"` // of a module too, with the ID "device/module"
	Twin     Twin      `json:"twin"`
	Sequence uint64    `json:"sequence"`
	Queue    []Queued  `json:"queue,omitempty"`
	Session  []session `json:"session,omitempty"`
	Resumes  bool      `json:"resumes,omitempty"` // it has a session, maybe without subscriptions
}

type session struct {
	Filter string `json:"filter"`
	QoS    byte   `json:"qos"`
}

// Save writes the hub's keys and registry with twins, modules, queued messages and subscriptions of
// sessions as JSON, for Load, and the certificate authorities that it trusts where it does not keep
// in step with its issuer. The output holds secrets.
func (h *Hub) Save(w io.Writer) error {
	state := hubState{Version: stateVersion, Host: h.host, Policies: h.policies.all()}
	now := h.network.Now()
	h.mu.Lock()
	state.Generation, state.ETags, state.Trusted = h.generation, h.etags, h.trustedRaw()
	for id, r := range h.devices {
		h.sweep(r, now)
		d := deviceState{
			Device: r.Device, Twin: r.twin.copy(), Sequence: r.sequence, Resumes: r.session != nil,
		}
		d.Device.ID = id
		for _, c := range r.queue {
			d.Queue = append(d.Queue, c.copy())
		}
		for filter, qos := range r.session {
			d.Session = append(d.Session, session{filter, qos})
		}
		state.Devices = append(state.Devices, d)
	}
	h.mu.Unlock()
	slices.SortFunc(state.Devices, func(a, b deviceState) int {
		return strings.Compare(a.Device.ID, b.Device.ID)
	})
	e := json.NewEncoder(w)
	return e.Encode(state)
}

// Load puts the keys and the registry that Save wrote in the place of the hub's. Connections end. A
// state of another host is refused, and so is one that is damaged; the hub is then as it was.
func (h *Hub) Load(r io.Reader) error {
	var state hubState
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&state); err != nil {
		return fmt.Errorf("hubtest: load %s: %w", h.host, err)
	}
	switch {
	case state.Version != stateVersion:
		return fmt.Errorf(
			"hubtest: load %s: version %d, want %d", h.host, state.Version, stateVersion,
		)
	case !strings.EqualFold(strings.TrimSuffix(state.Host, "."), strings.TrimSuffix(h.host, ".")):
		return fmt.Errorf("hubtest: load %s: the state is that of %q", h.host, state.Host)
	}
	devices := make(map[string]*record, len(state.Devices))
	for _, s := range state.Devices {
		r, err := s.record()
		if err != nil {
			return fmt.Errorf("hubtest: load %s: device %q: %w", h.host, s.Device.ID, err)
		}
		devices[s.Device.ID] = r
	}
	for id := range devices {
		if parent, module := splitID(id); module != "" && devices[parent] == nil {
			return fmt.Errorf("hubtest: load %s: module %q has no device", h.host, id)
		}
	}
	trusted, err := parseAuthorities(state.Trusted)
	if err != nil {
		return fmt.Errorf("hubtest: load %s: trusted: %w", h.host, err)
	}
	h.policies.set(state.Policies)
	h.mu.Lock()
	h.devices, h.generation, h.etags = devices, state.Generation, state.ETags
	h.restoreTrust(trusted)
	var connected []string
	for id := range h.links {
		connected = append(connected, id)
	}
	h.mu.Unlock()
	for _, id := range connected {
		h.Disconnect(id)
	}
	return nil
}

// record checks a device's state, and makes its record.
func (s *deviceState) record() (*record, error) {
	parent, module, isModule := strings.Cut(s.Device.ID, "/")
	d := s.Device
	if d.ID = parent; isModule {
		d.ID = module
	}
	d, err := d.normal()
	if err != nil {
		return nil, err
	}
	if err := checkID(parent); err != nil {
		return nil, err
	}
	if len(s.Queue) > maxQueue {
		return nil, errors.New("queue too long")
	}
	d.ID = s.Device.ID
	r := &record{Device: d, twin: s.Twin, sequence: s.Sequence}
	for _, part := range []*map[string]any{&r.twin.Tags, &r.twin.Desired, &r.twin.Reported} {
		if *part, err = normalDocument(*part); err != nil {
			return nil, err
		}
	}
	if err := r.twin.check(); err != nil {
		return nil, err
	}
	r.twin.DesiredVersion, r.twin.ReportedVersion = max(1, r.twin.DesiredVersion),
		max(1, r.twin.ReportedVersion)
	if s.Resumes {
		r.session = make(map[string]byte)
		for _, one := range s.Session {
			r.session[one.Filter] = one.QoS
		}
	}
	for _, q := range s.Queue {
		c := &queuedC2D{Queued: q}
		// Whoever had it is gone.
		c.Locked, c.until = false, time.Time{}
		r.queue = append(r.queue, c)
	}
	return r, nil
}
