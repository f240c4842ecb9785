// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rehome-iot/rehome/internal/dial"
	"github.com/rehome-iot/rehome/internal/mqtt"
)

// Conn is a device's connection to its hub, made by [Dialer.Dial]. Under it there may be several
// network connections (links), one after another: each SAS token and each credential has its own.
// Its methods are safe for concurrent use. It belongs to the caller of Dial, who closes it; one
// that is only dropped goes on keeping itself alive.
type Conn struct {
	dialer Dialer
	hub    Hub
	events string // where telemetry goes
	since  time.Time
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{}  // supervise has returned
	late   sync.WaitGroup // those who hear from the hub what nobody waits for any more

	swaps  chan *swap    // to other credentials, for supervise; nil: look at the time
	expiry time.Time     // of the token that the link was opened with; zero: it has none
	life   time.Duration // what was left until then when the link came into use

	inbox        inbox        // messages for Messages
	twinRequests twinRequests // to twin operations
	feeds        feeds        // of desired properties
	calls        calls        // of methods

	sent, acknowledged atomic.Uint64 // messages of Send
	inFlight           atomic.Int32  // of them

	mu            sync.Mutex
	credential    Credential     // changed by supervise alone
	renewed       uint32         // how often the token was
	swapped       uint32         // how often the credential was
	link          *mqtt.Conn     // nil while one replaces another
	changed       chan struct{}  // closed when link is replaced; nil: nobody waits for that
	acks          uint64         // of former links
	bytes         [2]int64       // sent and received, over former links
	endedAt       time.Time      // zero while it lives
	issues        *issues        // of certificates; nil: none has been asked for
	subscriptions []subscription // that each link has
	lingering     bool           // the hub's session may have the one to messages
	partings      int32          // subscriptions given up of which the hub has not said so yet
	turn          chan struct{}  // holds one token while that one is made, or given up
	partUntil     time.Time      // how long that is waited for
}

// Stats is what has happened on a connection.
type Stats struct {
	// Since is when the hub accepted the connection; renewals do not change it.
	Since time.Time
	// Responses counts the hub's acknowledgements (PUBACK, SUBACK) and ping responses since then: a
	// connection without one was accepted, but has not worked yet.
	Responses uint64
	// Sent counts the messages of Send, but for those that it refused; one that a renewal has sent
	// again is one.
	Sent uint64
	// Acknowledged counts the messages of Send that the hub has acknowledged.
	Acknowledged uint64
	// InFlight is how many calls of Send wait now: for a place among MaxInFlight, or for the hub's
	// acknowledgement. What was sent is acknowledged, in flight, or has failed.
	InFlight int
	// BytesSent and BytesReceived count what the connection has cost on the network: all that TCP
	// has carried, the handshakes of TLS and of renewals included, an attempt of a renewal that
	// failed not.
	BytesSent, BytesReceived int64
	// Renewed counts the renewals of the token.
	Renewed uint64
	// Swapped counts the changes to another credential, by SetCredential.
	Swapped uint64
	// Ended is when the connection ended, zero while it lives.
	Ended time.Time
}

func newConn(ctx context.Context, d Dialer, hub Hub, credential Credential) *Conn {
	c := &Conn{
		dialer: d, hub: hub, events: hub.events(), credential: credential,
		done: make(chan struct{}), swaps: make(chan *swap),
		lingering: true, // an earlier process may have left it
	}
	c.dialer.sessions = &dial.Session{}
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	return c
}

// end ends the connection, unless it has ended before.
func (c *Conn) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.endedAt.IsZero() {
		c.endedAt = time.Now()
		c.cancel(cause)
	}
}

// Hub returns where, and as whom, the connection is.
func (c *Conn) Hub() Hub { return c.hub }

// Context is done when the connection has ended, and before any Send returns because of that. Its
// cause is an *Error with the reason; ErrClosed, or what CloseCause was given, when the program
// ended it. It has the values of Dial's ctx, but not its end.
func (c *Conn) Context() context.Context { return c.ctx }

// Stats returns the connection's numbers as they are now, also after its end. It costs no more than
// reading a few numbers; they need not be of the very same moment.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{
		Since: c.since, Responses: c.acks, Ended: c.endedAt, Renewed: uint64(c.renewed),
		Swapped: uint64(c.swapped), BytesSent: c.bytes[0], BytesReceived: c.bytes[1],
		Acknowledged: c.acknowledged.Load(), Sent: c.sent.Load(), InFlight: int(c.inFlight.Load()),
	}
	if c.link != nil {
		s.Responses += c.link.Acknowledged()
		sent, received := c.link.Bytes()
		s.BytesSent += sent
		s.BytesReceived += received
	}
	return s
}

