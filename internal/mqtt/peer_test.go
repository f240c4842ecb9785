// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/memnet"
)

// peer is the other end of a connection: a server that does exactly what a test tells it to.
type peer struct {
	t  *testing.T
	nc net.Conn
}

// link returns a client's connection and the peer at its end, both in memory.
func link(t *testing.T) (net.Conn, *peer) {
	client, server := memnet.Pipe("device:1", "hub:8883")
	t.Cleanup(func() { _ = server.Close() })
	return client, &peer{t: t, nc: server}
}

// play runs a peer's part, and waits for its end when the test ends.
func play(t *testing.T, p *peer, part func(*peer)) {
	var playing sync.WaitGroup
	playing.Go(func() { part(p) })
	t.Cleanup(func() {
		_ = p.nc.Close()
		playing.Wait()
	})
}

// slow makes the peer read so many bytes a second.
func (p *peer) slow(rate int) { p.nc = &slowConn{Conn: p.nc, rate: rate} }

type slowConn struct {
	net.Conn
	rate int
}

func (c *slowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), c.rate)])
	time.Sleep(time.Duration(n) * time.Second / time.Duration(c.rate))
	return n, err
}

// next returns the client's next packet, nil once the connection has ended.
func (p *peer) next() packets.ControlPacket {
	packet, err := packets.ReadPacket(p.nc)
	if err != nil {
		return nil
	}
	return packet
}

func (p *peer) send(b ...byte) { _, _ = p.nc.Write(b) }

// accept takes CONNECT and answers it.
func (p *peer) accept(code byte) {
	connect, ok := p.next().(*packets.ConnectPacket)
	if ok && connect.ProtocolVersion == 4 {
		p.send(0x20, 2, 0, code)
	}
}

func (p *peer) publish(topic string, qos byte, id uint16, payload []byte) {
	publish := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	publish.TopicName, publish.Qos, publish.MessageID, publish.Payload = topic, qos, id, payload
	_ = publish.Write(p.nc)
}

// serve accepts the connection, acknowledges all that comes, and reports each packet to seen. It
// returns when the client is gone.
func (p *peer) serve(seen func(packets.ControlPacket)) {
	p.accept(0)
	p.acknowledge(seen)
}

func (p *peer) acknowledge(seen func(packets.ControlPacket)) {
	for {
		packet := p.next()
		if packet == nil {
			return
		}
		if seen != nil {
			seen(packet)
		}
		switch packet := packet.(type) {
		case *packets.PublishPacket:
			if packet.Qos == 1 {
				p.send(0x40, 2, byte(packet.MessageID>>8), byte(packet.MessageID))
			}
		case *packets.SubscribePacket:
			p.send(0x90, 3, byte(packet.MessageID>>8), byte(packet.MessageID), packet.Qoss[0])
		case *packets.PingreqPacket:
			p.send(0xd0, 0)
		}
	}
}

// ignore reads until the client is gone.
func (p *peer) ignore() { _, _ = io.Copy(io.Discard, p.nc) }

// connect opens a connection to a peer that plays part.
func connect(t *testing.T, o Options, part func(*peer)) *Conn {
	t.Helper()
	c, _ := connected(t, o, part)
	return c
}

// connected is connect for a test that goes on to do something to the peer.
func connected(t *testing.T, o Options, part func(*peer)) (*Conn, *peer) {
	t.Helper()
	nc, p := link(t)
	play(t, p, part)
	o.ClientID = "dev1"
	c, err := Connect(t.Context(), nc, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c, p
}

// deaf is the part of a peer that accepts the connection, and reads without ever answering.
func deaf(p *peer) {
	p.accept(0)
	p.ignore()
}
