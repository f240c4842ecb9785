// SPDX-License-Identifier: Apache-2.0

//go:build unix

package hubconn_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/testdata/bench/target"
)

// BenchmarkSend compares Send with the bare Paho client, used directly by a program, and with a
// client written for nothing but this, all against the same server in another process. They take
// turns, and a ratio is the median of those of the turns: it is of one run on one machine, however
// noisy that is. docs/benchmarks.md has the figures. An operation is one message:
//
//	x-paho          messages a second, as a multiple of bare Paho's
//	x-cpu           processor time of the process, as a multiple of bare Paho's
//	x-floor         as x-paho, of the client written for this
//	x-floor-cpu     as x-cpu, of the client written for this
//	cpu-ns/op       processor time
//	allocs/op, B/op allocations and their bytes; bare Paho's are paho-allocs/op, paho-B/op
func BenchmarkSend(b *testing.B) {
	server := startBenchServer(b)
	for _, size := range []struct {
		name  string
		bytes int
	}{{"64B", 64}, {"1KB", 1 << 10}, {"16KB", 16 << 10}, {"200KB", 200 << 10}} {
		for _, inFlight := range []int{1, 32, 256} {
			if size.bytes*inFlight > 32*200<<10 {
				continue // that is memory, and no use of a connection
			}
			b.Run(fmt.Sprintf("%s/inflight=%d", size.name, inFlight), func(b *testing.B) {
				m := hubconn.Message{Body: bytes.Repeat([]byte("x"), size.bytes)}
				benchmarkSend(b, server, inFlight, m, "")
			})
		}
	}
	b.Run("properties/inflight=32", func(b *testing.B) {
		benchmarkSend(b, server, 32, hubconn.Message{
			Body: []byte(`{"temperature":21.5}`), MessageID: "m1", ContentType: "application/json",
			ContentEncoding: "utf-8",
			Properties:      map[string]string{"level": "normal", "site": "plant 1"},
		}, "%24.mid=m1&%24.ct=application%2Fjson&%24.ce=utf-8&level=normal&site=plant%201")
	})
}

// sender sends one message and returns when it is acknowledged.
type sender func() error

// properties is what of the topic tells the message's properties.
func benchmarkSend(
	b *testing.B, server benchServer, inFlight int, message hubconn.Message, properties string,
) {
	dialer := &hubconn.Dialer{
		DialContext: server.dial, TLSConfig: server.tlsConfig(), MaxInFlight: inFlight,
	}
	hub := hubconn.Hub{Host: host, DeviceID: "ours"}
	conn, err := dialer.Dial(b.Context(), hub, benchKey)
	require.NoError(b, err)
	defer func() { _ = conn.Close() }()
	client := barePaho(b, server, server.tlsConfig())
	defer client.Disconnect(0)
	topic := "devices/bare/messages/events/" + properties
	floor := newFloorClient(b, server, inFlight)
	floor.topic = "devices/floor/messages/events/" + properties

	ctx := b.Context()
	compare(b, inFlight, [sides]sender{
		ours: func() error { return conn.Send(ctx, message) },
		bare: func() error {
			token := client.Publish(topic, 1, false, message.Body)
			token.Wait()
			return token.Error()
		},
		least: func() error { return floor.send(message.Body) },
	})
}

// The sides of a comparison.
const (
	ours = iota
	bare
	least
	sides
)

const (
	turnTime = 40 * time.Millisecond // of one side, about
	maxTurn  = 100_000               // messages
)

