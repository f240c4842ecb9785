// SPDX-License-Identifier: Apache-2.0

package rules

import "time"

// InPlace is a device whose state each step changes, where [Step] and [Fire] make a copy: for a
// simulation of a million, which would do little else. What is decided is the same. The zero value
// with a State is a device before [Boot].
type InPlace struct{ t transition }

// State is the device's. It may be changed between two steps.
func (p *InPlace) State() *State { return &p.t.State }

// Step is [Step]. The actions are good until the next call.
func (p *InPlace) Step(e Event, now time.Time, random Random) []Action {
	p.t.draw, p.t.actions = draw{now, random}, p.t.actions[:0]
	p.t.apply(e)
	p.t.fire()
	return p.t.actions
}

// Fire is [Fire]. The actions are good until the next call.
func (p *InPlace) Fire(now time.Time, random Random) []Action {
	p.t.draw, p.t.actions = draw{now, random}, p.t.actions[:0]
	p.t.fire()
	return p.t.actions
}
