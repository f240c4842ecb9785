// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"net/url"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// keepAlive is how long the hub is told to wait for a packet.
const keepAlive = 4 * time.Minute

// connackTimeout is how long to wait for a CONNACK: the hub may send it a minute late under load,
// and giving up earlier makes that worse.
const connackTimeout = 75 * time.Second

// pahoConnection is one of Paho's client for MQTT 3.1.1. What that library would do by itself, such
// as connecting again, is switched off: it would know nothing of DPS.
type pahoConnection struct {
	mqtt.Client
	ended chan error
}

func connectPaho(ctx context.Context, to target) (connection, error) {
	c := pahoConnection{ended: make(chan error, 1)}
	var opened error // Paho's own error has the text alone
	c.Client = mqtt.NewClient(mqtt.NewClientOptions().
		AddBroker("ssl://" + to.hub.Host + ":8883").SetProtocolVersion(4). // MQTT 3.1.1
		SetClientID(to.clientID).SetUsername(to.username).SetPassword(to.password).
		SetKeepAlive(keepAlive).SetConnectTimeout(connackTimeout).SetCleanSession(false).
		SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(true).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.ended <- err }).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (conn net.Conn, err error) {
			conn, opened = to.open(ctx)
			return conn, opened
		}))
	began := time.Now()
	token := c.Connect().(*mqtt.ConnectToken)
	if err := wait(ctx, token); err != nil {
		c.close()
		switch code := token.ReturnCode(); {
		case ctx.Err() != nil:
			return nil, err
		case opened != nil:
			return nil, opened
		case code > 0 && code <= 5: // more is none of a CONNACK's
			return nil, to.refused(code, time.Since(began))
		}
		return nil, err
	}
	return c, nil
}

func (c pahoConnection) subscribe(
	ctx context.Context, filter string, receive func([]byte),
) error {
	return wait(ctx, c.Subscribe(filter, 1, func(_ mqtt.Client, m mqtt.Message) {
		receive(m.Payload())
	}))
}

func (c pahoConnection) publish(ctx context.Context, topic string, body []byte) error {
	return wait(ctx, c.Publish(topic, 1, false, body))
}

func (c pahoConnection) lost() <-chan error { return c.ended }

func (c pahoConnection) close() { c.Disconnect(0) }

// wait returns what became of an operation, or why ctx has ended.
func wait(ctx context.Context, t mqtt.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
