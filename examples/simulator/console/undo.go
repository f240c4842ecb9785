// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/json"
	"maps"
	"strings"
)

// effect is what a step sets that can be taken back.
type effect struct {
	Network     map[string]any
	ClockOffset *string
	DPS, Hub    json.RawMessage
	Disable     string
	Unlink      string
}

func effectOf(step json.RawMessage) effect {
	var e effect
	if json.Unmarshal(step, &e) != nil {
		return effect{} // it was refused
	}
	return e
}

// service says whether the step injects a fault into a service: those go all at once.
func (e effect) service() bool { return e.DPS != nil || e.Hub != nil }

func (e effect) host() string {
	host, _ := e.Network["host"].(string)
	return host
}

// undo is what takes steps back. Faults of services are taken back all at once, and a host has one
// state of its network, so what other switches have on is put in again.
func (o *operator) undo(steps []json.RawMessage) []json.RawMessage {
	var undo []json.RawMessage
	cleared := false
	for _, step := range steps {
		switch e := effectOf(step); {
		case e.Network != nil:
			undo = append(undo, o.network(e.host()))
		case e.ClockOffset != nil:
			undo = append(undo, encode("clockOffset", "0s"))
		case e.Disable != "":
			undo = append(undo, encode("enable", e.Disable))
		case e.Unlink != "":
			undo = append(undo, encode("link", e.Unlink))
		case e.service():
			cleared = true
		}
	}
	if !cleared {
		return undo
	}
	undo = append(undo, encode("clear", true))
	for _, step := range o.active() {
		if effectOf(step).service() {
			undo = append(undo, step)
		}
	}
	return undo
}

// merged are steps as they have to be done beside those that other switches have on already.
func (o *operator) merged(steps []json.RawMessage) []json.RawMessage {
	all := make([]json.RawMessage, len(steps))
	for i, step := range steps {
		all[i] = step
		if e := effectOf(step); e.Network != nil {
			all[i] = o.network(e.host())
		}
	}
	return all
}

// network is the step that makes a host's network what all switches together say.
func (o *operator) network(host string) json.RawMessage {
	together := map[string]any{"host": host}
	for _, step := range o.active() {
		if e := effectOf(step); e.Network != nil && strings.EqualFold(e.host(), host) {
			maps.Copy(together, e.Network)
		}
	}
	return encode("network", together)
}

// active are the steps of all switches that are on, in the order in which they were switched on.
func (o *operator) active() (all []json.RawMessage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, key := range o.order {
		all = append(all, o.faults[key]...)
	}
	return all
}
