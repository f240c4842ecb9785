// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const (
	benchTrip = 50 * time.Millisecond // to the service and back
	benchWait = time.Second           // that the service asks for between request and poll
)

// BenchmarkRegister measures a registration over a link whose round trips take 50 ms:
//
//	round-trips  that it takes, TCP's included: each time that something is read after a write
//	x-sum        its time, without the wait that the service asks for, as a multiple of theirs
func BenchmarkRegister(b *testing.B) {
	for name, transport := range map[string]dps.Transport{
		"https": dps.HTTPS, "mqtt": dps.MQTT, "websocket": dps.MQTTWebSocket,
	} {
		b.Run(name, func(b *testing.B) { benchmarkRegister(b, transport) })
	}
}

func benchmarkRegister(b *testing.B, transport dps.Transport) {
	network, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, network.Close()) })
	service := dpstest.New(network, dpstest.Config{RetryAfter: benchWait})
	service.Link(hubtest.NewHub(network, clientHub))
	require.NoError(b, service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: clientID, Attestation: dpstest.Keys(clientCanary, ""),
	}))
	var trips atomic.Int64
	client := &dps.Client{
		IDScope:     service.IDScope(),
		Attestation: dps.SymmetricKey{ID: clientID, Key: clientCanary},
		Endpoint:    network.HTTPSAddr(), Transport: transport, TLSConfig: network.TLSConfig(),
		DialContext: func(ctx context.Context, n, address string) (net.Conn, error) {
			trips.Add(1)
			time.Sleep(benchTrip)
			nc, err := (&net.Dialer{}).DialContext(ctx, n, address)
			return &farAway{Conn: nc, trips: &trips}, err
		},
	}
	if transport == dps.MQTT {
		client.Endpoint = network.MQTTAddr()
	}
	n := 0
	for b.Loop() {
		n++
		_, err := client.Register(b.Context(), dps.Registration{})
		require.NoError(b, err)
	}
	each := b.Elapsed()/time.Duration(n) - benchWait
	made := float64(trips.Load()) / float64(n)
	b.ReportMetric(made, "round-trips")
	b.ReportMetric(each.Seconds()/(made*benchTrip.Seconds()), "x-sum")
	b.ReportMetric(0, "ns/op") // most of it is the wait
}

// farAway is a connection on which the response to something comes a round trip later.
type farAway struct {
	net.Conn
	wrote atomic.Bool
	trips *atomic.Int64
}

func (c *farAway) Write(p []byte) (int, error) {
	c.wrote.Store(true)
	return c.Conn.Write(p)
}

func (c *farAway) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.wrote.Swap(false) {
		c.trips.Add(1)
		time.Sleep(benchTrip)
	}
	return n, err
}
