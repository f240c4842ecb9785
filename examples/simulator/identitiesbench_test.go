// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/fleet"
)

// bootRate is how many connections a second each hub of BenchmarkIdentities gets: two processors
// make them and answer them, with time to spare.
const bootRate = 100

// identities is what a process with many of them needs.
type identities struct {
	eachDevice
	Boot, Stop float64 // seconds, of all; of Boot as a multiple of what the rate takes
	StopCPU    float64 // seconds of a processor, of all
	Asked      int     // requests to DPS at the boot
}

// BenchmarkIdentities measures a fleet.Fleet in a process of its own, and beside it as many bare
// Paho clients over crypto/tls:
//
//	heap-KiB   of live heap for each identity; above-paho-KiB: more than a bare client's
//	stack-KiB  stacks of its goroutines; above-paho-stack-KiB: more than a bare client's
//	x-rate     time until all are connected from their stores, as a multiple of what the rate
//	           of the two hubs alone takes (100 a second each)
//	dps        requests to DPS meanwhile
//	stop-s     seconds until all have ended; stop-cpu-s: of a processor, of this process
func BenchmarkIdentities(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if testing.Short() {
				n /= 100 // that it works
			}
			for b.Loop() {
				var bare, ours identities
				decode(b, manyOfAProcess(b, "paho", n), &bare)
				decode(b, manyOfAProcess(b, "fleet", n), &ours)
				b.ReportMetric(ours.Heap/1024, "heap-KiB")
				b.ReportMetric((ours.Heap-bare.Heap)/1024, "above-paho-KiB")
				b.ReportMetric(ours.Stack/1024, "stack-KiB")
				b.ReportMetric((ours.Stack-bare.Stack)/1024, "above-paho-stack-KiB")
				b.ReportMetric(ours.Boot, "x-rate")
				b.ReportMetric(float64(ours.Asked), "dps")
				b.ReportMetric(ours.Stop, "stop-s")
				b.ReportMetric(ours.StopCPU, "stop-cpu-s")
			}
			b.ReportMetric(0, "ns/op") // means nothing here
		})
	}
}

func decode(b *testing.B, text string, into *identities) {
	require.NoError(b, json.Unmarshal([]byte(text), into))
}

// runFleet connects so many identities for the first time, and again from their stores.
func runFleet(t *testing.T, p *program, trust *tls.Config, n int) (found identities) {
	stores := make([]cache.Memory, n)
	numbers := make(map[string]int, n)
	ids := make([]string, n)
	for i := range n {
		ids[i] = fmt.Sprintf("device-%05d", i)
		numbers[ids[i]] = i
	}
	boot := func(b *fleet.Budget) (asked int, took time.Duration, stop func()) {
		var up sync.WaitGroup
		up.Add(n)
		first := make([]sync.Once, n)
		var mu sync.Mutex
		f := &fleet.Fleet{
			Budget: b, StopTimeout: time.Minute,
			Device: func(id string) (*provisioning.Device, error) {
				i := numbers[id]
				derived, err := dps.DeriveDeviceKey(key, id)
				return &provisioning.Device{
					IDScope: p.IDScope, Attestation: dps.SymmetricKey{ID: id, Key: derived},
					Store: &stores[i], TLSConfig: trust, DialContext: p.dialFleet(i),
					Trace: &provisioning.Trace{Request: func(provisioning.DPSRequest) {
						mu.Lock()
						asked++
						mu.Unlock()
					}},
				}, err
			},
			Session: func(ctx context.Context, id string, hub *hubconn.Conn) error {
				body := []byte(`{"temperature":21.5}`)
				if err := hub.Send(ctx, hubconn.Message{Body: body}); err == nil {
					first[numbers[id]].Do(up.Done)
				}
				<-ctx.Done()
				return context.Cause(ctx)
			},
		}
		require.NoError(t, f.Add(ids...))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		began := time.Now()
		go func() { ended <- f.Run(ctx) }()
		up.Wait()
		mu.Lock()
		defer mu.Unlock()
		return asked, time.Since(began), func() {
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
		}
	}
	_, _, stop := boot(&fleet.Budget{
		DPSPerMinute: 1e6, DPSUnderWay: together, HubPerSecond: 1e6, HubUnderWay: together,
	})
	stop()

	before := inUse()
	asked, took, stop := boot(&fleet.Budget{HubPerSecond: bootRate})
	after := inUse()
	found.Heap, found.Stack = perDevice(before, after, n)
	rate := float64(bootRate * len(p.Hubs)) // their devices are allocated evenly
	found.Asked, found.Boot = asked, took.Seconds()/(float64(n)/rate)
	began, spent := time.Now(), ownProcessor(t)
	stop()
	found.Stop = time.Since(began).Seconds()
	found.StopCPU = (ownProcessor(t) - spent).Seconds()
	return found
}

