// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/fleet/report"
)

const million = 1_000_000

// TestAMillionDevices plays what is promised of a fleet of a million. It takes minutes, and runs
// only where it is asked for.
func TestAMillionDevices(t *testing.T) {
	if os.Getenv("REHOME_FLEET") != "million" {
		t.Skip("set REHOME_FLEET=million to play a million devices: it takes minutes")
	}
	debug.SetMemoryLimit(1800 << 20)
	played := func(name string) report.Figures {
		debug.FreeOSMemory() // of the fleet before
		began := time.Now()
		f := play(t, name, func(o *Options) {
			*o = Defaults()
			o.Devices = million
		})
		require.NoError(t, report.Table(os.Stdout, []report.Figures{f}))
		t.Logf("%s: %v, %d MiB", name, time.Since(began).Round(time.Second), f.Memory>>20)
		require.Equal(t, million, f.Arrived)
		require.LessOrEqual(t, f.Memory, uint64(2<<30))
		return f
	}
	f := played("reboot")
	require.Zero(t, f.Registrations+f.Clock)
	f = played("clock-1970")
	require.Zero(t, f.Registrations)
	f = played("move-stagger")
	require.LessOrEqual(t, f.OfOptimum, 1.08)
	require.LessOrEqual(t, f.Wasted, 0.1)
	require.LessOrEqual(t, f.PeakMinute, 1.5)
	f = played("move-hint")
	require.LessOrEqual(t, f.OfOptimum, 1.10)
	require.LessOrEqual(t, f.Wasted, 0.5)
	f = played("move")
	require.LessOrEqual(t, f.OfOptimum, 1.15)
	require.LessOrEqual(t, f.Wasted, 8.0)
	f = played("hub-down")
	require.LessOrEqual(t, f.OfOptimum, 2.0)
}
