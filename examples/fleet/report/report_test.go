// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/fleet/service"
	"github.com/rehome-iot/rehome/examples/fleet/sim"
)

// figures are those of a measure in which nobody came early.
func figures(m *Measure) Figures { return m.Figures(service.NewLedger(1, 1)) }

// cells are those of the table's line for figures, by the heads of their columns.
func cells(t *testing.T, f Figures) map[string]string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, Table(&b, []Figures{f}))
	head, line, _ := strings.Cut(b.String(), "\n")
	require.Len(t, line, len(head)+1, "one line, below its head")
	cells, from := map[string]string{}, 0
	for i := range columns {
		to := from + strings.Index(head[from:], columns[i].head) + len(columns[i].head)
		cells[columns[i].head] = strings.TrimSpace(line[from:to])
		from = to
	}
	return cells
}

func TestAFleetThatHasNotArrivedNeverHas(t *testing.T) {
	m := NewMeasure(Aim{Devices: 1, Optimum: time.Second})
	m.Asked(service.Request{At: time.Second}, service.Answer{Outcome: service.Unavailable})
	f := figures(m)
	require.False(t, f.Reached)
	c := cells(t, f)
	require.Equal(t, "never", c["99.9 %"])
	require.Equal(t, "-", c["/ optimum"])
	_, ok := m.AllArrived()
	require.False(t, ok)
}

func TestAFleetMayArriveAtTheFirstMoment(t *testing.T) {
	m := NewMeasure(Aim{Devices: 1, Optimum: time.Second})
	m.Changed(sim.Change{Up: true})
	f := figures(m)
	require.True(t, f.Reached)
	require.Zero(t, f.To999)
	c := cells(t, f)
	require.Equal(t, "0s", c["99.9 %"])
	require.Equal(t, "0.000", c["/ optimum"])
	at, ok := m.AllArrived()
	require.True(t, ok)
	require.Zero(t, at)
}

// asks has a device ask for something so many times at a moment.
func asks(
	m *Measure, device, times int, at time.Duration, k service.Kind, o service.Outcome,
) {
	for range times {
		m.Asked(
			service.Request{At: at, Device: uint32(device), Kind: k}, service.Answer{Outcome: o},
		)
	}
}

const (
	oldHub service.Hub = iota
	newHub
)

// 2,000 of 2,002 devices have to arrive, of which 1,998 are 99.9 %.
func TestTheTimeToArriveIsThatOfWhoHasTo(t *testing.T) {
	const have, others = 2000, 2
	m := NewMeasure(Aim{
		Devices: have + others, Since: time.Minute, Goal: newHub, Optimum: 100 * time.Second,
		Counts: func(device uint32) bool { return device < have },
	})
	up := func(at time.Duration, device int, hub service.Hub) {
		m.Changed(sim.Change{At: at, Device: uint32(device), Up: true, Hub: hub})
	}
	up(0, 0, oldHub)
	for device := range others {
		up(time.Minute, have+device, newHub)
	}
	for device := range have {
		at := time.Minute + time.Duration(device+1)*100*time.Millisecond
		if at == 200*time.Second {
			m.Changed(sim.Change{At: at, Device: 5})
		}
		up(at, device, newHub)
	}
	f := figures(m)
	require.True(t, f.Reached)
	require.Equal(t, 199900*time.Millisecond, f.To999, "one of the first 1,998 has gone again")
	require.InDelta(t, 1.999, f.OfOptimum, 1e-9)
	require.Equal(t, have-1, f.Arrived)
	_, ok := m.AllArrived()
	require.False(t, ok)
	up(300*time.Second, 5, newHub)
	at, ok := m.AllArrived()
	require.True(t, ok)
	require.Equal(t, 300*time.Second, at)
	f = figures(m)
	require.Equal(t, 199900*time.Millisecond, f.To999)
	require.Equal(t, have, f.Arrived)
	require.Equal(t, have+others, f.Connected)
	require.Equal(t, "3m20s", cells(t, f)["99.9 %"])
	require.Equal(t, "1.999", cells(t, f)["/ optimum"])
}