func perDevice(before, after eachDevice, n int) (heap, stack float64) {
	return (after.Heap - before.Heap) / float64(n), (after.Stack - before.Stack) / float64(n)
}

// runPaho connects as many bare clients, in the way and with the settings of fleets' programs that
// use Paho directly.
func runPaho(t *testing.T, p *program, trust *tls.Config, n int) (found identities) {
	ctx := t.Context()
	before := inUse()
	clients := make([]paho.Client, n)
	var all sync.WaitGroup
	places := make(chan struct{}, together)
	for i := range n {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			var err error
			clients[i], err = barePaho(ctx, p, trust, i)
			if err != nil {
				t.Errorf("device %d: %v", i, err)
			}
		})
	}
	all.Wait()
	require.False(t, t.Failed())
	after := inUse()
	found.Heap, found.Stack = perDevice(before, after, n)
	for _, c := range clients {
		c.Disconnect(0)
	}
	return found
}

func barePaho(ctx context.Context, p *program, trust *tls.Config, i int) (paho.Client, error) {
	id := fmt.Sprintf("device-%05d", i)
	derived, err := dps.DeriveDeviceKey(key, id)
	if err != nil {
		return nil, err
	}
	as := dps.SymmetricKey{ID: id, Key: derived}
	asked := dps.Client{
		IDScope: p.IDScope, Attestation: as, TLSConfig: trust, DialContext: p.dialFleet(i),
		RequestTimeout: 2 * time.Minute,
	}
	a, err := asked.Register(ctx, dps.Registration{})
	if err != nil {
		return nil, err
	}
	hub := a.Target()
	token, err := as.Token(ctx, hub.Resource(), time.Now().Add(time.Hour))
	if err != nil {
		return nil, err
	}
	config := trust.Clone()
	config.ServerName = hub.Host
	o := paho.NewClientOptions()
	o.AddBroker("ssl://" + hub.Host + ":8883").SetClientID(hub.ClientID())
	o.SetUsername((&hubconn.Dialer{}).Username(hub)).SetPassword(token)
	o.SetProtocolVersion(4).SetCleanSession(false).SetKeepAlive(4 * time.Minute)
	o.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) {
		conn, err := p.dialFleet(i)(ctx, "tcp", hub.Host+":8883")
		if err != nil {
			return nil, err
		}
		secured := tls.Client(conn, config)
		return secured, secured.HandshakeContext(ctx)
	})
	client := paho.NewClient(o)
	if connected := client.Connect(); !connected.WaitTimeout(2 * time.Minute) {
		return nil, errors.New("no connack")
	} else if connected.Error() != nil {
		return nil, connected.Error()
	}
	topic := "devices/" + hub.DeviceID + "/messages/events/"
	sent := client.Publish(topic, 1, false, []byte(`{"temperature":21.5}`))
	if !sent.WaitTimeout(time.Minute) {
		return nil, errors.New("no puback")
	}
	return client, sent.Error()
}

// kinds of processes with many identities, by the name in their variable.
var kinds = map[string]func(*testing.T, *program, *tls.Config, int) identities{
	"fleet": runFleet, "paho": runPaho,
}

// kindOf reads the variable that makes a process one of many devices.
func kindOf(value string) (kind string, n int, line string, err error) {
	kind, rest, _ := strings.Cut(value, " ")
	number, line, _ := strings.Cut(rest, " ")
	_, err = fmt.Sscan(number, &n)
	return kind, n, line, err
}
