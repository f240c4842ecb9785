// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/programtest"
)

const patience = 2 * time.Minute

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 50*time.Millisecond, what)
}

// Three replicas share the devices; one is killed, and the others have its devices, without a
// request to DPS. Messages are taken by any of them, before and after.
func TestTheDevicesOfAReplicaThatIsKilledAreAtTheOthers(t *testing.T) {
	w, err := newWorld(options{
		replicas: 3, devices: 30, every: 200 * time.Millisecond, lease: 5 * time.Second,
	})
	require.NoError(t, err)
	t.Cleanup(w.close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	var out programtest.Output
	trying, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.trial(trying, &out) }()
	eventually(t, "all devices to be connected", func() bool {
		return strings.Contains(out.String(), "kill one: kill -9 ")
	})
	t.Logf("all devices are connected after %v", time.Since(began))
	total := func(of ...*replica) (n int) {
		for _, r := range of {
			has, _ := r.runs()
			n += has
		}
		return n
	}
	eventually(t, "each has its share", func() bool {
		for _, r := range w.replicas {
			if has, _ := r.runs(); has == 0 {
				return false
			}
		}
		return total(w.replicas...) == len(w.ids)
	})
	eventually(t, "messages", func() bool { return len(w.hub.Messages()) > 2*len(w.ids) })

	before := w.dps.Count()
	victim := w.replicas[2]
	lost := total(victim)
	require.NoError(t, victim.command.Process.Signal(syscall.SIGKILL))
	killed := time.Now()
	eventually(t, "all devices at the others", func() bool {
		return total(w.replicas[:2]...) == len(w.ids) && w.connected() == len(w.ids)
	})
	t.Logf("%d devices of it are back after %v", lost, time.Since(killed))
	kept := w.kept.Load()
	eventually(t, "messages for all", func() bool {
		return w.kept.Load() > kept+int64(2*len(w.ids))
	})
	assert.Equal(t, before, w.dps.Count(), "nobody has asked DPS")
	eventually(t, "it to be told", func() bool {
		return strings.Contains(out.String(), "30 of 30 devices connected, ") &&
			strings.Contains(out.String(), ", gateway-2 is dead; ")
	})
	stop()
	require.NoError(t, <-ended)
	t.Log(out.String())
	assert.Contains(t, out.String(), "\nthe end: ")
	if os.Getenv("REHOME_TESTS") == "" {
		return // what follows takes ten seconds
	}

	// It comes back, has its devices again, and sends what it had kept.
	require.NoError(t, victim.launch(w.gateway))
	eventually(t, "its share again", func() bool { return total(victim) == lost })
	eventually(t, "all messages that were acknowledged", func() bool {
		return int64(w.distinct()) >= w.kept.Load()
	})
	assert.Equal(t, before, w.dps.Count(), "nobody has asked DPS")
}

// distinct is how many messages the hub has, whatever came twice.
func (w *world) distinct() int {
	seen := map[string]bool{}
	for _, m := range w.hub.Messages() {
		seen[m.DeviceID+" "+string(m.Body)] = true
	}
	return len(seen)
}