func TestNobodyHasArrivedBeforeWhatIsMeasuredBegins(t *testing.T) {
	m := NewMeasure(Aim{Devices: 2, Since: time.Minute})
	for device := range uint32(2) {
		m.Changed(sim.Change{Device: device, Up: true})
	}
	require.False(t, figures(m).Reached)
	m.Changed(sim.Change{At: 61 * time.Second, Device: 1})
	require.False(t, figures(m).Reached)
	m.Changed(sim.Change{At: 62 * time.Second, Device: 1, Up: true})
	require.Equal(t, 2*time.Second, figures(m).To999)
}

func TestTheWorstMinuteIsAnySixtySeconds(t *testing.T) {
	m := NewMeasure(Aim{Devices: 1, Since: time.Minute, DPSPerMinute: 100})
	for _, r := range []struct {
		at    time.Duration
		times int
	}{
		{59999 * time.Millisecond, 30}, {60 * time.Second, 40}, {118 * time.Second, 25},
		{119 * time.Second, 1}, // 61 seconds after the first
		{359 * time.Second, 10}, {360 * time.Second, 20}, {419999 * time.Millisecond, 5},
		{420 * time.Second, 7},
	} {
		asks(m, 0, r.times, r.at, service.Register, service.Assigning)
	}
	asks(m, 0, 25, 118999*time.Millisecond, service.Lookup, service.Throttled)
	asks(m, 0, 99, 70*time.Second, service.Poll, service.Assigned)
	asks(m, 0, 99, 70*time.Second, service.Time, service.TimeTold)
	asks(m, 0, 99, 70*time.Second, service.Connect, service.Accepted)
	f := figures(m)
	require.InDelta(t, (30+40+25+25)/100.0, f.PeakMinute, 1e-9)
	require.InDelta(t, (20+5)/100.0, f.LaterMinute, 1e-9, "five minutes after Since")
	require.Equal(t, 163.0, f.Registrations)
	require.Equal(t, 25.0, f.Wasted)
	require.Equal(t, 99.0, f.Clock)
	require.Equal(t, 99.0, f.Connects)
}

func TestTheLargestShareIsOfDevicesAndThePeakOfTriesInASecond(t *testing.T) {
	m := NewMeasure(Aim{Devices: 10, HubPerSecond: 4})
	for device := range 3 {
		asks(m, device, 2, 5*time.Second, service.Register, service.Throttled)
		asks(m, device, 1, 6*time.Second-1, service.Time, service.TimeTold)
	}
	for device := range 2 {
		asks(m, device, 9, 6*time.Second, service.Poll, service.Assigned)
	}
	for device := range 10 {
		asks(m, device, 1, 9*time.Second-1, service.Connect, service.Unavailable)
	}
	asks(m, 0, 7, 9*time.Second, service.Connect, service.Accepted)
	asks(m, 0, 4, 10*time.Second-1, service.Connect, service.NoAnswer)
	asks(m, 0, 9, 10*time.Second, service.Connect, service.NoAnswer)
	f := figures(m)
	require.InDelta(t, 0.3, f.Share, 1e-9)
	require.InDelta(t, 11/4.0, f.HubPeakSecond, 1e-9)
	require.InDelta(t, 3.0, f.Connects, 1e-9)
}

// The mean load until 99.9 % had arrived leaves out what comes later.
func TestTheSustainedLoadEndsWithTheArrival(t *testing.T) {
	m := NewMeasure(Aim{Devices: 1, DPSPerMinute: 60})
	asks(m, 0, 45, 10*time.Second, service.Register, service.Throttled)
	asks(m, 0, 27, 89900*time.Millisecond, service.Register, service.Throttled)
	require.InDelta(t, 72/90.0, figures(m).Sustained, 1e-9, "until now, of one a second")
	m.Changed(sim.Change{At: 89500 * time.Millisecond, Up: true})
	asks(m, 0, 1000, 90*time.Second, service.Register, service.Assigning)
	require.InDelta(t, 72/90.0, figures(m).Sustained, 1e-9)
}

