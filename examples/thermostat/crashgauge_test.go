// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const (
	gaugeNetwork = firstNetwork - 1
	gaugeStarts  = 20
	gaugePause   = 100 * time.Millisecond // so that no single moment decides
	gaugeShare   = 0.5                    // of the processors is what starts may use
	cycleTime    = 4 * time.Second
)

// startCost is how long a start takes until DPS has answered, one after the other, on this machine
// as busy as it is.
func startCost(t *testing.T, dirs *crashDirs, lag *lagLog) time.Duration {
	f := newFleet(t, &situation{name: "gauge", arrange: func(s *site, _ int) {
		s.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 503, Times: -1})
	}}, gaugeNetwork, 1, dirs, lag)
	b := f.boards[0]
	answered := func(n int) bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.exchanges) > n && !b.exchanges[n].done.IsZero()
	}
	var took time.Duration
	for n := range gaugeStarts {
		require.NoError(t, os.RemoveAll(b.store)) // it asks at once
		c, began := b.command(n), time.Now()
		require.NoError(t, c.Start())
		for !answered(n) && time.Since(began) < patience {
			time.Sleep(time.Millisecond)
		}
		took += time.Since(began)
		_ = c.Process.Kill()
		_ = c.Wait()
		time.Sleep(gaugePause)
	}
	return took / gaugeStarts
}

// devicesFor is how many devices in each situation leave the machine time for other things. Fewer
// are killed as often, in more time.
func devicesFor(cost time.Duration) int {
	each := gaugeShare * float64(runtime.NumCPU()) * cycleTime.Seconds() / cost.Seconds()
	return min(max(int(each)/len(situations), leastDevices), mostDevices)
}

// crashDirs are where the devices have their files: in memory, since a disk that is busy may stand
// still for seconds. A kill proves nothing about a disk: what was written outlives the process
// anywhere. Others test what outlives a power cut.
type crashDirs struct {
	stores, logs string
	inMemory     bool // the stores are
}

func newCrashDirs(t *testing.T) *crashDirs {
	d := &crashDirs{}
	d.stores, d.inMemory = memoryDir(t, 32<<20)
	d.logs, _ = memoryDir(t, 256<<20)
	return d
}

// memoryDir is a directory in memory, if there is room for so much. TMPDIR says nothing about that.
func memoryDir(t *testing.T, needs uint64) (dir string, ok bool) {
	const memory = "/dev/shm"
	var fs syscall.Statfs_t
	if syscall.Statfs(memory, &fs) == nil && fs.Bavail*uint64(fs.Bsize) >= needs {
		if dir, err := os.MkdirTemp(memory, "rehome-crashloop-"); err == nil {
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			return dir, true
		}
	}
	return t.TempDir(), false
}
