// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

const (
	// maxFleet is how many devices the benchmark has, where as many files may be open.
	maxFleet = 10_000
	// together is how many of them do something at a time.
	together = 500
)

// fleetSize is how many devices can be connected: each is an open file, here and at the simulator.
func fleetSize(b *testing.B) int {
	b.Helper()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		b.Fatal(err)
	}
	most := uint64(maxFleet)
	if testing.Short() {
		most /= 50 // that it works
	}
	return int(min(most, files.Max-together-100))
}

// dialFleet is dial from one of many addresses of this machine: one has no more than 28,000 ports,
// and each connection keeps one for a while after its end.
func (p *program) dialFleet(i int) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		to := p.HTTPS
		if strings.HasSuffix(address, ":8883") {
			to = p.MQTT
		}
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%20))}}
		return d.DialContext(ctx, network, to)
	}
}

// A fleet registers over HTTPS, connects over MQTT, sends a message each and stays. The simulator
// is one process, its devices share another with the benchmark, so time includes what the devices
// need; memory is the simulator's alone.
//
//	go test -run '^$' -bench Fleet ./examples/simulator
func BenchmarkFleet(b *testing.B) {
	for b.Loop() {
		benchmarkFleet(b)
	}
}

func benchmarkFleet(b *testing.B) {
	config := b.TempDir() + "/simulator.json"
	err := os.WriteFile(config, []byte(`{"enrollmentGroups":[{"enrollmentGroupId":"fleet","attestation":{"symmetricKey":{"primaryKey":"`+key+`"}}}],
		"limits":{"registrationsPerMinute":0,"retryAfter":1}}`), 0o600)
	if err != nil {
		b.Fatal(err)
	}
	p := start(b, "-config", config)
	defer p.stop(b)
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(p.CA)
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		b.Fatal("no CA", err)
	}
	fleet := fleetSize(b)
	trust := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	ctx, cancel := context.WithTimeout(b.Context(), 20*time.Minute)
	defer cancel()
	devices := make([]dps.SymmetricKey, fleet)
	for i := range devices {
		id := fmt.Sprintf("device-%05d", i)
		derived, err := dps.DeriveDeviceKey(key, id)
		if err != nil {
			b.Fatal(err)
		}
		devices[i] = dps.SymmetricKey{ID: id, Key: derived}
	}

	// phase runs a step for all devices at once, and returns how long it took.
	phase := func(name string, step func(i int) error) time.Duration {
		begun := time.Now()
		var wg sync.WaitGroup
		var once sync.Once
		places := make(chan struct{}, together)
		for i := range devices {
			places <- struct{}{}
			wg.Go(func() {
				defer func() { <-places }()
				if err := step(i); err != nil {
					once.Do(func() { b.Errorf("%s of %s: %v", name, devices[i].ID, err) })
				}
			})
		}
		wg.Wait()
		if b.Failed() {
			b.FailNow()
		}
		return time.Since(begun)
	}

	empty := p.memory(b)
	assignments := make([]dps.Assignment, fleet)
	idled := processorOf(b, p.cmd.Process.Pid)
	registered := phase("registration", func(i int) (err error) {
		c := &dps.Client{
			IDScope: p.IDScope, Attestation: devices[i], TLSConfig: trust,
			DialContext: p.dialFleet(i), RequestTimeout: 2 * time.Minute,
		}
		assignments[i], err = c.Register(ctx, dps.Registration{})
		return err
	})
	worked := processorOf(b, p.cmd.Process.Pid) - idled
	conns := make([]*hubconn.Conn, fleet)
	connected := phase("connection", func(i int) (err error) {
		dialer := &hubconn.Dialer{
			TLSConfig: trust, DialContext: p.dialFleet(i), DialTimeout: 2 * time.Minute,
			ConnectTimeout: 2 * time.Minute,
		}
		conns[i], err = dialer.Dial(ctx, assignments[i].Target(), devices[i])
		return err
	})
	sent := phase("telemetry", func(i int) error {
		return conns[i].Send(ctx, hubconn.Message{Body: []byte(`{"temperature":21.5}`)})
	})
	time.Sleep(2 * time.Second) // they stay
	full := p.memory(b)
	for i, c := range conns {
		if err := context.Cause(c.Context()); err != nil {
			b.Fatalf("%s has not stayed connected: %v", devices[i].ID, err)
		}
	}
	phase("end", func(i int) error { return conns[i].Close() })

	// Two requests a device: the registration and one poll. Between them the service asks for one
	// second.
	b.ReportMetric(float64(fleet), "devices")
	b.ReportMetric(registered.Seconds(), "s/registrations")
	b.ReportMetric(float64(fleet)/registered.Seconds(), "registrations/s")
	b.ReportMetric(float64(fleet)/worked.Seconds(), "registrations/core-s") // of the simulator's
	b.ReportMetric(2*float64(fleet)/registered.Seconds(), "requests/s")
	b.ReportMetric(connected.Seconds(), "s/connections")
	b.ReportMetric(float64(fleet)/connected.Seconds(), "connections/s")
	b.ReportMetric(float64(fleet)/sent.Seconds(), "messages/s")
	b.ReportMetric(float64(full-empty)/float64(fleet)/1024, "KiB/device")
	b.ReportMetric(0, "ns/op")
	b.Logf("%d devices: registered in %.1f s, connected in %.1f s; the simulator has %d MiB, "+
		"%.0f KiB a device", fleet, registered.Seconds(), connected.Seconds(), full>>20,
		float64(full-empty)/float64(fleet)/1024)
}

// processorOf is what a process has spent of processors: on a machine that does other things, too,
// it tells more than the clock.
func processorOf(t testing.TB, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the program's name may have spaces
	fields := strings.Fields(rest)
	var ticks int64
	for _, field := range fields[11:13] { // utime and stime (proc(5)), of a hundredth of a second
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memory is what the simulator has in memory, in bytes.
func (p *program) memory(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	text, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
