// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

const (
	maxString  = 65535 // MQTT 3.1.1 §1.5.3
	maxPublish = 268435455 - maxString - 4
	closeWait  = 50 * time.Millisecond // for what is sent at the end, before it is left alone
)

// Options is what a connection is opened with. The zero value of every field but the names has a
// meaning.
type Options struct {
	// ClientID, Username and Password go into CONNECT. An empty password is not sent.
	ClientID, Username, Password string
	// CleanSession makes the server discard the session that it keeps for ClientID (MQTT 3.1.1
	// §3.1.2.4).
	CleanSession bool
	// KeepAlive is how long the server waits for a packet, in whole seconds, at most 65535 s.
	// Default: 240 s. A PINGREQ leaves 15 s before that, or at half of it if that is later, when
	// nothing was sent or nothing came; and when a PUBACK is 30 s late. A peer of which no byte
	// comes for 10 s then is given up; later, by 1 s for each 2 KiB that wait for their PUBACK.
	KeepAlive time.Duration
	// ConnackTimeout bounds the wait for CONNACK. Default: 75 s.
	ConnackTimeout time.Duration
	// WriteTimeout is how long the network may take no byte at all. Default: 10 s.
	WriteTimeout time.Duration
	// AckTimeout ends the connection when a PUBACK or SUBACK is outstanding for as long. Default:
	// none.
	AckTimeout time.Duration
	// MaxPacket is the longest packet accepted from the server, in bytes after the fixed header. A
	// longer one ends the connection before memory is set aside for it, unless LeftOut is set.
	// Default: 384 KiB.
	MaxPacket int
	// LeftOut is told of each message longer than MaxPacket, by the goroutine that reads, and must
	// not wait. The message is read past without memory being set aside for it, and acknowledged: a
	// server that keeps a session would send it again over every connection, none of which would
	// last. One of more than 4 MiB ends the connection all the same.
	LeftOut func(bytes int)
	// MaxInFlight is how many messages may be waiting for their PUBACK, at most MaxWindow. Default:
	// 32.
	MaxInFlight int
	// Receive is called with each message from the server, in order, by the goroutine that reads.
	// It must not wait, but only put the message where it belongs, and must not call Close. nil:
	// messages are thrown away and not acknowledged.
	Receive func(Message)
}

// Conn is one established connection. Its methods are safe for concurrent use.
type Conn struct {
	tap     *tap
	client  paho.Client
	present bool
	done    chan struct{} // everything has ended
}

// Connect sends CONNECT over nc and waits for CONNACK. It owns nc from the start, also when it
// fails. A refusal is a *RefusedError, whatever its code; when ctx ends first, nc is closed and the
// error is ctx's cause. Once accepted, the connection is returned, even if the server has ended it
// already.
func Connect(ctx context.Context, nc net.Conn, o Options) (*Conn, error) {
	if err := o.check(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	o.KeepAlive = cmp.Or(o.KeepAlive, 240*time.Second)
	o.ConnackTimeout = cmp.Or(o.ConnackTimeout, 75*time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 10*time.Second)
	o.MaxPacket = cmp.Or(o.MaxPacket, 384<<10)
	o.MaxInFlight = cmp.Or(o.MaxInFlight, 32)
	c := &Conn{tap: newTap(nc, o), done: make(chan struct{})}
	c.client = paho.NewClient(c.pahoOptions())

	stop := context.AfterFunc(ctx, func() { c.tap.fail(context.Cause(ctx)) })
	timer := time.AfterFunc(o.ConnackTimeout, func() {
		c.tap.fail(&TimeoutError{For: "CONNACK", After: o.ConnackTimeout})
	})
	token := c.client.Connect()
	<-token.Done()
	inTime := timer.Stop()
	inTime = stop() && inTime
	if err := token.Error(); err != nil {
		c.tap.fail(err) // the tap's own reason, if it has one, is the true one
		c.tap.drained.Wait()
		return nil, c.tap.cause()
	}
	if connack, ok := token.(*paho.ConnectToken); ok {
		c.present = connack.SessionPresent()
	}
	if !inTime {
		<-c.done
		return nil, c.tap.cause()
	}
	c.tap.begin()
	return c, nil
}

func (o Options) check(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if o.Password != "" && o.Username == "" {
		return errors.New("mqtt: a password needs a user name")
	}
	if len(o.ClientID) > maxString || len(o.Username) > maxString || len(o.Password) > maxString {
		return errors.New("mqtt: client ID, user name or password is longer than 65535 bytes")
	}
	if o.MaxInFlight < 0 || o.MaxInFlight > MaxWindow {
		return fmt.Errorf("mqtt: %d messages in flight are not 1 to %d", o.MaxInFlight, MaxWindow)
	}
	if o.KeepAlive < 0 || o.KeepAlive > maxString*time.Second || o.KeepAlive%time.Second != 0 {
		return fmt.Errorf(
			"mqtt: keep-alive of %v is not a whole number of seconds up to 65535", o.KeepAlive,
		)
	}
	return nil
}

// broker is a name that is never dialed.
var broker = &url.URL{Scheme: "tcp", Host: "tap"}

func (c *Conn) pahoOptions() *paho.ClientOptions {
	const never = 24 * time.Hour // the tap has the deadlines; Paho must not act before it
	o := paho.NewClientOptions()
	o.Servers = []*url.URL{broker}
	o.SetCustomOpenConnectionFn(c.open)
	o.SetProtocolVersion(4) // or every refusal is tried again as MQTT 3.1
	o.SetClientID(c.tap.options.ClientID)
	o.SetUsername(c.tap.options.Username)
	o.SetPassword(c.tap.options.Password)
	o.SetCleanSession(c.tap.options.CleanSession)
	o.SetKeepAlive(0) // the tap has its own
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetResumeSubs(false)
	o.SetStore(noStore{})
	o.SetOrderMatters(true)
	o.SetAutoAckDisabled(true)
	o.SetDefaultPublishHandler(c.received)
	o.SetConnectionLostHandler(func(_ paho.Client, err error) { c.ended(err) })
	o.SetConnectTimeout(never)
	o.SetWriteTimeout(never)
	o.Dialer, o.WebsocketOptions, o.HTTPHeaders = nil, nil, nil // for connections it does not open
	return o
}

// ended is called when Paho's goroutines have ended, and waits for ours.
func (c *Conn) ended(err error) {
	c.tap.fail(err) // only if Paho found a fault that the tap did not
	c.tap.drained.Wait()
	c.tap.flows.Wait()
	close(c.done)
}

// Context is done when the connection is; its cause says why: ErrClosed, ErrOverflow,
// *TimeoutError, *ProtocolError, or the network's error.
func (c *Conn) Context() context.Context { return c.tap.ctx }

// Acknowledged counts the acknowledgements of messages and subscriptions, and the responses to
// pings: signs that the connection serves.
func (c *Conn) Acknowledged() uint64 { return c.tap.acks.Load() }

// Bytes counts what the network has taken and brought, from the first byte of TLS on: all of it but
// the headers of TCP and below.
func (c *Conn) Bytes() (sent, received int64) {
	return c.tap.line.wrote.Load(), c.tap.line.read.Load()
}

// SessionPresent reports whether the server still held a session for the client ID (MQTT 3.1.1
// §3.2.2.2).
func (c *Conn) SessionPresent() bool { return c.present }

// Close ends the connection: Context is done when it returns. What was acknowledged, DISCONNECT and
// the closing messages below leave first. With a peer that takes no more bytes Close returns after
// 50 ms, and the rest ends within 2 s by itself. It is idempotent, and its error is always nil.
func (c *Conn) Close() error {
	c.tap.end(ErrClosed)
	if !errors.Is(c.tap.cause(), ErrClosed) {
		<-c.done // it has ended already
		return nil
	}
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
	}
	return nil
}