func compare(b *testing.B, inFlight int, senders [sides]sender) {
	var crews [sides]*crew
	for i, send := range senders {
		crews[i] = newCrew(b, inFlight, send)
		defer crews[i].dismiss()
	}
	// As many messages a turn as take bare Paho so long; meanwhile all sides warm up.
	count := 2 * inFlight
	for {
		took := crews[bare].turn(count).seconds
		for _, c := range crews {
			c.turn(count)
		}
		if took > turnTime.Seconds()/4 || count >= maxTurn {
			count = min(maxTurn, 1+int(float64(count)*turnTime.Seconds()/took))
			break
		}
		count *= 2
	}
	var sum [sides]cost
	var ratios [4][]float64
	round := 0
	for b.Loop() { // an iteration is a turn of each side; the time is that of ours
		var last [sides]cost
		for i := range sides {
			side := (i + round) % sides
			b.StopTimer()
			runtime.GC()
			if side == ours {
				b.StartTimer()
			}
			last[side] = crews[side].turn(count)
			sum[side].add(last[side])
		}
		b.StartTimer()
		round++
		for i, side := range []int{ours, least} {
			ratios[2*i] = append(ratios[2*i], last[bare].seconds/last[side].seconds)
			ratios[2*i+1] = append(ratios[2*i+1], last[side].cpu/last[bare].cpu)
		}
	}
	for i, unit := range []string{"x-paho", "x-cpu", "x-floor", "x-floor-cpu"} {
		slices.Sort(ratios[i])
		b.ReportMetric(ratios[i][len(ratios[i])/2], unit)
	}
	sent := float64(round) * float64(count)
	b.ReportMetric(sum[ours].seconds*1e9/sent, "ns/op")
	b.ReportMetric(sum[ours].cpu*1e9/sent, "cpu-ns/op")
	b.ReportAllocs() // or these are not shown:
	b.ReportMetric(sum[ours].allocations/sent, "allocs/op")
	b.ReportMetric(sum[ours].bytes/sent, "B/op")
	b.ReportMetric(sum[bare].allocations/sent, "paho-allocs/op")
	b.ReportMetric(sum[bare].bytes/sent, "paho-B/op")
}

// cost is what a turn took: seconds, seconds of processors, allocations and their bytes.
type cost struct{ seconds, cpu, allocations, bytes float64 }

func (c *cost) add(d cost) {
	c.seconds, c.cpu = c.seconds+d.seconds, c.cpu+d.cpu
	c.allocations, c.bytes = c.allocations+d.allocations, c.bytes+d.bytes
}

// crew is the goroutines of one side, as many as may be in flight. They stay between the turns,
// since starting them would be counted.
type crew struct {
	left  atomic.Int64 // messages of this turn that nobody has taken
	begin chan struct{}
	turns sync.WaitGroup
	all   sync.WaitGroup
}

func newCrew(tb testing.TB, inFlight int, send sender) *crew {
	c := &crew{begin: make(chan struct{}, inFlight)}
	for range inFlight {
		c.all.Go(func() {
			for range c.begin {
				for c.left.Add(-1) >= 0 {
					if err := send(); err != nil {
						tb.Error(err)
						break
					}
				}
				c.turns.Done()
			}
		})
	}
	return c
}

func (c *crew) turn(count int) cost {
	var before, after runtime.MemStats
	c.left.Store(int64(count))
	c.turns.Add(cap(c.begin))
	runtime.ReadMemStats(&before)
	cpu, start := processorTime(), time.Now()
	for range cap(c.begin) {
		c.begin <- struct{}{}
	}
	c.turns.Wait()
	took := time.Since(start)
	cpu = processorTime() - cpu
	runtime.ReadMemStats(&after)
	return cost{
		seconds: took.Seconds(), cpu: cpu.Seconds(),
		allocations: float64(after.Mallocs - before.Mallocs),
		bytes:       float64(after.TotalAlloc - before.TotalAlloc),
	}
}

func (c *crew) dismiss() {
	close(c.begin)
	c.all.Wait()
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// barePaho is the client as a program uses it that uses it directly, with its defaults.
func barePaho(tb testing.TB, server benchServer, config *tls.Config) paho.Client {
	client, err := dialBare(server, config)
	require.NoError(tb, err)
	return client
}

func dialBare(server benchServer, config *tls.Config) (paho.Client, error) {
	token, err := benchKey.Token(
		context.Background(), host+"/devices/"+target.DeviceID, time.Now().Add(time.Hour),
	)
	if err != nil {
		return nil, err
	}
	o := paho.NewClientOptions()
	o.AddBroker("ssl://" + server.addr).SetTLSConfig(config)
	o.SetClientID(target.DeviceID).SetUsername(target.Username).SetPassword(token)
	o.SetProtocolVersion(4).SetCleanSession(false)
	client := paho.NewClient(o)
	connected := client.Connect()
	connected.Wait()
	return client, connected.Error()
}
