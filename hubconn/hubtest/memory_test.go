// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/mqttserver"
)

// What a hub holds of a thousand messages of nearly the largest size.
//
//	go test -run '^$' -bench Held ./hubconn/hubtest
func BenchmarkHeldMessages(b *testing.B) {
	n := simnet.New()
	defer n.Close()
	for b.Loop() {
		h := NewHub(n, hubHost)
		l := &link{id: "dev1", transport: "mqtt"}
		before := heap()
		for range 1000 {
			err := h.receive(
				l, address{route: telemetry, identity: "dev1"},
				mqttserver.Message{Payload: make([]byte, 250<<10)},
			)
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heap()-before)/(1<<20), "MiB/held")
		runtime.KeepAlive(h)
	}
}

// heap returns how many bytes are in use, after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What clients send decides how long an entry is.
func TestLogsAreBoundedInBytes(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		l := &link{hub: h, id: "dev1", transport: "mqtt"}
		next := 0
		for i := range 1000 {
			require.NoError(t, h.receive(l, address{route: telemetry}, mqttserver.Message{
				Payload: make([]byte, 250<<10),
			}))
			attempt := h.logAttempt(Attempt{DeviceID: strings.Repeat("x", 60<<10)})
			h.concludeAttempt(attempt, 0, 0, strings.Repeat("x", 60<<10))
			h.logOperation(Operation{Detail: strings.Repeat("x", 120<<10)})
			require.NoError(t, h.SendC2D("dev1", C2D{Body: make([]byte, 60<<10)}))
			require.Equal(t, 1, h.PurgeC2D("dev1"))
			if i == 499 {
				_, next = h.MessagesFrom(0)
			}
		}
		for name, entries := range map[string]int{
			"messages": len(h.Messages()), "attempts": len(h.Attempts()),
			"operations": len(h.Operations()), "half of settled": len(h.SettledC2D()) / 2,
		} {
			assert.Greater(t, entries, 200, name)
			assert.Less(t, entries, 64<<20/(100<<10), name)
		}
		assert.Equal(t, 500, next)
		for name, end := range map[string]func(int) int{
			"messages":   func(at int) int { m, _ := h.MessagesFrom(at); return len(m) },
			"attempts":   func(at int) int { m, _ := h.AttemptsFrom(at); return len(m) },
			"operations": func(at int) int { m, _ := h.OperationsFrom(at); return len(m) },
			"settled":    func(at int) int { m, _ := h.SettledC2DFrom(at); return len(m) },
		} {
			assert.Equal(t, 3, end(997), name)
			assert.Zero(t, end(1000), name)
		}
		h.ResetLog()
		_, next = h.MessagesFrom(0)
		assert.Equal(t, 1000, next, "positions go on")
	})
}
