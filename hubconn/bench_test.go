package hubconn_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// inFlight is how many messages each side keeps on their way.
const inFlight = 32

// sender sends one message and returns when it is acknowledged.
type sender func() error

// BenchmarkSend compares Send with the bare Paho client, both against the same simulated hub, over
// TLS on loopback sockets, taking turns. What it prints besides the time of a message:
//
//	x-paho        messages a second, as a multiple of bare Paho's: the median of the turns
//	allocs-more   allocations a message, above bare Paho's (both include the simulator's)
func BenchmarkSend(b *testing.B) {
	for name, message := range map[string]hubconn.Message{
		"body": {Body: []byte(`{"temperature":21.5}`)},
		"properties": {
			Body: []byte(`{"temperature":21.5}`), MessageID: "m1", ContentType: "application/json",
			ContentEncoding: "utf-8",
			Properties:      map[string]string{"level": "normal", "site": "plant 1"},
		},
	} {
		b.Run(name, func(b *testing.B) { benchmarkSend(b, message) })
	}
}

func benchmarkSend(b *testing.B, message hubconn.Message) {
	network, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(b, err)
	defer func() { _ = network.Close() }()
	hub, key := hubtest.NewHub(network, host), sasKey("0123456789abcdef")
	for _, id := range []string{"ours", "bare"} {
		require.NoError(
			b, hub.Put(hubtest.Device{ID: id, PrimaryKey: base64.StdEncoding.EncodeToString(key)}),
		)
	}
	dialer := &hubconn.Dialer{DialContext: network.DialContext, TLSConfig: network.TLSConfig()}
	conn, err := dialer.Dial(b.Context(), hubconn.Hub{Host: host, DeviceID: "ours"}, key)
	require.NoError(b, err)
	defer func() { _ = conn.Close() }()
	require.NoError(b, conn.Send(b.Context(), message))
	topic := "devices/bare/messages/events/"
	if message.MessageID != "" {
		topic += "%24.mid=m1&%24.ct=application%2Fjson&%24.ce=utf-8&level=normal&site=plant%201"
	}
	client := barePaho(b, network, key)
	defer client.Disconnect(0)
	ours := func() error { return conn.Send(b.Context(), message) }
	bare := func() error {
		token := client.Publish(topic, 1, false, message.Body)
		token.Wait()
		return token.Error()
	}

	const turn = 1000
	run(b, ours, 2*turn) // warm up
	run(b, bare, 2*turn)
	var took, allocations [2]float64
	var ratios []float64
	b.ResetTimer()
	turns := (b.N + turn - 1) / turn
	for range turns {
		var last [2]float64
		for i, send := range []sender{ours, bare} {
			b.StopTimer()
			hub.ResetLog()
			runtime.GC()
			if i == 0 {
				b.StartTimer()
			}
			c := run(b, send, turn)
			took[i], allocations[i] = took[i]+c.took, allocations[i]+c.allocations
			last[i] = c.took
		}
		ratios = append(ratios, last[1]/last[0])
	}
	b.StopTimer()
	slices.Sort(ratios)
	sent := float64(turns * turn)
	b.ReportMetric(ratios[len(ratios)/2], "x-paho")
	b.ReportMetric((allocations[0]-allocations[1])/sent, "allocs-more")
	b.ReportMetric(sent/took[0], "msg/s")
	b.ReportMetric(sent/took[1], "paho-msg/s")
}

// cost is what a turn took: seconds and allocations.
type cost struct{ took, allocations float64 }

// run sends count messages, from as many goroutines as may be in flight.
func run(b *testing.B, send sender, count int) cost {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	var sending sync.WaitGroup
	for i := range inFlight {
		sending.Go(func() {
			for range (count + i) / inFlight {
				if err := send(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	sending.Wait()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return cost{took: took.Seconds(), allocations: float64(after.Mallocs - before.Mallocs)}
}

// barePaho is the client as a program uses it that uses it directly, with its defaults.
func barePaho(b *testing.B, network *simnet.Network, key sasKey) paho.Client {
	config := network.TLSConfig()
	config.ServerName = host
	token, err := key.Token(b.Context(), host+"/devices/bare", time.Now().Add(time.Hour))
	require.NoError(b, err)
	o := paho.NewClientOptions()
	o.AddBroker(fmt.Sprintf("ssl://%s:8883", host))
	o.SetClientID("bare").SetUsername(host + "/bare/?api-version=2021-04-12").SetPassword(token).
		SetTLSConfig(config)
	o.SetProtocolVersion(4)
	o.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) {
		nc, err := network.DialContext(context.Background(), "tcp", host+":8883")
		if err != nil {
			return nil, err
		}
		return tlsClient(nc, config)
	})
	client := paho.NewClient(o)
	connected := client.Connect()
	connected.Wait()
	require.NoError(b, connected.Error())
	return client
}

func tlsClient(nc net.Conn, config *tls.Config) (net.Conn, error) {
	secure := tls.Client(nc, config)
	if err := secure.Handshake(); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return secure, nil
}
