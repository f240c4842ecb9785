// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/internal/https"
	"github.com/rehome-iot/rehome/internal/mqtt"
)

// Topics of the service. Azure docs: "Communicate with DPS using the MQTT protocol".
const (
	responseFilter = "$dps/registrations/res/#"
	responsePrefix = "$dps/registrations/res/"
	registerTopic  = "$dps/registrations/PUT/iotdps-register/?$rid="
	pollTopic      = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid="
)

// The connection is used every few seconds; a keep-alive is for long waits between polls.
const mqttKeepAlive = 60 * time.Second

// maxResponse leaves room for the topic beside the largest body.
const maxResponse = maxBody + 4<<10

// mqttExchange speaks the service's MQTT API over one connection, or over another in its place when
// the token in use comes near its end: over MQTT a token cannot be renewed in place.
type mqttExchange struct {
	client     *Client
	body       []byte // of register
	apiVersion string
	token      token
	conn       *mqtt.Conn

	mu      sync.Mutex
	waiting *mqttRequest // nil: no answer is expected
}

// mqttRequest is a request whose answer is awaited.
type mqttRequest struct {
	id       string
	answer   chan response // room for one
	answered context.CancelFunc
}

func (c *Client) openMQTT(
	ctx context.Context, body []byte, apiVersion string,
) (*mqttExchange, *Error) {
	x := &mqttExchange{client: c, body: body, apiVersion: apiVersion, token: token{client: c}}
	if failure := x.connect(ctx); failure != nil {
		return nil, failure
	}
	return x, nil
}

func (x *mqttExchange) ended() context.Context { return x.conn.Context() }

func (x *mqttExchange) close() { _ = x.conn.Close() }

// connect dials, connects and subscribes. On failure nothing is left open.
func (x *mqttExchange) connect(ctx context.Context) *Error {
	const op = "connect"
	c := x.client
	password, err := x.token.get(ctx)
	if err != nil {
		return &Error{Op: op, Err: err}
	}
	config, certificate, err := c.identity(ctx)
	if err != nil {
		return &Error{Op: op, Err: err}
	}
	dialer := &mqtt.Dialer{
		DialContext: c.DialContext, TLSConfig: config, Certificate: certificate,
		Proxy: c.Proxy, Timeout: dialTimeout,
	}
	dial := func() (net.Conn, error) { return dialer.TLS(ctx, c.address(true)) }
	if c.Transport == MQTTWebSocket {
		dial = func() (net.Conn, error) {
			target := "wss://" + c.address(false) + "/$iothub/websocket"
			return dialer.WebSocket(ctx, target, http.Header{"User-Agent": {c.userAgent()}})
		}
	}
	nc, err := dial()
	if err != nil {
		return connectError(ctx, err)
	}
	registrationID := c.Attestation.RegistrationID()
	conn, err := mqtt.Connect(ctx, nc, mqtt.Options{
		ClientID: registrationID,
		Username: c.IDScope + "/registrations/" + registrationID + "/api-version=" +
			x.apiVersion + "&ClientVersion=" + escape(c.userAgent()),
		Password:       password,
		CleanSession:   true, // the service keeps no session
		KeepAlive:      mqttKeepAlive,
		ConnackTimeout: connackTimeout,
		MaxPacket:      maxResponse,
		Receive:        x.receive,
	})
	if err != nil {
		return connectError(ctx, err)
	}
	limit := c.requestTimeout(mqttRequestTimeout)
	limited, cancel := https.WithLimit(ctx, limit)
	defer cancel()
	if err := conn.Subscribe(limited, responseFilter, 1); err != nil {
		_ = conn.Close()
		return &Error{Op: op, Err: https.Cause(ctx, limited, err)}
	}
	x.conn = conn
	return nil
}

