// SPDX-License-Identifier: Apache-2.0

// Package report measures what a fleet did, and shows it: a table, a CSV file of the load and of
// the devices connected over time, and a picture of them.
package report

import (
	"math"
	"slices"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
	"github.com/rehome-iot/rehome/examples/fleet/sim"
)

// Aim is what a fleet is to get to, and what it is measured against.
type Aim struct {
	Devices int
	Since   time.Duration // what is measured begins here
	Goal    service.Hub   // a device has arrived that is connected there

	// Counts says that a device has to arrive; nil: all have.
	Counts func(device uint32) bool

	// DPSPerMinute and HubPerSecond are the quotas; 0: there is none.
	DPSPerMinute, HubPerSecond float64

	// Optimum is how long it takes at least until all have arrived.
	Optimum time.Duration
}

// Second is what happened in a second.
type Second struct {
	Registrations int32 // and status lookups: what counts against the quota
	Wasted        int32 // of these: not admitted, or not answered
	Clock         int32 // requests for the time
	Polls         int32
	Connects      int32
	Refused       int32 // of these
	Devices       int32 // that asked DPS for anything
	Connected     int32 // at its end
	Arrived       int32 // at its end
}

// Measure takes in what happens.
type Measure struct {
	Aim
	Seconds []Second

	expected           int // devices that have to arrive
	connected, arrived int
	devices            []device

	arrived999, arrivedAll moment
}

// moment is when something was so for the first time; ok says that it was.
type moment struct {
	at time.Duration
	ok bool
}

func (m *moment) note(so bool, at time.Duration) {
	if so && !m.ok {
		*m = moment{at, true}
	}
}

// device is what is measured of one.
type device struct {
	lastAsked int32 // in which second it asked DPS last, plus one
	wasted    uint16
	at        service.Hub // where it is connected, plus one
	counts    bool
}

// NewMeasure begins to measure.
func NewMeasure(a Aim) *Measure {
	m := &Measure{Aim: a, devices: make([]device, a.Devices)}
	for i := range m.devices {
		if d := &m.devices[i]; a.Counts == nil || a.Counts(uint32(i)) {
			d.counts = true
			m.expected++
		}
	}
	return m
}

// second is the one that a moment is in. Those without any event repeat who is connected.
func (m *Measure) second(at time.Duration) *Second {
	i := int(at / time.Second)
	for len(m.Seconds) <= i {
		m.Seconds = append(m.Seconds, Second{
			Connected: int32(m.connected), Arrived: int32(m.arrived),
		})
	}
	return &m.Seconds[i]
}

// Asked takes in a request.
func (m *Measure) Asked(r service.Request, a service.Answer) {
	s := m.second(r.At)
	if r.Kind == service.Connect {
		s.Connects++
		if a.Outcome != service.Accepted {
			s.Refused++
		}
		return
	}
	d := &m.devices[r.Device]
	if now := int32(r.At/time.Second) + 1; d.lastAsked != now {
		d.lastAsked = now
		s.Devices++
	}
	switch r.Kind {
	case service.Time:
		s.Clock++
	case service.Poll:
		s.Polls++
	default:
		s.Registrations++
		if !a.Outcome.Good() {
			s.Wasted++
			d.wasted = min(d.wasted+1, math.MaxUint16-1)
		}
	}
}

// Changed takes in that a connection came up or went down.
func (m *Measure) Changed(c sim.Change) {
	s := m.second(c.At)
	d := &m.devices[c.Device]
	if d.at > 0 {
		m.connected--
		if d.at-1 == m.Goal && d.counts {
			m.arrived--
		}
		d.at = 0
	}
	if c.Up {
		m.connected++
		d.at = c.Hub + 1
		if c.Hub == m.Goal && d.counts {
			m.arrived++
		}
	}
	s.Connected, s.Arrived = int32(m.connected), int32(m.arrived)
	if c.At >= m.Since {
		m.arrived999.note(m.arrived*1000 >= m.expected*999, c.At)
		m.arrivedAll.note(m.arrived == m.expected, c.At)
	}
}

// Arrived is how many devices have arrived by now, and how many have to.
func (m *Measure) Arrived() (now, expected int) { return m.arrived, m.expected }

// AllArrived says when all had arrived for the first time; ok is false if they have not yet.
func (m *Measure) AllArrived() (at time.Duration, ok bool) {
	return m.arrivedAll.at, m.arrivedAll.ok
}

// Connected is how many devices are connected by now.
func (m *Measure) Connected() int { return m.connected }

// most is the largest sum over so many seconds in a row from a second on, as what and how many.
func (m *Measure) most(from, span int, what func(*Second) int32) int {
	sum, most := 0, 0
	for i := max(from, 0); i < len(m.Seconds); i++ {
		sum += int(what(&m.Seconds[i]))
		if j := i - span; j >= max(from, 0) {
			sum -= int(what(&m.Seconds[j]))
		}
		most = max(most, sum)
	}
	return most
}

// percentile is the least that so large a share of the devices do not exceed.
func (m *Measure) percentile(share float64, what func(d *device) uint16) int {
	sorted := make([]uint16, len(m.devices))
	for i := range m.devices {
		sorted[i] = what(&m.devices[i])
	}
	slices.Sort(sorted)
	return int(sorted[max(int(math.Ceil(share*float64(len(sorted)))), 1)-1])
}
