// SPDX-License-Identifier: Apache-2.0

//go:build unix

package hubconn_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/testdata/bench/target"
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
	for b.Loop() {
		for side, name := range map[string]string{"ours": "", "bare": "paho-"} {
			each := idle(b, server, side)
			b.ReportMetric(each.goroutines, name+"goroutines")
			b.ReportMetric(each.heap/1024, name+"heap-KiB")
			b.ReportMetric(each.stack/1024, name+"stack-KiB")
		}
	}
	b.ReportMetric(0, "ns/op") // means nothing here
}

type resources struct{ goroutines, heap, stack float64 }

// idle measures a connection in a process of its own: in one that has had goroutines before, what
// the runtime keeps of them is used again, and those of the connection come for nothing.
func idle(tb testing.TB, server benchServer, side string) (each resources) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchRole+"="+idleRole+side,
		target.Addr+"="+server.addr, target.Roots+"="+server.rootsPEM)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(tb, err)
	_, err = fmt.Sscan(string(out), &each.goroutines, &each.heap, &each.stack)
	require.NoError(tb, err, "%s", out)
	return each
}

// measureIdle is that process. It prints what is needed for each connection.
func measureIdle(side string) error {
	server := benchServer{addr: os.Getenv(target.Addr)}
	config := target.TLSConfig()
	dialer := &hubconn.Dialer{DialContext: server.dial, TLSConfig: config}
	connect := func() error {
		_, err := dialBare(server, config)
		return err
	}
	if side == "ours" {
		connect = func() error {
			hub := hubconn.Hub{Host: host, DeviceID: target.DeviceID}
			_, err := dialer.Dial(context.Background(), hub, benchKey)
			return err
		}
	}
	var before resources
	for i := range 1 + idleConnections {
		if err := connect(); err != nil {
			return err
		}
		if i == 0 { // what the first connection brings with it is not the others'
			before = footprint()
		}
	}
	after := footprint()
	fmt.Println((after.goroutines-before.goroutines)/idleConnections,
		(after.heap-before.heap)/idleConnections, (after.stack-before.stack)/idleConnections)
	return nil
}

// footprint is what is in use when everything that was only for connecting has ended: the least
// that is seen until it becomes no less, since nobody tells when that is.
func footprint() (least resources) {
	const looks, atMost = 3, 100
	for i, same := 0, 0; i < atMost && same < looks; i++ {
		now := inUse()
		if i == 0 || now.goroutines < least.goroutines || now.heap < least.heap {
			same = 0
		}
		if i == 0 {
			least = now
		}
		least = resources{
			goroutines: min(now.goroutines, least.goroutines), heap: min(now.heap, least.heap),
			stack: min(now.stack, least.stack),
		}
		same++
	}
	return least
}

func inUse() resources {
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
			func() {
				defer p.stop()
				found[name] = append(found[name], residentMB(b, p.pid))
			}()
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
	if err != nil {
		b.Skip("only Linux tells it: ", err)
	}
	_, rest, found := strings.Cut(string(status), "\nVmRSS:")
	require.True(b, found)
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	require.NoError(b, err)
	return kib * 1024 / 1e6
}
