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
