// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// tokenTTL is the life of a SAS token. The hub ends a connection when its token does.
const tokenTTL = time.Hour

// program is a device and the MQTT library that makes its connections.
type program struct {
	*provisioning.Device
	connect connector
	log     func(line string)
}

// A connector makes one attempt at a hub: from the network connection to the CONNACK.
type connector func(ctx context.Context, to target) (connection, error)

// target is all that an MQTT client needs to know.
type target struct {
	hub                          hubconn.Hub
	clientID, username, password string
	tls                          *tls.Config
	dial                         func(ctx context.Context, network, addr string) (net.Conn, error)
}

// connection is one that an MQTT library has made.
type connection interface {
	// subscribe returns when the hub has granted the subscription.
	subscribe(ctx context.Context, filter string, receive func(body []byte)) error
	// publish returns when the hub has acknowledged the message.
	publish(ctx context.Context, topic string, body []byte) error
	// lost receives why the connection has ended, unless close has ended it.
	lost() <-chan error
	close()
}

// errTokenEnds ends a connection in good order, before the hub does.
var errTokenEnds = errors.New("the token ends soon")

// keepConnected is the loop: the Device says which hub to try, and when, and is told what became of
// it. It never returns for a failure that time or DPS can mend.
func (p *program) keepConnected(
	ctx context.Context, work func(context.Context, *session) error,
) error {
	for {
		a, err := p.NextAttempt(ctx)
		if err != nil {
			return err
		}
		err = p.attempt(ctx, a, work)
		switch {
		case ctx.Err() != nil:
			_ = p.Closed(context.WithoutCancel(ctx), a)
			return context.Cause(ctx)
		case errors.Is(err, errTokenEnds), errors.Is(err, provisioning.ErrReprovisioned):
			if err := p.Closed(ctx, a); err != nil {
				return err
			}
		default:
			p.log(fmt.Sprint("failed: ", err))
			if _, err := p.Rejected(ctx, a, err); err != nil {
				return err
			}
		}
	}
}

// attempt connects and works, and returns why that has ended.
func (p *program) attempt(
	ctx context.Context, a dps.Assignment, work func(context.Context, *session) error,
) error {
	to, err := p.target(ctx, a)
	if err != nil {
		return err
	}
	c, err := p.connect(ctx, to)
	if err != nil {
		return err
	}
	defer c.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-c.lost():
			cancel(fmt.Errorf("connection lost: %w", err))
		case <-ctx.Done():
		}
	}()
	// Tokens are renewed at a random part of their life, or all devices that were switched on at
	// once would connect at once, again and again.
	renew := time.AfterFunc(time.Duration((0.7+0.2*rand.Float64())*float64(tokenTTL)), func() {
		cancel(errTokenEnds)
	})
	defer renew.Stop()

	// The first thing that the hub acknowledges: until then it may accept a device only to drop it.
	err = c.subscribe(ctx, "devices/"+a.DeviceID+"/messages/devicebound/#", func(body []byte) {
		p.log(fmt.Sprintf("received: %q", body))
	})
	if err == nil {
		err = p.Confirm(ctx, a)
	}
	if err == nil {
		p.log("connected to " + a.Hub)
		err = work(ctx, &session{p, a, c})
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause // why the work has failed
	}
	return err
}

// target puts together what the client says. Its clock is the device's: a board without one has a
// wrong time until DPS has told it.
func (p *program) target(ctx context.Context, a dps.Assignment) (to target, err error) {
	hub := a.Target()
	to = target{
		hub: hub, clientID: hub.ClientID(), username: p.Hub.Username(hub), tls: &tls.Config{},
		dial: p.DialContext,
	}
	if to.password, err = p.Token(ctx, a, tokenTTL); err != nil {
		return to, err
	}
	if p.TLSConfig != nil {
		to.tls = p.TLSConfig.Clone()
	}
	to.tls.Time, to.tls.ServerName, to.tls.MinVersion = p.Now, hub.Host, tls.VersionTLS12
	certificate, err := p.Attestation.Certificate(ctx)
	if certificate != nil {
		to.tls.Certificates = []tls.Certificate{*certificate}
	}
	if to.dial == nil {
		to.dial = (&net.Dialer{}).DialContext
	}
	return to, err
}

// open makes the network connection and secures it.
func (to *target) open(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := to.dial(ctx, "tcp", net.JoinHostPort(to.hub.Host, "8883"))
	if err != nil {
		return nil, err
	}
	secured := tls.Client(conn, to.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secured, nil
}

// refused is the error of a CONNACK that refuses.
func (to *target) refused(code byte, elapsed time.Duration) error {
	return &hubconn.Error{
		Op: "connect", Hub: to.hub, ReturnCode: code, Elapsed: elapsed,
		Class: hubconn.ClassOfReturnCode(code, elapsed),
	}
}

// session is a connection at work.
type session struct {
	*program
	a dps.Assignment
	connection
}

// send publishes telemetry. Each acknowledgement is reported: the connection is good.
func (s *session) send(ctx context.Context, body []byte) error {
	if err := s.publish(ctx, "devices/"+s.a.DeviceID+"/messages/events/", body); err != nil {
		return err
	}
	return s.Confirm(ctx, s.a)
}
