// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/internal/amqp"
	"github.com/rehome-iot/rehome/internal/mqttserver"
)

const (
	// maxMessage is the largest message from a device: body, property names and values together, in
	// bytes.
	maxMessage = 256 << 10
	// maxSubscriptions is how many a device may have at a time.
	maxSubscriptions = 5
	// maxIdle is how long a device may be silent whatever keep-alive it asked for. Azure docs:
	// 29.45 minutes.
	maxIdle = 1767 * time.Second
)

// Why the hub ends a connection. The device sees its socket close, in every case.
var (
	errDisconnected = errors.New("disconnected by the hub")
	errTakenOver    = errors.New("another connection with the same client ID")
	errExpired      = errors.New("token expired")
	errForbidden    = errors.New("topic not allowed")
	errTooLarge     = errors.New("message above 256 KB")
	errFault        = errors.New("closed by an injected fault")
	errQuota        = errors.New("daily quota exceeded")
	errThrottled    = errors.New("throttled")
)

// link is one connection of a device, and the handler of its MQTT session.
type link struct {
	hub       *Hub
	transport string            // "mqtt" or "ws"
	cert      *x509.Certificate // nil: none was shown

	// Set in Connect, before anyone else can see the link.
	session *mqttserver.Session
	id      string // "device", or "device/module"
	will    *mqttserver.Message
	expiry  time.Time // of the token; zero: none
	attempt *try

	accepted bool
	ended    bool          // its end is recorded; guarded by hub.mu
	durable  bool          // CleanSession 0: its subscriptions outlive it
	work     chan struct{} // holds one: there is something to deliver

	mu            sync.Mutex      // never held while another lock is taken
	subscriptions map[string]byte // QoS by filter
	outbox        []outgoing
	paused        bool // a SUBACK is due: nothing is sent before
}

// ServeMQTT serves a device on port 8883, until the connection's end.
func (h *Hub) ServeMQTT(nc net.Conn) {
	var state *tls.ConnectionState
	if tc, ok := nc.(*tls.Conn); ok {
		s := tc.ConnectionState()
		state = &s
	}
	h.serve(nc, "mqtt", state)
}

// ServeAMQP tells a client on port 5671 that AMQP is not simulated.
func (h *Hub) ServeAMQP(nc net.Conn) {
	h.concludeAttempt(h.logAttempt(Attempt{Transport: "amqp"}), 0, 0, amqp.Reason)
	_ = amqp.Refuse(nc, amqp.Reason) // what came of it is the client's matter
}

func (h *Hub) serve(nc net.Conn, transport string, state *tls.ConnectionState) {
	l := &link{
		hub: h, transport: transport, subscriptions: make(map[string]byte),
		work: make(chan struct{}, 1),
	}
	if state != nil && len(state.PeerCertificates) > 0 {
		l.cert = state.PeerCertificates[0]
	}
	// Its error is for the device alone, which sees the connection end.
	_ = mqttserver.Serve(context.Background(), nc, l, mqttserver.Options{MaxIdle: maxIdle})
}

// Connect checks a CONNECT, and closes the connection the device had before.
func (l *link) Connect(
	ctx context.Context, s *mqttserver.Session, c *mqttserver.Connect,
) (mqttserver.Connack, error) {
	l.session, l.id, l.will = s, c.ClientID, c.Will
	name, _ := parseUsername(c.Username, c.ClientID)
	attempt := l.hub.logAttempt(Attempt{
		DeviceID: c.ClientID, Transport: l.transport, ModelID: name.query.Get("model-id"),
		ClientType: name.query.Get("DeviceClientType"),
	})
	l.attempt = attempt
	if f, ok := l.hub.strike(Connect, l.id); ok {
		if err := l.applyFault(ctx, f); err != nil {
			return mqttserver.Connack{}, err
		}
		if f.NoAnswer || f.Stall {
			<-ctx.Done()
			return mqttserver.Connack{}, context.Cause(ctx)
		}
		if f.ReturnCode != mqttserver.Accepted {
			l.hub.concludeAttempt(attempt, f.ReturnCode, 0, "injected fault")
			return mqttserver.Connack{ReturnCode: f.ReturnCode}, nil
		}
	}
	if !l.hub.speaks311() {
		l.hub.concludeAttempt(
			attempt, mqttserver.BadProtocolVersion, 0, "the hub speaks MQTT 5 alone",
		)
		return mqttserver.Connack{ReturnCode: mqttserver.BadProtocolVersion}, nil
	}
	if code, err := l.hub.shape(ctx, Connect); err != nil {
		return mqttserver.Connack{}, err
	} else if code != 0 {
		l.hub.concludeAttempt(attempt, mqttserver.NotAuthorized, 0, errThrottled.Error())
		return mqttserver.Connack{ReturnCode: mqttserver.NotAuthorized}, nil
	}
	present, refusal := l.hub.accept(l, c, name.query.Get("model-id"))
	if refusal != "" {
		l.hub.concludeAttempt(attempt, mqttserver.NotAuthorized, 0, refusal)
		return mqttserver.Connack{ReturnCode: mqttserver.NotAuthorized}, nil
	}
	l.hub.concludeAttempt(attempt, mqttserver.Accepted, 0, "")
	l.attempt = nil // an idle connection is to be small
	return mqttserver.Connack{SessionPresent: present}, nil
}