// Device n wastes n requests: of 200 devices, 198 waste up to 197, and of 150, 149 up to 148.
func TestThePercentileOfWastedRequestsIsTheLeastThatHolds(t *testing.T) {
	for devices, want := range map[int]int{200: 197, 150: 148, 100: 98, 3: 2, 1: 0} {
		m := NewMeasure(Aim{Devices: devices})
		for n := range devices {
			asks(m, n, n, time.Second, service.Register, service.Throttled)
			asks(m, n, 1, time.Second, service.Register, service.Assigning)
		}
		f := figures(m)
		mean := float64(devices-1) / 2
		require.Equal(t, want, f.Wasted99)
		require.InDelta(t, mean, f.Wasted, 1e-9)
		require.InDelta(t, mean+1, f.Registrations, 1e-9)
	}
}

func TestTheFileHasALineForEachSecond(t *testing.T) {
	m := NewMeasure(Aim{Devices: 3})
	m.Changed(sim.Change{Device: 0, Up: true})
	m.Changed(sim.Change{Device: 1, Up: true, Hub: newHub})
	at := 2 * time.Second
	asks(m, 0, 2, at, service.Register, service.Throttled)
	asks(m, 1, 1, at, service.Lookup, service.Assigned)
	asks(m, 1, 3, at, service.Time, service.TimeTold)
	asks(m, 1, 4, at, service.Poll, service.Assigned)
	asks(m, 2, 5, at, service.Connect, service.Accepted)
	asks(m, 2, 6, at, service.Connect, service.Rejected)
	m.Changed(sim.Change{At: at, Device: 2, Up: true})
	m.Changed(sim.Change{At: 3 * time.Second, Device: 1})
	var b strings.Builder
	require.NoError(t, m.CSV(&b))
	require.Equal(t, "second,registrations,wasted,clock,polls,devices_asking,connects,refused,"+
		`connected,arrived
0,0,0,0,0,0,0,0,2,1
1,0,0,0,0,0,0,0,2,1
2,3,2,3,4,2,11,6,3,2
3,0,0,0,0,0,0,0,2,2
`, b.String())
}

func TestTheTableShowsEachFigureInItsColumn(t *testing.T) {
	shown := cells(t, Figures{
		Name: "move", Devices: 12, Seed: 34, Connected: 1, Arrived: 5, Reached: true,
		To999: 66600 * time.Millisecond, OfOptimum: 1.23456, Connects: 9.12, Registrations: 6.789,
		Wasted: 2.345678, Wasted99: 8, Clock: 1.5, PeakMinute: 10.25, LaterMinute: 11.5,
		Sustained: 12.75, HubPeakSecond: 13.25, Share: 0.12346, BeforeRetryAfter: 3,
		SoonAfterFailure: 4,
	})
	for column, want := range map[string]string{
		"scenario": "move", "devices": "12", "seed": "34", "arrived": "5", "99.9 %": "1m7s",
		"/ optimum": "1.235", "to DPS": "6.79", "wasted": "2.35", "p99": "8", "clock": "1.50",
		"connects": "9.1", "worst min": "10.25", "after 5": "11.50", "sustained": "12.75",
		"hub peak": "13.25", "in 1 s": "0.1235", "early": "7",
	} {
		require.Equal(t, want, shown[column], column)
	}
}

func TestTheFiguresTellWhoCameEarly(t *testing.T) {
	l := service.NewLedger(1, 1)
	r := service.Request{Kind: service.Register}
	for range 2 {
		l.Received(r, service.Answer{Outcome: service.Throttled, RetryAfter: time.Minute}, 0)
		l.Asked(r)
	}
	l.Received(r, service.Answer{Outcome: service.Unavailable}, time.Hour)
	r.At = time.Hour + time.Second
	l.Asked(r)
	f := NewMeasure(Aim{Devices: 1}).Figures(l)
	require.Equal(t, 2, f.BeforeRetryAfter)
	require.Equal(t, 1, f.SoonAfterFailure)
}