// connectError tells a refusal from a lost connection.
func connectError(ctx context.Context, err error) *Error {
	const op = "connect"
	if ctx.Err() != nil {
		return &Error{Op: op, Err: context.Cause(ctx)}
	}
	if refused, ok := errors.AsType[*mqtt.RefusedError](err); ok {
		return &Error{Op: op, ReturnCode: refused.Code, Err: err}
	}
	if refused, ok := errors.AsType[*mqtt.UpgradeError](err); ok && !refused.Proxy {
		a := responseOf(https.NewResponse(refused.Status, refused.Header, refused.Body))
		failure := readRefusal(op, a)
		if failure.Code == 0 && failure.Err == nil {
			// No credential went with the upgrade, so only the service's own code can be about the
			// device.
			failure.Err = unreadable("the websocket was refused, not by the service itself")
		}
		return failure
	}
	return &Error{Op: op, Err: err}
}

func (x *mqttExchange) register(ctx context.Context) (response, *Error) {
	return x.do(ctx, "register", registerTopic, "", x.body)
}

func (x *mqttExchange) poll(ctx context.Context, operationID string) (response, *Error) {
	if x.token.stale() {
		x.close()
		if failure := x.connect(ctx); failure != nil {
			return response{}, failure
		}
	}
	return x.do(ctx, "poll", pollTopic, "&operationId="+escape(operationID), nil)
}

// do sends one request and waits for its answer.
func (x *mqttExchange) do(
	ctx context.Context, op, topic, parameters string, body []byte,
) (response, *Error) {
	limit := x.client.requestTimeout(mqttRequestTimeout)
	limited, cancel := https.WithLimit(ctx, limit)
	defer cancel()
	// The answer also ends the wait for the request's PUBACK, which says less than the answer does.
	sending, answered := context.WithCancel(limited)
	defer answered()

	request := &mqttRequest{id: rand.Text(), answer: make(chan response, 1), answered: answered}
	x.expect(request)
	defer x.expect(nil)

	err := x.conn.Publish(sending, topic+request.id+parameters, 1, body)
	if err == nil {
		select {
		case a := <-request.answer:
			return a, nil
		case <-limited.Done():
			err = limited.Err()
		case <-x.conn.Context().Done():
			err = context.Cause(x.conn.Context())
		}
	}
	if x.conn.Context().Err() != nil {
		x.close() // returns once everything that arrived before the end was received
	}
	select {
	case a := <-request.answer:
		return a, nil
	default:
		return response{}, &Error{Op: op, Err: https.Cause(ctx, limited, err)}
	}
}

func (x *mqttExchange) expect(request *mqttRequest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.waiting = request
}

// receive takes what the service publishes, and never blocks. Anything but the answer awaited is
// acknowledged and forgotten: the service may repeat an answer, or send one to a request that was
// given up.
func (x *mqttExchange) receive(m mqtt.Message) {
	if m.Ack != nil {
		defer m.Ack()
	}
	status, id, retryAfter, ok := parseResponseTopic(m.Topic)
	if !ok {
		return
	}
	x.mu.Lock()
	request := x.waiting
	if request == nil || request.id != id {
		x.mu.Unlock()
		return
	}
	x.waiting = nil
	x.mu.Unlock()
	request.answer <- response{
		status: status, body: m.Payload, retryAfter: retryAfter,
		marked: true, // no proxy speaks MQTT
	}
	request.answered()
}

// parseResponseTopic reads "$dps/registrations/res/{status}/?$rid={id}&retry-after={seconds}":
// parameters in any order, names in any case.
func parseResponseTopic(topic string) (status int, id, retryAfter string, ok bool) {
	rest, found := strings.CutPrefix(topic, responsePrefix)
	if !found {
		return 0, "", "", false
	}
	code, query, found := strings.Cut(rest, "/?")
	if !found {
		return 0, "", "", false
	}
	number, err := strconv.ParseUint(code, 10, 16)
	if err != nil || number < 100 || number > 999 {
		return 0, "", "", false
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if unescaped, err := url.PathUnescape(value); err == nil {
			value = unescaped
		}
		switch {
		case strings.EqualFold(name, "$rid"):
			id = value
		case strings.EqualFold(name, "retry-after"):
			retryAfter = value
		}
	}
	return int(number), id, retryAfter, id != ""
}
