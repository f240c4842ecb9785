// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"errors"
	"sync"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Message is a PUBLISH from the server.
type Message struct {
	// Topic is the topic name.
	Topic string
	// Payload is the message; it belongs to the receiver.
	Payload []byte
	// QoS is 0 or 1.
	QoS byte
	// Duplicate is true when the server has sent the message before.
	Duplicate bool
	// Ack sends the PUBACK of a QoS 1 message; the server keeps the message until then. It never
	// waits, and may be called at any time, from any goroutine, more than once; what was
	// acknowledged before Close leaves before the connection does, unless the peer takes nothing.
	// After the connection's end it does nothing.
	Ack func()
}

// received is Paho's handler. It never waits: what comes next queues up behind it.
func (c *Conn) received(_ paho.Client, m paho.Message) {
	receive := c.tap.options.Receive
	if cause := c.tap.cause(); receive == nil || errors.Is(cause, ErrClosed) ||
		errors.Is(cause, ErrOverflow) { // after which there is a gap that nothing may follow
		return
	}
	message := Message{
		Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Duplicate: m.Duplicate(),
		Ack: func() {},
	}
	if m.Qos() > 0 {
		message.Ack = sync.OnceFunc(func() { c.tap.acknowledge(m.MessageID()) })
	}
	receive(message)
}

// acknowledge queues a PUBACK. A server that goes on sending and reads none ends the connection.
func (t *tap) acknowledge(id uint16) {
	t.mu.Lock()
	if t.err != nil {
		t.mu.Unlock()
		return
	}
	t.queue([]byte{typePuback << 4, 2, byte(id >> 8), byte(id)})
	overflow := len(t.pending) > maxPending
	t.mu.Unlock()
	if overflow {
		t.fail(ErrOverflow)
		return
	}
	t.wake()
}

// noStore keeps nothing. Paho reads its store only to resume a session on another connection, which
// never happens here; its own default keeps every unacknowledged message of either direction a
// second time.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
