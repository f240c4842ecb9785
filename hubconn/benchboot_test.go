// SPDX-License-Identifier: Apache-2.0

//go:build unix

package hubconn_test

import (
	"crypto/tls"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/testdata/bench/target"
)

// BenchmarkBoot compares how a program with provisioning.Device, or with hubconn.Dialer alone, and
// one with bare crypto/tls and Paho come to their hub, which speaks TLS 1.2. An operation is from
// the start of the process, which remembers its assignment, to CONNACK. Under "resumed" it is
// another connection of one process, with a tls.Config.ClientSessionCache. "curves" has the
// tls.Config.CurvePreferences that docs/benchmarks.md tells.
//
//	x-time         time, as a multiple of the bare program's: the median of the turns
//	bytes-up       bytes sent until CONNECT has arrived, with TLS, without TCP; paho-bytes-up
//	bytes-down     bytes received until then; paho-bytes-down
//	round-trips    until CONNACK, without TCP's; paho-round-trips
func BenchmarkBoot(b *testing.B) {
	server := startBenchServer(b)
	for _, kind := range []struct {
		name, program string
		settings      []string
	}{
		{"device", "device", nil},
		{"device/curves", "device", []string{target.Curves + "=1"}},
		{"conn", "conn", nil},
	} {
		b.Run(kind.name, func(b *testing.B) {
			program := benchPrograms(b, server, kind.settings...)
			boot := func(name string) func() time.Duration {
				return func() time.Duration {
					p := program(name).start(b)
					p.stop()
					return p.took
				}
			}
			compareBoots(b, server, boot(kind.program), boot("bare"))
		})
	}
	b.Run("resumed", func(b *testing.B) { compareResumed(b, server, nil) })
	b.Run("resumed/curves", func(b *testing.B) { compareResumed(b, server, target.Curves12) })
}

func compareResumed(b *testing.B, server benchServer, curves []tls.CurveID) {
	var configs [2]*tls.Config
	for i := range configs {
		configs[i] = server.tlsConfig()
		configs[i].ClientSessionCache = tls.NewLRUClientSessionCache(1)
		configs[i].CurvePreferences = curves
	}
	dialer := &hubconn.Dialer{DialContext: server.dial, TLSConfig: configs[ours]}
	compareBoots(b, server, func() time.Duration {
		start := time.Now()
		hub := hubconn.Hub{Host: host, DeviceID: target.DeviceID}
		conn, err := dialer.Dial(b.Context(), hub, benchKey)
		require.NoError(b, err)
		took := time.Since(start)
		require.NoError(b, conn.Close())
		return took
	}, func() time.Duration {
		start := time.Now()
		client := barePaho(b, server, configs[bare])
		took := time.Since(start)
		client.Disconnect(0)
		return took
	})
}

func compareBoots(b *testing.B, server benchServer, boots ...func() time.Duration) {
	for _, boot := range boots { // files are in the page cache then, and sessions in theirs
		boot()
		server.connected(b)
	}
	var ratios []float64
	var sum time.Duration
	var seen [2]connect
	for b.Loop() {
		b.StopTimer()
		var took [2]time.Duration
		for i := range boots {
			side := (i + len(ratios)) % 2
			if side == ours {
				b.StartTimer()
			}
			took[side] = boots[side]()
			b.StopTimer()
			seen[side] = server.connected(b)
		}
		sum += took[ours]
		ratios = append(ratios, took[ours].Seconds()/took[bare].Seconds())
		b.StartTimer()
	}
	slices.Sort(ratios)
	b.ReportMetric(float64(sum.Nanoseconds())/float64(len(ratios)), "ns/op")
	b.ReportMetric(ratios[len(ratios)/2], "x-time")
	for i, name := range []string{"", "paho-"} {
		b.ReportMetric(float64(seen[i].up), name+"bytes-up")
		b.ReportMetric(float64(seen[i].down), name+"bytes-down")
		b.ReportMetric(float64(seen[i].flights), name+"round-trips")
	}
}