// Subscribe subscribes to a topic filter and returns at the SUBACK. A refusal is a *SubscribeError.
func (c *Conn) Subscribe(ctx context.Context, filter string, qos byte) error {
	if qos > 1 {
		return fmt.Errorf("mqtt: QoS %d is not supported", qos)
	}
	if len(filter) > maxString {
		return fmt.Errorf("mqtt: topic filter of %d bytes is too long", len(filter))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return c.do(ctx, func() paho.Token {
		return c.client.Subscribe(filter, qos, nil)
	}, func(t paho.Token) error {
		token, ok := t.(*paho.SubscribeToken)
		if !ok {
			return errors.New("mqtt: no subscription made")
		}
		if code := token.Result()[filter]; code >= 0x80 {
			return &SubscribeError{Filter: filter, Code: code}
		}
		return nil
	})
}

// Unsubscribe gives a topic filter up and returns at the UNSUBACK.
func (c *Conn) Unsubscribe(ctx context.Context, filter string) error {
	if len(filter) > maxString {
		return fmt.Errorf("mqtt: topic filter of %d bytes is too long", len(filter))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return c.do(ctx, func() paho.Token {
		return c.client.Unsubscribe(filter)
	}, func(paho.Token) error { return nil })
}

// do runs one exchange: the call into Paho, the wait for the acknowledgement, and the check of it.
// The exchange has a goroutine of its own, so that it may outlast ctx.
func (c *Conn) do(ctx context.Context, call func() paho.Token, check func(paho.Token) error) error {
	if err := c.tap.enter(); err != nil {
		return err
	}
	token := call()
	c.tap.leave()
	if !c.tap.flow() {
		return c.await(token, check)
	}
	result := make(chan error, 1)
	go func() {
		defer c.tap.flows.Done()
		result <- c.await(token, check)
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Conn) await(token paho.Token, check func(paho.Token) error) error {
	var late <-chan time.Time
	if c.tap.options.AckTimeout > 0 {
		timer := time.NewTimer(c.tap.options.AckTimeout)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-token.Done():
	case <-late:
		c.tap.fail(&TimeoutError{For: "acknowledgement", After: c.tap.options.AckTimeout})
	case <-c.tap.ctx.Done():
	}
	if err := c.outcome(token); err != nil {
		return err
	}
	return check(token)
}

// outcome is what became of a token whose time is up.
func (c *Conn) outcome(token paho.Token) error {
	select {
	case <-token.Done():
	default:
		return &LostError{Err: c.tap.cause()}
	}
	if err := token.Error(); err != nil {
		if cause := c.tap.cause(); cause != nil {
			return &LostError{Err: cause}
		}
		return fmt.Errorf("mqtt: %w", err) // Paho refuses the request; the connection is up
	}
	return nil
}

// open hands Paho the connection that there already is.
func (c *Conn) open(*url.URL, paho.ClientOptions) (net.Conn, error) { return c.tap, nil }
