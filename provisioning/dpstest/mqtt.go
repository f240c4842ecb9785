// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/rehome-iot/rehome/internal/amqp"
	"github.com/rehome-iot/rehome/internal/mqttserver"
)

// responseFilter is the only filter a device may subscribe to.
const responseFilter = "$dps/registrations/res/#"

// maxConcurrent is how many requests of one connection are carried out at once; more of them wait.
const maxConcurrent = 16

var mqttOptions = mqttserver.Options{MaxPacket: maxBody + 4<<10} // a message and its topic

// ServeMQTT serves one MQTT connection. The network calls it.
func (s *Server) ServeMQTT(nc net.Conn) {
	d := &device{server: s, transport: MQTT}
	if c, ok := nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		d.chain = c.ConnectionState().PeerCertificates
	}
	// why it ended is the device's matter
	_ = mqttserver.Serve(context.Background(), nc, d, mqttOptions)
}

// ServeAMQP tells a client on port 5671 that AMQP is not simulated. The network calls it.
func (s *Server) ServeAMQP(nc net.Conn) {
	entry := s.log.add(Request{Op: Connect, Transport: AMQP})
	s.conclude(entry, func(e *Request) { e.Note, e.Answered = amqp.Reason, time.Now() })
	_ = amqp.Refuse(nc, amqp.Reason) // what came of it is the client's matter
}

// A device is one MQTT connection.
type device struct {
	server    *Server
	transport string
	chain     []*x509.Certificate

	user    userName
	token   string
	granted int           // QoS of the subscription; -1: none
	running chan struct{} // a place for each request being carried out
}

var errClosed = errors.New("closed by the service")

// Connect checks who the device says it is: its user name, its client ID and the name in its
// certificate. Its token is not looked at: that happens when it registers.
func (d *device) Connect(
	ctx context.Context, _ *mqttserver.Session, c *mqttserver.Connect,
) (mqttserver.Connack, error) {
	user, ok := parseUserName(c.Username)
	d.user, d.token, d.granted = user, string(c.Password), -1
	d.running = make(chan struct{}, maxConcurrent)
	entry := d.server.log.add(Request{
		Op: Connect, Transport: d.transport, RegistrationID: user.registrationID,
		APIVersion: user.version,
	})

	var refused byte
	reason := ""
	switch {
	case !ok:
		reason = "user name is not {ID scope}/registrations/{registration ID}/api-version=…"
	case foldID(c.ClientID) != foldID(user.registrationID):
		reason = "client ID is not the registration ID of the user name"
	case d.token == "" && len(d.chain) > 0 && !named(d.chain[0], user.registrationID):
		reason = otherName
	}
	if reason != "" {
		refused = mqttserver.NotAuthorized
	}
	if f := d.server.faults.next(occasion{
		op: Connect, registrationID: user.registrationID, transport: d.transport,
	}); f != nil {
		if !pause(ctx, f.Delay) {
			return mqttserver.Connack{}, d.server.recordUnanswered(entry, context.Cause(ctx))
		}
		if f.NoAnswer {
			<-ctx.Done()
			return mqttserver.Connack{}, d.server.recordUnanswered(entry, context.Cause(ctx))
		}
		if f.Cut {
			return mqttserver.Connack{}, d.server.recordUnanswered(entry, mqttserver.ErrReset)
		}
		if f.ReturnCode != 0 {
			refused, reason = f.ReturnCode, ""
		}
	}
	d.server.conclude(entry, func(e *Request) {
		e.ReturnCode, e.Reason, e.Answered = refused, reason, time.Now()
	})
	return mqttserver.Connack{ReturnCode: refused}, nil
}

// Connected has nothing to do.
func (d *device) Connected(context.Context, *mqttserver.Session) error { return nil }

// Subscribe grants the response filter, at QoS 1 at most, and refuses every other.
func (d *device) Subscribe(
	_ context.Context, _ *mqttserver.Session, r *mqttserver.Subscribe,
) error {
	codes := r.Grant()
	f := d.server.faults.next(occasion{
		registrationID: d.user.registrationID, transport: d.transport, subscribe: true,
	})
	for i, filter := range r.Filters {
		if filter.Topic != responseFilter || f != nil {
			codes[i] = mqttserver.SubscribeFailure
			continue
		}
		d.granted = int(codes[i])
	}
	return r.Reply(codes...)
}

// Unsubscribe gives the filter up: answers go nowhere then.
func (d *device) Unsubscribe(_ context.Context, _ *mqttserver.Session, filters []string) error {
	for _, filter := range filters {
		if filter == responseFilter {
			d.granted = -1
		}
	}
	return nil
}

// Publish takes a register request or a poll. Any other topic ends the connection.
func (d *device) Publish(
	ctx context.Context, session *mqttserver.Session, m *mqttserver.Incoming,
) error {
	t, ok := parseTopic(m.Topic)
	if !ok {
		return fmt.Errorf("%w: undocumented topic", errClosed)
	}
	// The acknowledgement comes before the response: official clients wait for the two in that
	// order.
	if err := m.Ack(); err != nil {
		return err
	}
	c := &call{
		op: t.op, transport: d.transport, scope: d.user.scope,
		registrationID: d.user.registrationID, operationID: t.operationID, version: d.user.version,
		client: d.user.client, authorization: d.token, chain: d.chain, body: m.Payload,
	}
	granted := d.granted
	select {
	case d.running <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	session.Go(func(ctx context.Context) error {
		defer func() { <-d.running }()
		return d.respond(ctx, session, d.server.serve(ctx, c), t.requestID, granted)
	})
	return nil
}

// respond publishes a reply to the device.
func (d *device) respond(
	ctx context.Context, session *mqttserver.Session, r reply, requestID string, granted int,
) error {
	switch {
	case r.cut:
		return mqttserver.ErrReset
	case r.silent || granted < 0:
		return nil
	}
	send := func(requestID string, first bool) error {
		_, err := session.Publish(ctx, mqttserver.Message{
			Topic: responseTopic(r.status, requestID, r.retryAfter, first), Payload: r.body,
			QoS: byte(granted),
		})
		return err
	}
	f := r.fault
	if f == nil {
		f = &Fault{}
	}
	if f.Stale {
		if err := send("0"+requestID, f.RetryAfterFirst); err != nil {
			return err
		}
	}
	if err := send(requestID, f.RetryAfterFirst); err != nil || !f.Twice {
		return err
	}
	return send(requestID, f.RetryAfterFirst)
}

// Disconnected has nothing to do: a connection leaves nothing behind.
func (d *device) Disconnected(*mqttserver.Session, error) {}

// responseTopic names the topic of a response. The service puts $rid first.
func responseTopic(status int, requestID, retryAfter string, retryAfterFirst bool) string {
	topic := "$dps/registrations/res/" + strconv.Itoa(status) + "/?"
	switch {
	case retryAfter == "":
		return topic + "$rid=" + requestID
	case retryAfterFirst:
		return topic + "retry-after=" + retryAfter + "&$rid=" + requestID
	}
	return topic + "$rid=" + requestID + "&retry-after=" + retryAfter
}
