// SPDX-License-Identifier: Apache-2.0

package mqttserver

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/memnet"
)

// service is a Handler made of functions; one left nil does nothing.
type service struct {
	connect     func(context.Context, *Session, *Connect) (Connack, error)
	connected   func(context.Context, *Session) error
	publish     func(context.Context, *Session, *Incoming) error
	subscribe   func(context.Context, *Session, *Subscribe) error
	unsubscribe func(context.Context, *Session, []string) error

	mu    sync.Mutex
	ended []error // what Disconnected was told
}

func (v *service) Connect(ctx context.Context, s *Session, c *Connect) (Connack, error) {
	if v.connect == nil {
		return Connack{}, nil
	}
	return v.connect(ctx, s, c)
}

func (v *service) Connected(ctx context.Context, s *Session) error {
	if v.connected == nil {
		return nil
	}
	return v.connected(ctx, s)
}

func (v *service) Publish(ctx context.Context, s *Session, m *Incoming) error {
	if v.publish == nil {
		return nil
	}
	return v.publish(ctx, s, m)
}

func (v *service) Subscribe(ctx context.Context, s *Session, r *Subscribe) error {
	if v.subscribe == nil {
		return nil
	}
	return v.subscribe(ctx, s, r)
}

func (v *service) Unsubscribe(ctx context.Context, s *Session, filters []string) error {
	if v.unsubscribe == nil {
		return nil
	}
	return v.unsubscribe(ctx, s, filters)
}

func (v *service) Disconnected(_ *Session, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = append(v.ended, err)
}

// client is a client that says exactly what a test tells it to.
type client struct {
	t      *testing.T
	nc     net.Conn
	served chan error // what Serve returned
}

// dial serves a new connection in memory.
func dial(t *testing.T, h Handler, o Options) *client {
	near, far := memnet.Pipe("client:1", "server:8883")
	c := &client{t: t, nc: near, served: make(chan error, 1)}
	go func() { c.served <- Serve(t.Context(), far, h, o) }()
	return c
}

// connected serves a new connection and gets it accepted.
func connected(t *testing.T, h Handler, o Options) *client {
	c := dial(t, h, o)
	c.send(connectPacket())
	require.Equal(t, Accepted, c.receive().(*packets.ConnackPacket).ReturnCode)
	return c
}

func connectPacket() *packets.ConnectPacket {
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion = "MQTT", 4
	p.ClientIdentifier, p.CleanSession = "dev1", true
	return p
}

func publishPacket(topic string, qos byte, id uint16, payload string) *packets.PublishPacket {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Qos, p.MessageID, p.Payload = topic, qos, id, []byte(payload)
	return p
}

func subscribePacket(id uint16, qos byte, filters ...string) *packets.SubscribePacket {
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID, p.Topics = id, filters
	for range filters {
		p.Qoss = append(p.Qoss, qos)
	}
	return p
}

func (c *client) send(ps ...packets.ControlPacket) {
	c.t.Helper()
	for _, p := range ps {
		require.NoError(c.t, p.Write(c.nc))
	}
}

func (c *client) raw(b ...byte) {
	c.t.Helper()
	_, err := c.nc.Write(b)
	require.NoError(c.t, err)
}

func (c *client) receive() packets.ControlPacket {
	c.t.Helper()
	p, err := packets.ReadPacket(c.nc)
	require.NoError(c.t, err)
	return p
}

// silent asserts that the server sends nothing for so long.
func (c *client) silent(d time.Duration) {
	c.t.Helper()
	require.NoError(c.t, c.nc.SetReadDeadline(time.Now().Add(d)))
	n, err := c.nc.Read(make([]byte, 1))
	require.Zero(c.t, n)
	var timeout net.Error
	require.ErrorAs(c.t, err, &timeout, "expected silence")
	require.True(c.t, timeout.Timeout())
	require.NoError(c.t, c.nc.SetReadDeadline(time.Time{}))
}

// end asserts that the server closes the connection without another byte, and returns why it did.
func (c *client) end() error {
	c.t.Helper()
	rest, err := io.ReadAll(c.nc)
	require.NoError(c.t, err)
	require.Empty(c.t, rest)
	_ = c.nc.Close()
	return <-c.served
}

// leave disconnects in order.
func (c *client) leave() {
	c.t.Helper()
	c.send(packets.NewControlPacket(packets.Disconnect))
	require.NoError(c.t, c.end())
}