// Close disconnects and waits for all that the connection started, at most a few seconds. It is
// idempotent, its error always nil. Context's cause is ErrClosed, unless the connection has ended
// before.
func (c *Conn) Close() error { return c.CloseCause(nil) }

// CloseCause is Close with another cause for Context, by which whoever waits for the connection's
// end can tell why the program ended it; nil is ErrClosed. Of several calls the first decides.
func (c *Conn) CloseCause(cause error) error {
	if cause == nil {
		cause = ErrClosed
	}
	c.end(cause)
	<-c.done
	return nil
}

// next is a network connection over which CONNECT can be sent, with the token for it.
type next struct {
	nc          net.Conn
	token       string
	expiry      time.Time
	certificate *tls.Certificate
}

// dial gets the certificate and token of a credential, then opens the network connection.
func (c *Conn) dial(ctx context.Context, credential Credential) (next, error) {
	requested := time.Now()
	certificate, token, err := c.dialer.identify(ctx, c.hub, credential)
	if err != nil {
		return next{}, &Error{Op: "dial", Hub: c.hub, Err: err}
	}
	expiry := c.dialer.expiry(token, requested)
	nc, err := c.dialer.open(ctx, c.hub, certificate)
	if err != nil {
		c.dialer.forgetSession(c.hub, certificate)
		return next{}, classify("dial", c.hub, err)
	}
	return next{nc: nc, token: token, expiry: expiry, certificate: certificate}, nil
}

// connect sends CONNECT and, when the hub accepts it, makes the subscriptions of the former link on
// the new one and puts that in use.
func (c *Conn) connect(ctx context.Context, n next) error {
	c.inbox.detach(false)
	o := c.dialer.options(c.hub, n.token)
	o.Receive, o.LeftOut = c.receive, c.leftOut
	link, err := mqtt.Connect(ctx, n.nc, o)
	if err != nil {
		c.dialer.forgetSession(c.hub, n.certificate)
		return classify("connect", c.hub, err)
	}
	c.mu.Lock()
	c.lingering = c.lingering && link.SessionPresent() ||
		slices.Contains(c.subscriptions, c.hub.toMessages())
	c.mu.Unlock()
	if err := c.restore(ctx, link); err != nil {
		c.inbox.detach(true)
		_ = link.Close()
		return classify("connect", c.hub, err)
	}
	c.inbox.attach()
	c.expiry, c.life = n.expiry, time.Until(n.expiry)
	c.feeds.markStale()
	return nil
}

// replace makes link the one in use; nil is none for now.
func (c *Conn) replace(link *mqtt.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exchangeLink(link)
}

// exchangeLink is replace with mu held.
func (c *Conn) exchangeLink(link *mqtt.Conn) {
	if c.link != nil {
		c.acks += c.link.Acknowledged()
		sent, received := c.link.Bytes()
		c.bytes[0] += sent
		c.bytes[1] += received
	}
	c.link = link
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// count adds one to a number of Stats.
func (c *Conn) count(number *uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*number++
}

func (c *Conn) current() *mqtt.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}

// ended is the error of an operation when the connection or ctx has ended.
func (c *Conn) ended(ctx context.Context, op string) error {
	switch {
	case c.ctx.Err() != nil:
		return classify(op, c.hub, context.Cause(c.ctx))
	case ctx.Err() != nil:
		return classify(op, c.hub, context.Cause(ctx))
	}
	return nil
}

// pause waits, within the connection and ctx.
func (c *Conn) pause(ctx context.Context, op string, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
	case <-ctx.Done():
	}
	return c.ended(ctx, op)
}

// await waits for another link than this one; its error is the end of the connection or of ctx.
func (c *Conn) await(ctx context.Context, op string, link *mqtt.Conn) error {
	c.mu.Lock()
	if c.link != link {
		c.mu.Unlock()
		return nil
	}
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	changed := c.changed
	c.mu.Unlock()
	select {
	case <-changed:
		return nil
	case <-c.ctx.Done():
		return classify(op, c.hub, context.Cause(c.ctx))
	case <-ctx.Done():
		return classify(op, c.hub, context.Cause(ctx))
	}
}

// within returns a context that ends with ctx, and with the connection and its cause. Its cancel
// must be called.
func (c *Conn) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// log writes to the program's Logger, if it has one. What is in a message, a twin or a call is
// never logged.
func (c *Conn) log(level slog.Level, message string, args ...slog.Attr) {
	if c.dialer.Logger == nil {
		return
	}
	attrs := []slog.Attr{
		slog.String("hub", c.hub.Host), slog.String("device_id", c.hub.DeviceID),
	}
	if c.hub.ModuleID != "" {
		attrs = append(attrs, slog.String("module", c.hub.ModuleID))
	}
	c.dialer.Logger.LogAttrs(c.ctx, level, message, append(attrs, args...)...)
}
