// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/fleet/report"
)

// TestAMillionDevices plays what is promised of a fleet of a million. It takes many minutes, and
// runs only where it is asked for. That a play takes longer than a minute is said, and no failure:
// how long it takes is a matter of the machine.
func TestAMillionDevices(t *testing.T) {
	if os.Getenv("REHOME_TESTS") != "million" {
		t.Skip("set REHOME_TESTS=million to play a million devices: it takes many minutes")
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(memoryLimit))
	p := newPlayer(t.Context(), os.Stderr)
	for i := range ofAMillion {
		r := &ofAMillion[i]
		all, err := p.figures(r.plays[0])
		require.NoError(t, err)
		f := &all[0]
		require.NoError(t, report.Table(os.Stdout, all))
		cells := durationCells(all)
		t.Logf("%s: %s, %s, %s", r.text, cells[0], cells[1], cells[2])
		require.Greater(t, f.Arrived, 899_999)
		require.LessOrEqual(t, f.Memory, uint64(2<<30))
	}
	playTables(t, p)
	page := read(t, docs+"/fleet.md")
	for _, target := range targets {
		for _, f := range target.are {
			cell, err := f.cell(page)
			require.NoError(t, err)
			if f.table == "million" {
				require.LessOrEqual(t, numberIn(cell), f.most, target.text)
			}
		}
	}
}