// accept lets a link in, if it may: from then on it is the one of its device. It reports whether
// the link goes on with a session.
func (h *Hub) accept(l *link, c *mqttserver.Connect, model string) (present bool, refusal string) {
	now := h.network.Now()
	h.mu.Lock()
	l.expiry, refusal = h.authenticate(c, l.cert, now)
	if refusal != "" {
		h.mu.Unlock()
		return false, refusal
	}
	l.accepted, l.durable = true, !c.CleanSession
	present = h.resume(l, now)
	if model != "" {
		h.devices[l.id].twin.ModelID = model
	}
	old := h.links[l.id]
	if old != nil {
		h.recordDisconnected(old, errTakenOver)
	}
	h.links[l.id] = l
	h.recordConnected(l, model)
	h.announce()
	h.mu.Unlock()
	if old != nil {
		old.session.Close(errTakenOver)
	}
	return present, ""
}

// resume gives a link the subscriptions of the session before it, all of them (MQTT 3.1.1
// §3.1.2.4): the official Python client makes them once. Or it clears what that session left: a
// client that asks for a clean one loses its queue, too. Azure SDK for C, "MQTT state machine":
// "will remove all enqueued C2D messages". h.mu is held.
func (h *Hub) resume(l *link, now time.Time) (present bool) {
	r := h.devices[l.id]
	h.releaseAll(r, now) // what an older connection has not acknowledged comes first
	if !l.durable {
		r.session = nil
		h.purge(r, now)
		return false
	}
	present = r.session != nil
	maps.Copy(l.subscriptions, r.session) // nobody else knows the link yet
	if !present {
		r.session = make(map[string]byte)
	}
	return present
}

// Connected starts what a live connection brings with it.
func (l *link) Connected(_ context.Context, s *mqttserver.Session) error {
	if !l.expiry.IsZero() {
		s.Go(l.expire)
	}
	s.Go(l.deliver)
	l.hub.mu.Lock()
	l.hub.offerCertificate(l)
	l.hub.mu.Unlock()
	if f, ok := l.hub.strike(Connected, l.id); ok {
		s.Go(func(ctx context.Context) error { return l.applyFault(ctx, f) })
	}
	return nil
}

