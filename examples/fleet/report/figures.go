// SPDX-License-Identifier: Apache-2.0

package report

import (
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
)

// Figures are what a simulation comes to.
type Figures struct {
	Name      string
	Devices   int
	Seed      uint64
	Connected int // at the end
	Arrived   int // of those who had to

	// Reached says that 99.9 % have arrived. To999 is how long it took until they had; OfOptimum is
	// that over the optimum.
	Reached   bool
	To999     time.Duration
	Optimum   time.Duration
	OfOptimum float64

	Connects      float64 // tries at hubs, a device
	Registrations float64 // and lookups, a device
	Wasted        float64 // of these: not admitted, or not answered, a device
	Wasted99      int     // by the device at the 99th percentile
	Clock         float64 // requests for the time, a device

	// of the quota of DPS: its worst minute, the worst after the first five of what is measured,
	// and the mean from the beginning until 99.9 % had arrived
	PeakMinute, LaterMinute, Sustained float64

	// AllMinute is the worst minute of all that DPS is asked, what counts against no quota
	// included, over its quota.
	AllMinute float64

	HubPeakSecond float64 // tries in the worst second, of the hub's rate
	Share         float64 // of the devices that asked DPS in the same second, at most

	BeforeRetryAfter, SoonAfterFailure int

	Took   time.Duration // of the simulation itself
	Memory uint64        // that the program had from the system at most, in bytes
}

func load(s *Second) int32 { return s.Registrations }

func allLoad(s *Second) int32 { return s.Registrations + s.Clock + s.Polls }

// Figures sums up. What ends it is the last second that has been played.
func (m *Measure) Figures(l *service.Ledger) Figures {
	n := float64(m.Devices)
	f := Figures{
		Devices: m.Devices, Connected: m.connected, Arrived: m.arrived, Optimum: m.Optimum,
		BeforeRetryAfter: l.BeforeRetryAfter(), SoonAfterFailure: l.SoonAfterFailure(),
		Wasted99: m.percentile(0.99, func(d *device) uint16 { return d.wasted }),
	}
	until := len(m.Seconds)
	if f.Reached = m.arrived999.ok; f.Reached {
		f.To999 = m.arrived999.at - m.Since
		until = int(m.arrived999.at/time.Second) + 1
		if m.Optimum > 0 {
			f.OfOptimum = f.To999.Seconds() / m.Optimum.Seconds()
		}
	}
	var connects, asked, wasted, clock, untilThen int
	for i := range m.Seconds {
		s := &m.Seconds[i]
		connects += int(s.Connects)
		asked += int(s.Registrations)
		wasted += int(s.Wasted)
		clock += int(s.Clock)
		if i < until {
			untilThen += int(s.Registrations)
		}
		f.Share = max(f.Share, float64(s.Devices)/n)
	}
	f.Connects, f.Registrations = float64(connects)/n, float64(asked)/n
	f.Wasted, f.Clock = float64(wasted)/n, float64(clock)/n
	since := int(m.Since / time.Second)
	if q := m.DPSPerMinute; q > 0 {
		f.PeakMinute = float64(m.most(0, 60, load)) / q
		f.AllMinute = float64(m.most(0, 60, allLoad)) / q
		f.LaterMinute = float64(m.most(since+300, 60, load)) / q
		f.Sustained = float64(untilThen) / (float64(max(until, 1)) / 60 * q)
	}
	if m.HubPerSecond > 0 {
		peak := m.most(0, 1, func(s *Second) int32 { return s.Connects })
		f.HubPeakSecond = float64(peak) / m.HubPerSecond
	}
	return f
}
