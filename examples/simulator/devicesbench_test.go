// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// eachDevice is what each of the devices of a process needs.
type eachDevice struct {
	Goroutines, Heap, Stack float64 // when all are connected and nothing happens; bytes
	Start, Idle             float64 // seconds of a processor: up to its message, an hour after it
}

// BenchmarkDevices measures devices that share one process, as those of a gateway do, each with
// provisioning.Device. It registers, connects, sends a message and stays; the simulator is another
// process. Each device:
//
//	goroutines     that it has while nothing happens
//	heap-KiB       of live heap; stack-KiB: stacks of its goroutines
//	start-cpu-ms   processor time to register, connect and send, TLS included
//	idle-cpu-ms/h  processor time of an hour in which nothing happens but pings, from some seconds
func BenchmarkDevices(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if testing.Short() {
				n /= 100 // that it works
			}
			for b.Loop() {
				each := devicesOfAProcess(b, n)
				b.ReportMetric(each.Goroutines, "goroutines")
				b.ReportMetric(each.Heap/1024, "heap-KiB")
				b.ReportMetric(each.Stack/1024, "stack-KiB")
				b.ReportMetric(each.Start*1000, "start-cpu-ms")
				b.ReportMetric(each.Idle*1000, "idle-cpu-ms/h")
			}
			b.ReportMetric(0, "ns/op") // means nothing here
		})
	}
}

func devicesOfAProcess(b *testing.B, n int) (each eachDevice) {
	require.NoError(b, json.Unmarshal([]byte(manyOfAProcess(b, "devices", n)), &each))
	return each
}

// manyOfAProcess runs a process with so many devices of a kind, and returns what it has printed of
// them.
func manyOfAProcess(b *testing.B, kind string, n int) (each string) {
	config := filepath.Join(b.TempDir(), "simulator.json")
	require.NoError(b, os.WriteFile(config, []byte(`{"enrollmentGroups":[
		{"enrollmentGroupId":"fleet","attestation":{"symmetricKey":{"primaryKey":"`+key+`"}}}],
		"limits":{"registrationsPerMinute":0,"retryAfter":1}}`), 0o600))
	p := start(b, "-config", config)
	defer p.stop(b)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestManyDevicesInOneProcess$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", devicesVariable, kind, n, p.line))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(b, err, "%s", out)
	_, result, ok := strings.Cut(string(out), "\neach: ")
	require.True(b, ok, "%s", out)
	each, _, _ = strings.Cut(result, "\n")
	return each
}

// TestManyDevicesInOneProcess is that process. It prints what each device needs. In a process that
// has had goroutines before, what the runtime keeps of them is used again, and those of the devices
// come for nothing.
func TestManyDevicesInOneProcess(t *testing.T) {
	variable := os.Getenv(devicesVariable)
	if variable == "" {
		t.Skip("BenchmarkDevices and BenchmarkIdentities run it")
	}
	kind, n, line, err := kindOf(variable)
	require.NoError(t, err)
	p := &program{}
	require.NoError(t, json.Unmarshal([]byte(line), &p.ready))
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(p.CA)
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(pem))
	trust := &tls.Config{RootCAs: roots}
	if run, ok := kinds[kind]; ok {
		found, err := json.Marshal(run(t, p, trust, n))
		require.NoError(t, err)
		fmt.Printf("\neach: %s\n", found)
		return
	}

	before, spent := inUse(), ownProcessor(t)
	ctx, cancel := context.WithCancel(t.Context())
	var ended, up sync.WaitGroup
	places := make(chan struct{}, together)
	for i := range n {
		id := fmt.Sprintf("device-%05d", i)
		derived, err := dps.DeriveDeviceKey(key, id)
		require.NoError(t, err)
		dev := &provisioning.Device{
			IDScope: p.IDScope, Attestation: dps.SymmetricKey{ID: id, Key: derived},
			Store: new(cache.Memory), TLSConfig: trust, DialContext: p.dialFleet(i),
		}
		places <- struct{}{}
		up.Add(1)
		sent := sync.OnceFunc(func() { <-places; up.Done() })
		ended.Go(func() {
			_ = dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
				body := []byte(`{"temperature":21.5}`)
				if err := hub.Send(ctx, hubconn.Message{Body: body}); err == nil {
					sent()
				}
				<-ctx.Done()
				return context.Cause(ctx)
			})
		})
	}
	up.Wait()
	started := ownProcessor(t) - spent
	after := inUse()
	spent = ownProcessor(t)
	const idle = 10 * time.Second
	time.Sleep(idle)
	idled := ownProcessor(t) - spent
	cancel()
	ended.Wait()
	each, err := json.Marshal(eachDevice{
		Goroutines: (after.Goroutines - before.Goroutines) / float64(n),
		Heap:       (after.Heap - before.Heap) / float64(n),
		Stack:      (after.Stack - before.Stack) / float64(n),
		Start:      started.Seconds() / float64(n),
		Idle:       idled.Seconds() / float64(n) * (time.Hour.Seconds() / idle.Seconds()),
	})
	require.NoError(t, err)
	fmt.Printf("\neach: %s\n", each)
}

// inUse is what is in use when what was only for connecting has ended.
func inUse() eachDevice {
	time.Sleep(time.Second)
	runtime.GC()
	runtime.GC() // the second one frees what the first one found in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return eachDevice{
		Goroutines: float64(runtime.NumGoroutine()), Heap: float64(m.HeapAlloc),
		Stack: float64(m.StackInuse),
	}
}

// ownProcessor is processorOf this process, to the microsecond.
func ownProcessor(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