// expire ends the connection when its token has expired and the grace is over, by the hub's clock.
func (l *link) expire(ctx context.Context) error {
	for {
		changed := l.hub.network.Changed()
		left := l.expiry.Add(l.hub.expiryGrace()).Sub(l.hub.network.Now())
		if left <= 0 {
			return errExpired
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-changed:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// Publish takes a message.
func (l *link) Publish(ctx context.Context, s *mqttserver.Session, m *mqttserver.Incoming) error {
	to, ok := parseTopic(m.Topic)
	if !ok || !to.mayPublish(l.id) {
		return fmt.Errorf("%w: publish to %q", errForbidden, m.Topic)
	}
	f, struck := l.hub.strike(Publish, l.id)
	if !struck {
		return l.dispatch(ctx, to, m, m.Ack)
	}
	m.Withhold()
	faulty := func(ctx context.Context) error {
		lost := f.silent()
		if lost && f.Stored {
			if err := l.dispatch(ctx, to, m, func() error { return nil }); err != nil {
				return err
			}
		}
		if err := l.applyFault(ctx, f); err != nil || lost {
			return err
		}
		if err := l.dispatch(ctx, to, m, m.Ack); err != nil {
			return err
		}
		return m.Ack()
	}
	if f.Delay > 0 {
		s.Go(faulty) // pings and other messages are served meanwhile
		return nil
	}
	return faulty(ctx)
}

// dispatch gives a message to the part of the hub it is for. Traffic shaping delays the device's
// other packets, too. What is answered is acknowledged before.
func (l *link) dispatch(
	ctx context.Context, to address, m *mqttserver.Incoming, ack func() error,
) error {
	switch to.route {
	case telemetry:
		switch code, err := l.hub.shape(ctx, Send); {
		case err != nil:
			return err
		case code != 0:
			return errThrottled
		}
		properties, _ := parseBag(to.bag)
		if err := injection(ctx, properties); err != nil {
			return err
		}
		return l.hub.receive(l, to, m.Message)
	case twinGet, twinReport:
		return l.serveTwin(ctx, to, m.Payload, ack)
	case certificateRequest:
		return l.serveRenewal(ctx, to, m.Payload, ack)
	default:
		l.completeCall(to, m.Payload)
		return nil
	}
}

// receive takes telemetry.
func (h *Hub) receive(l *link, to address, m mqttserver.Message) error {
	properties, system := parseBag(to.bag)
	size := (&Message{Body: m.Payload, Properties: properties, System: system}).size()
	if size > maxMessage {
		return errTooLarge
	}
	if h.spend(units(size)) != 0 {
		return errQuota
	}
	if m.Retain {
		// nothing is retained; the back end is told that the device asked
		properties["mqtt-retain"] = "true"
	}
	at := h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	device, module := splitID(l.id)
	stored := Message{
		DeviceID: device, ModuleID: module, Transport: l.transport, Time: at, Body: m.Payload,
		Properties: properties, System: system, QoS: m.QoS, Duplicate: m.Duplicate,
	}
	h.messages.Append(stored)
	h.recordMessage(&stored)
	return nil
}

// Subscribe grants the service's own filters, at QoS 1 at most, and refuses any other, and a sixth,
// with 0x80.
func (l *link) Subscribe(
	ctx context.Context, s *mqttserver.Session, r *mqttserver.Subscribe,
) error {
	f, struck := l.hub.strike(Subscribe, l.id)
	response := func(ctx context.Context) error {
		if struck {
			if err := l.applyFault(ctx, f); err != nil || f.NoAnswer || f.Stall {
				return err
			}
		}
		err := r.Reply(l.grant(r, f.SubackFailure)...)
		l.saveSubscriptions()
		l.resumeSending()
		return err
	}
	r.Withhold()
	return response(ctx)
}

func (l *link) grant(r *mqttserver.Subscribe, refuseAll bool) []byte {
	codes := r.Grant()
	l.mu.Lock()
	l.paused = true
	for i, filter := range r.Filters {
		_, again := l.subscriptions[filter.Topic]
		full := !again && len(l.subscriptions) >= maxSubscriptions
		if refuseAll || full || !maySubscribe(l.id, filter.Topic) {
			codes[i] = mqttserver.SubscribeFailure
			continue
		}
		l.subscriptions[filter.Topic] = codes[i]
	}
	l.mu.Unlock()
	return codes
}

// resumeSending lets messages go, now that the SUBACK has.
func (l *link) resumeSending() {
	l.mu.Lock()
	l.paused = false
	l.mu.Unlock()
	l.wake()
}

// saveSubscriptions writes the subscriptions of a session that outlives its connection into the
// device's record, and lets the back end look at what is new.
func (l *link) saveSubscriptions() {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.devices[l.id]; r != nil && l.durable && h.links[l.id] == l {
		l.mu.Lock()
		r.session = maps.Clone(l.subscriptions)
		l.mu.Unlock()
	}
	h.offerCertificate(l)
	h.announce()
}

func (l *link) subscribed(filter string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.subscriptions[filter]
	return ok
}

// Unsubscribe gives up filters.
func (l *link) Unsubscribe(_ context.Context, _ *mqttserver.Session, filters []string) error {
	l.mu.Lock()
	for _, f := range filters {
		delete(l.subscriptions, f)
	}
	l.mu.Unlock()
	l.saveSubscriptions()
	return nil
}

// Disconnected forgets the connection, and publishes its will when it did not end in order.
func (l *link) Disconnected(_ *mqttserver.Session, err error) {
	if !l.accepted {
		l.hub.recordUnanswered(l)
		return
	}
	now := l.hub.network.Now()
	l.hub.mu.Lock()
	r, exists := l.hub.devices[l.id]
	// a newer connection has what this one had
	if live := l.hub.links[l.id]; live == nil || live == l {
		delete(l.hub.links, l.id)
		l.hub.releaseAll(r, now)
	}
	l.hub.recordDisconnected(l, err)
	l.hub.mu.Unlock()
	if err == nil || l.will == nil || !exists {
		return
	}
	to, ok := parseTopic(l.will.Topic)
	if !ok || to.route != telemetry || !to.mayPublish(l.id) {
		return
	}
	separator := "&"
	if to.bag == "" {
		separator = ""
	}
	to.bag += separator + "iothub-MessageType=Will"
	_ = l.hub.receive(l, to, *l.will) // one too large is dropped
}

// applyFault lets a fault do what does not depend on the stage. An error ends the connection.
func (l *link) applyFault(ctx context.Context, f Fault) error {
	if err := pause(ctx, f.Delay); err != nil {
		return err
	}
	switch {
	case f.Cut:
		return mqttserver.ErrReset
	case f.Close:
		return errFault
	case f.Stall:
		stall(l.session.Conn())
	}
	return nil
}

// stall stops the bytes of one connection for good.
func stall(nc net.Conn) {
	if c, ok := mqttserver.Under[interface{ Stall(on bool) }](nc); ok {
		c.Stall(true)
	}
}
