//go:build linux

package hubconn_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
)

// BenchmarkIdle measures what a connection costs on which nothing happens, beside bare Paho's:
//
//	goroutines    of a connection; paho-goroutines
//	heap-KiB      live heap of a connection; paho-heap-KiB
//	stack-KiB     stacks of its goroutines; paho-stack-KiB
//	rss-MB        resident memory of a process with one connection: conn-rss-MB with package
//	              hubconn alone, device-rss-MB with provisioning.Device, paho-rss-MB
func BenchmarkIdle(b *testing.B) {
	b.Run("connection", benchmarkIdleConnection)
	b.Run("process", benchmarkIdleProcess)
}

const idleConnections = 200

func benchmarkIdleConnection(b *testing.B) {
	server := startBenchServer(b)
	config := server.tlsConfig()
	dialer := &hubconn.Dialer{DialContext: server.dial, TLSConfig: config}
	connect := [2]func() (stop func()){
		ours: func() func() {
			hub := hubconn.Hub{Host: host, DeviceID: "ours"}
			conn, err := dialer.Dial(b.Context(), hub, benchKey)
			require.NoError(b, err)
			return func() { _ = conn.Close() }
		},
		bare: func() func() {
			client := barePaho(b, server, config)
			return func() { client.Disconnect(0) }
		},
	}
	for _, side := range connect { // what the first connection leaves behind is not the others'
		side()()
	}
	for b.Loop() {
		for i, name := range []string{"", "paho-"} {
			before := footprint()
			var stops []func()
			for range idleConnections {
				stops = append(stops, connect[i]())
			}
			after := footprint()
			for _, stop := range stops {
				stop()
			}
			each := func(total float64) float64 { return total / idleConnections }
			b.ReportMetric(each(after.goroutines-before.goroutines), name+"goroutines")
			b.ReportMetric(each(after.heap-before.heap)/1024, name+"heap-KiB")
			b.ReportMetric(each(after.stack-before.stack)/1024, name+"stack-KiB")
		}
	}
	b.ReportMetric(0, "ns/op") // means nothing here
}

type resources struct{ goroutines, heap, stack float64 }

// footprint is what is in use when everything that was only for connecting has ended.
func footprint() resources {
	time.Sleep(100 * time.Millisecond)
	runtime.GC()
	runtime.GC() // the second one frees what the first one found in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return resources{
		goroutines: float64(runtime.NumGoroutine()), heap: float64(m.HeapAlloc),
		stack: float64(m.StackInuse),
	}
}

func benchmarkIdleProcess(b *testing.B) {
	program := benchPrograms(b, startBenchServer(b))
	programs := map[string]string{"conn": "conn", "device": "device", "bare": "paho"}
	found := map[string][]float64{}
	for b.Loop() {
		for name := range programs {
			p := program(name).start(b)
			time.Sleep(100 * time.Millisecond)
			found[name] = append(found[name], residentMB(b, p.pid))
			p.stop()
		}
	}
	for name, unit := range programs {
		slices.Sort(found[name])
		b.ReportMetric(found[name][len(found[name])/2], unit+"-rss-MB")
	}
	b.ReportMetric(0, "ns/op")
}

func residentMB(b *testing.B, pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(b, err)
	_, rest, found := strings.Cut(string(status), "\nVmRSS:")
	require.True(b, found)
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	require.NoError(b, err)
	return kib * 1024 / 1e6
}
