// SPDX-License-Identifier: Apache-2.0

package sim

import "github.com/rehome-iot/rehome/internal/rules"

// desk is where a worker has the states that it has used last, unpacked: a device that has asked
// for something has its answer soon.
type desk struct {
	states *states
	places [deskPlaces]place
}

const deskPlaces = 1 << 8

type place struct {
	device uint32
	used   bool
	rules  rules.InPlace
}

// of is a device. It may be changed until the next call.
func (d *desk) of(device uint32) *rules.InPlace {
	p := &d.places[device%deskPlaces]
	if p.used && p.device == device {
		return &p.rules
	}
	if p.used {
		d.states.save(p.device, p.rules.State())
	}
	p.device, p.used = device, true
	d.states.load(device, p.rules.State())
	return &p.rules
}
