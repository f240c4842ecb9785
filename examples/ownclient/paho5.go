// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// paho5Connection is one of Paho's client for MQTT 5.
type paho5Connection struct {
	*paho.Client
	ended chan error
}

// connectPaho5 has the client speak to a hub of MQTT 3.1.1, by a translation of what it says.
func connectPaho5(ctx context.Context, to target) (connection, error) {
	conn, err := to.open(ctx)
	if err != nil {
		return nil, err
	}
	t := newTranslation(conn)
	return connectOver(ctx, to, t, &t.connack)
}

// connectPaho5Untranslated is what happens without: IoT Hub speaks MQTT 3.1.1 alone, unless it was
// created with the connection profile of MQTT 5, which is a preview and takes no tokens (Azure
// docs: "MQTT v5 capabilities"). It refuses with return code 1, in a CONNACK that the client cannot
// read.
func connectPaho5Untranslated(ctx context.Context, to target) (connection, error) {
	conn, err := to.open(ctx)
	if err != nil {
		return nil, err
	}
	w := &witness{Conn: conn}
	return connectOver(ctx, to, w, &w.connack)
}

func connectOver(
	ctx context.Context, to target, conn net.Conn, connack *returnCode,
) (connection, error) {
	ended := make(chan error, 4)
	end := func(err error) {
		select {
		case ended <- err:
		default: // nobody asks any more
		}
	}
	c := &paho5Connection{ended: ended, Client: paho.NewClient(paho.ClientConfig{
		Conn: conn, PacketTimeout: connackTimeout, OnClientError: end,
		OnServerDisconnect: func(*paho.Disconnect) { end(net.ErrClosed) },
	})}
	began := time.Now()
	_, err := c.Connect(ctx, &paho.Connect{
		ClientID: to.clientID, CleanStart: false, KeepAlive: uint16(keepAlive / time.Second),
		Username: to.username, UsernameFlag: true,
		Password: []byte(to.password), PasswordFlag: to.password != "",
	})
	if err == nil {
		return c, nil
	}
	_ = conn.Close()
	if code := connack.get(); code > 0 {
		return nil, to.refused(code, time.Since(began))
	}
	return nil, err
}

func (c *paho5Connection) subscribe(
	ctx context.Context, filter string, receive func([]byte),
) error {
	c.AddOnPublishReceived(func(p paho.PublishReceived) (bool, error) {
		receive(p.Packet.Payload)
		return true, nil
	})
	_, err := c.Subscribe(ctx, &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}},
	})
	return err
}

func (c *paho5Connection) publish(ctx context.Context, topic string, body []byte) error {
	_, err := c.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: body})
	return err
}

func (c *paho5Connection) lost() <-chan error { return c.ended }

func (c *paho5Connection) close() {
	_ = c.Disconnect(&paho.Disconnect{})
	<-c.Done()
}
