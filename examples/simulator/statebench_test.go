// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// populated is a service with so many registered devices: one that has registered, and copies of it
// in its state.
func populated(tb testing.TB, devices int) *dpstest.Server {
	tb.Helper()
	network := simnet.New()
	tb.Cleanup(func() { _ = network.Close() })
	service := dpstest.New(network, dpstest.Config{RetryAfter: -1})
	hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
	service.Link(hub)
	require.NoError(tb, service.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "fleet", Attestation: dpstest.Keys(journalKey, ""),
	}))
	const first = "device-00000"
	key, err := dps.DeriveDeviceKey(journalKey, first)
	require.NoError(tb, err)
	client := &dps.Client{
		IDScope: service.IDScope(), Attestation: dps.SymmetricKey{ID: first, Key: key},
		DialContext: network.DialContext, TLSConfig: network.TLSConfig(),
	}
	_, err = client.Register(tb.Context(), dps.Registration{})
	require.NoError(tb, err)
	_, err = hub.PatchTwin(first, hubtest.TwinChange{
		Tags:    map[string]any{"building": "43", "floor": 1},
		Desired: map[string]any{"targetTemperature": 21.5, "interval": 60},
	}, "")
	require.NoError(tb, err)

	var state bytes.Buffer
	require.NoError(tb, service.Save(&state))
	var all map[string]any
	require.NoError(tb, json.Unmarshal(state.Bytes(), &all))
	multiply := func(list any) (many []any) {
		one, err := json.Marshal(list.([]any)[0])
		require.NoError(tb, err)
		for i := range devices {
			var copied any
			text := strings.ReplaceAll(string(one), first, fmt.Sprintf("device-%05d", i))
			require.NoError(tb, json.Unmarshal([]byte(text), &copied))
			many = append(many, copied)
		}
		return many
	}
	all["registrations"] = multiply(all["registrations"])
	registry := all["hubs"].(map[string]any)[hub.Host()].(map[string]any)
	registry["devices"] = multiply(registry["devices"])
	text, err := json.Marshal(all)
	require.NoError(tb, err)
	require.NoError(tb, service.Load(bytes.NewReader(text)))
	require.Len(tb, hub.Devices(), devices)
	return service
}

// The state of 10,000 devices is written, fsync included.
//
//	go test -run '^$' -bench StateFile ./examples/simulator
func BenchmarkStateFile(b *testing.B) {
	service := populated(b, 10_000)
	file := filepath.Join(b.TempDir(), "state.json")
	k := &keeper{file: file, dps: service}
	before := processor(b)
	for b.Loop() {
		k.last = [32]byte{} // as if it had changed
		if err := k.save(); err != nil {
			b.Fatal(err)
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64((processor(b)-before).Milliseconds())/float64(b.N), "cpu-ms/state")
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/state")
	b.ReportMetric(float64(info.Size())/(1<<20), "MiB")
}

// processor is what the process has spent of processors: on a machine that does other things, too,
// it tells more than the clock.
func processor(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	require.NoError(tb, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
