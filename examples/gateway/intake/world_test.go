// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/memnet"
)

// keeper keeps in memory, and takes its time: each call waits for a value of gate, if there is one.
type keeper struct {
	gate   chan struct{}
	refuse func(device string, m *hubconn.Message) error // nil: it takes all

	mu    sync.Mutex
	calls [][]string // the bodies of each
	kept  []string
}

func (k *keeper) Keep(
	ctx context.Context, device string, _ Lane, messages ...hubconn.Message,
) error {
	var bodies []string
	for _, m := range messages {
		bodies = append(bodies, string(m.Body))
	}
	k.mu.Lock()
	k.calls = append(k.calls, bodies)
	k.mu.Unlock()
	if k.gate != nil {
		select {
		case <-k.gate:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for i := range messages {
		if k.refuse != nil {
			if err := k.refuse(device, &messages[i]); err != nil {
				return err
			}
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = append(k.kept, bodies...)
	return nil
}

// world is a listener of MQTT, with what it tells.
type world struct {
	*testing.T
	mqtt   *MQTT
	keeper *keeper
	room   *semaphore.Weighted
	log    bytes.Buffer

	mu                    sync.Mutex
	kept, refused, failed int
}

func newWorld(t *testing.T, k *keeper) *world {
	w := &world{T: t, keeper: k, room: semaphore.NewWeighted(underWayOfAll)}
	w.mqtt = &MQTT{
		Keeper: k, Logger: slog.New(slog.NewJSONHandler(&w.log, nil)),
		Counted: func(err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			switch {
			case err == nil:
				w.kept++
			case isPermanent(err):
				w.refused++
			default:
				w.failed++
			}
		},
	}
	return w
}

// sender is a client that says exactly what a test tells it to.
type sender struct {
	*world
	nc    net.Conn
	ended chan struct{} // when the listener is done with it
	next  uint16
}

func (w *world) dial() *sender {
	near, far := memnet.Pipe("client:1", "gateway:1883")
	s := &sender{world: w, nc: near, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		w.mqtt.serve(w.Context(), far, w.room)
	}()
	return s
}

// connect gets the client accepted.
func (w *world) connect() *sender {
	s := w.dial()
	s.hello("bridge", "")
	p, err := packets.ReadPacket(s.nc)
	require.NoError(w, err)
	require.Zero(w, p.(*packets.ConnackPacket).ReturnCode)
	return s
}

func (s *sender) hello(id, password string) {
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion = "MQTT", 4
	p.ClientIdentifier, p.CleanSession = id, true
	if password != "" {
		p.UsernameFlag, p.PasswordFlag = true, true
		p.Username, p.Password = "any", []byte(password)
	}
	require.NoError(s, p.Write(s.nc))
}

// publish sends a message, whose number is one more than that of the last, and ends without an
// error where the listener does not read any more.
func (s *sender) publish(topic string, qos byte, body string) {
	s.next++
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Qos, p.MessageID, p.Payload = topic, qos, s.next, []byte(body)
	_ = p.Write(s.nc)
}

func (s *sender) event(device, body string) {
	s.publish("devices/"+device+"/messages/events/", 1, body)
}

// acks are the next acknowledgements: up to some number, or to the end of the connection.
func (s *sender) acks(most int) (ids []uint16) {
	for len(ids) < most {
		p, err := packets.ReadPacket(s.nc)
		if err != nil {
			require.ErrorIs(s, err, io.EOF)
			return ids
		}
		ids = append(ids, p.(*packets.PubackPacket).MessageID)
	}
	return ids
}

func (s *sender) close() {
	_ = s.nc.Close()
	<-s.ended
}
