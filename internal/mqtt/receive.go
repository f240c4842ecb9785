package mqtt

import (
	"context"
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
	// Ack sends the PUBACK of a QoS 1 message; the server keeps the message until then. It may be
	// called at any time, from any goroutine, more than once; Close waits until it is sent, for a
	// second at most. After the connection's end it does nothing.
	Ack func()
}

// arrived is Paho's handler. It never waits: acknowledgements and pings queue up behind it.
func (c *Conn) arrived(_ paho.Client, m paho.Message) {
	if c.options.Receive == nil || errors.Is(c.tap.cause(), ErrOverflow) {
		return // after an overflow there is a gap that nothing may follow
	}
	message := Message{
		Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Duplicate: m.Duplicate(),
		Ack: func() {},
	}
	if m.Qos() > 0 {
		message.Ack = sync.OnceFunc(func() { c.ack(m) })
	}
	if c.options.Direct {
		if !errors.Is(c.tap.cause(), ErrClosed) {
			c.options.Receive(message)
		}
		return
	}
	select {
	case c.queue <- message:
	default:
		c.tap.fail(ErrOverflow)
	}
}

func (c *Conn) ack(m paho.Message) {
	if c.tap.enter(context.Background(), 0) != nil { // with no size it does not wait
		return
	}
	defer c.tap.leave(0)
	c.tap.countAck()
	m.Ack() // puts it behind what is to be written
}

// deliver hands the messages to Receive one by one. What came in before the server ended the
// connection is still delivered, so that a response followed by a close is not lost; after Close
// nothing is.
func (c *Conn) deliver() {
	defer close(c.delivered)
	for m := range c.queue {
		if errors.Is(c.tap.cause(), ErrClosed) {
			continue
		}
		c.options.Receive(m)
	}
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
