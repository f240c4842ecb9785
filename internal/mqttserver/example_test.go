// SPDX-License-Identifier: Apache-2.0

package mqttserver_test

import (
	"context"
	"fmt"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/rehome-iot/rehome/internal/memnet"
	"github.com/rehome-iot/rehome/internal/mqttserver"
)

// echo is a service that answers every message on the topic "answer", after it has acknowledged it.
type echo struct{}

func (echo) Connect(
	_ context.Context, _ *mqttserver.Session, c *mqttserver.Connect,
) (mqttserver.Connack, error) {
	if c.ClientID != "dev1" {
		return mqttserver.Connack{ReturnCode: mqttserver.NotAuthorized}, nil
	}
	return mqttserver.Connack{}, nil
}
func (echo) Connected(context.Context, *mqttserver.Session) error { return nil }
func (echo) Publish(ctx context.Context, s *mqttserver.Session, m *mqttserver.Incoming) error {
	if err := m.Ack(); err != nil {
		return err
	}
	_, err := s.Publish(ctx, mqttserver.Message{Topic: "answer", Payload: m.Payload})
	return err
}
func (echo) Subscribe(context.Context, *mqttserver.Session, *mqttserver.Subscribe) error {
	return nil
}
func (echo) Unsubscribe(context.Context, *mqttserver.Session, []string) error {
	return nil
}
func (echo) Disconnected(*mqttserver.Session, error) {}

func ExampleServe() {
	client, server := memnet.Pipe("client:50000", "server:8883")
	served := make(chan error)
	go func() {
		served <- mqttserver.Serve(context.Background(), server, echo{}, mqttserver.Options{})
	}()

	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion, hello.ClientIdentifier, hello.CleanSession = "MQTT",
		4, "dev1", true
	question := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	question.TopicName, question.Qos, question.MessageID, question.Payload = "question", 1, 1,
		[]byte("who is there?")
	for _, p := range []packets.ControlPacket{
		hello, question, packets.NewControlPacket(packets.Disconnect),
	} {
		if err := p.Write(client); err != nil {
			fmt.Println(err)
		}
	}
	for range 3 {
		p, err := packets.ReadPacket(client)
		if err != nil {
			fmt.Println(err)
			break
		}
		switch p := p.(type) {
		case *packets.ConnackPacket:
			fmt.Println("connected:", p.ReturnCode)
		case *packets.PubackPacket:
			fmt.Println("acknowledged:", p.MessageID)
		case *packets.PublishPacket:
			fmt.Printf("%s: %s\n", p.TopicName, p.Payload)
		}
	}
	fmt.Println("served:", <-served)
	// Output:
	// connected: 0
	// acknowledged: 1
	// answer: who is there?
	// served: <nil>
}
