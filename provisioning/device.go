package provisioning

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// Device keeps a device connected to the hub it belongs to. It remembers the assignment, connects
// there directly at every start, and goes back to DPS only when the hub's answer calls for it; the
// package documentation has the rules.
//
// Set the fields before the first call and leave them alone afterwards: they are read once. The
// methods may be called from several goroutines at once, but only one of Run, Connect, and Send or
// Receive can be under way. A Device must not be copied after its first use.
type Device struct {
	// IDScope names the DPS instance, such as "0ne00ABCDEF": Azure portal, the instance's overview
	// page. Required. With a wrong one DPS refuses every registration.
	IDScope string

	// Attestation is who the device is. Required.
	Attestation dps.Attestation

	// Store is where the assignment is remembered, such as a [cache.Dir]. Nil remembers nothing: every
	// start asks DPS where the device belongs, which counts against the quota of registrations and
	// fails where DPS cannot be reached.
	Store cache.Store

	// Endpoint is the host of DPS, with a port if it is not the transport's own. Empty:
	// [dps.DefaultEndpoint]. What is remembered holds for one endpoint: another one registers anew.
	Endpoint string

	// Transport carries registrations. Zero: [dps.HTTPS]. Status lookups and clock checks use HTTPS
	// whatever it is. That of the connection to the hub is Hub.WebSocket.
	Transport dps.Transport

	// APIVersion is DPS's API version, such as "2021-06-01", which is the default. Versions before
	// 2019-03-31 know no payload.
	APIVersion string

	// UserAgent names the product to DPS and the hub. Empty: "rehome" and the platform. It shows in the
	// service's own records and in nothing else.
	UserAgent string

	// Payload is sent with every registration, for a custom allocation policy to read. It is marshalled
	// to JSON. Nil sends the ModelID, if there is one.
	Payload any

	// ModelID is the IoT Plug and Play model that the device implements, such as
	// "dtmi:com:example:thermostat;1". It is announced to the hub at every connection (Hub.ModelID, if
	// set, is announced instead) and, unless there is a Payload, to DPS as {"modelId": …}, where an
	// allocation of your own can read it. HTTPS has no place for it: a hub learns it from Run and
	// Connect, not from Send. Empty announces nothing.
	ModelID string

	// Hub holds the settings of the connection to the hub. DialContext, TLSConfig, Proxy, UserAgent and
	// Logger are taken from the fields here where Hub leaves them empty.
	Hub hubconn.Dialer

	// DialContext opens the TCP connections to DPS and the hub, to a proxy's address if there is one.
	// Nil: a [net.Dialer]. It is called from several goroutines at once.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// TLSConfig is cloned for each connection to DPS and the hub. Set RootCAs for private roots, and
	// Time for a clock that is better than the system's. Nil: the system's roots and clock. The least
	// version is TLS 1.2 in any case; InsecureSkipVerify is refused.
	TLSConfig *tls.Config

	// Proxy chooses the proxy for HTTPS and WebSocket, to DPS and the hub; MQTT on port 8883 uses none.
	// Nil: [http.ProxyFromEnvironment].
	Proxy func(*http.Request) (*url.URL, error)

	// Stagger spreads a fleet's first DPS request after a common event (first boot, a hub that is gone)
	// evenly over this time; about the number of devices divided by the quota (1,000 a minute for each
	// DPS instance). Zero asks at once. A connection to a remembered hub is never delayed by it, nor is
	// Reprovision.
	Stagger time.Duration

	// Retry adjusts the back-off. MinDelay raises the floor of 5 s (it cannot lower it), MaxDelay
	// replaces the cap of the hub's random delay, 5 min (and raises that of DPS, 1 h), and MaxAttempts
	// bounds the failures in a row, of hub and DPS together, after which Run, Connect, Send and Receive
	// return the last error. Zero: the delays of the package documentation, for ever.
	Retry retry.Policy

	// Trace observes the device. Nil observes nothing.
	Trace *Trace

	// Logger receives one line per change of state, with the keys state, hub, source, cause and wait,
	// and one when the store fails. No key and no token is in any. Nil logs nothing.
	Logger *slog.Logger

	mu   sync.Mutex
	core *core
}

// ErrReprovisioned is the cause with which a session's context ends when the device was moved to another hub, or got another device ID, by
// Reprovision. The next session runs there. A service that removes the device from the old hub before it has told the device ends that
// connection first; the cause is then the lost connection, and the next session runs on the new hub all the same.
var ErrReprovisioned = errors.New("provisioning: the device was assigned to another hub")

// ErrRunning is returned by Run, Connect, Send and Receive while Run or Connect is under way or a connection that Connect returned is open,
// and by Run and Connect while Send or Receive is under way.
var ErrRunning = errors.New("provisioning: the device is running already: call Run once, " +
	"use or close the connection from Connect first, let Send and Receive return")

// Run keeps the device connected and calls session for every connection, one at a time: for the first one, and again for the next whenever a
// connection has ended. The session's context ends when the connection does, with the reason as its cause, and with [ErrReprovisioned]
// when the device has been moved. A session may call the other methods, with its own context; the next one waits until it has returned.
//
// Run returns when ctx ends (the cause, and the last failure if the device was not connected), when session returns while its connection is
// up (what it returned, after the connection was closed in good order), when Retry.MaxAttempts is reached, or, before any use of the
// network, when a field is wrong. It retries everything else: a device that gave up would have to be visited. When it returns, everything
// it started has ended.
func (d *Device) Run(ctx context.Context, session func(ctx context.Context, hub *hubconn.Conn) error) error {
	if session == nil {
		return invalid(errors.New("session is nil: pass the function to run on each connection"))
	}
	c, err := d.acquire(ctx, holderMain)
	if err != nil {
		return err
	}
	defer c.lease.release()
	return c.drive(ctx, task{purpose: toRun, session: session})
}

// Connect returns a connection to the hub, by the same rules as Run, and leaves it to the caller: it does not reconnect. Call Connect
// again after the connection has ended; how it ended is taken into account. The caller closes the connection.
func (d *Device) Connect(ctx context.Context) (*hubconn.Conn, error) {
	c, err := d.acquire(ctx, holderMain)
	if err != nil {
		return nil, err
	}
	defer c.lease.release()
	if err := c.drive(ctx, task{purpose: toConnect}); err != nil {
		return nil, err
	}
	return c.conn, nil
}

// Assignment returns where the device belongs, for programs with an MQTT client of their own: what is remembered, without any request,
// else what DPS says, by the same rules as Run. A program whose hub turns the device away calls Reprovision.
func (d *Device) Assignment(ctx context.Context) (dps.Assignment, error) {
	c, err := d.prepare()
	if err != nil {
		return dps.Assignment{}, err
	}
	for {
		published := c.nextPublication()
		if k := c.publishedTarget(); k != nil {
			return k.Assignment, nil
		}
		wait := c.lease.tryAcquire(holderHelper)
		if wait == nil {
			err := c.drive(ctx, task{purpose: toLocate})
			k := knownFrom(c.state.Target())
			c.lease.release()
			switch {
			case errors.Is(err, errUnserved):
				continue
			case err != nil:
				return dps.Assignment{}, err
			}
			return k.Assignment, nil
		}
		select {
		case <-published:
		case <-wait:
		case <-ctx.Done():
			return dps.Assignment{}, context.Cause(ctx)
		}
	}
}

// Reprovision registers through DPS at once, while the current connection stays up; Stagger does not delay it. If DPS names the same hub and
// device ID, the session goes on. If it names another, that is remembered, and the session's context ends with [ErrReprovisioned], as does
// the context of a connection that Connect returned. If DPS fails, assignment and connection stay as they were, and the error is returned;
// so it is, without a request, while DPS has asked to be left alone ([retry.After] tells for how long).
//
// Calls at the same time share one registration. During Run it goes on when ctx of one caller ends; without a Run it is that of a caller, and
// begins anew for the others. A call that finds Run ending while its session is still running fails.
func (d *Device) Reprovision(ctx context.Context) (dps.Assignment, error) {
	c, err := d.prepare()
	if err != nil {
		return dps.Assignment{}, err
	}
	return c.serve(ctx, newCall(rules.Reprovision{}))
}

// Forget drops what is remembered, in the store too: a factory reset. A live connection is not touched; when it ends, or at the next start,
// the device registers as if for the first time. The error is the store's.
func (d *Device) Forget(ctx context.Context) error {
	c, err := d.prepare()
	if err != nil {
		return err
	}
	_, err = c.serve(ctx, newCall(rules.Forget{}))
	return err
}

// Status says what the device is doing and why. It never blocks on the network.
func (d *Device) Status() Status {
	d.mu.Lock()
	c := d.core
	d.mu.Unlock()
	if c == nil {
		return Status{State: StateStopped}
	}
	driven, _ := c.lease.heldBy()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	if !driven && c.live != nil && c.live.Context().Err() != nil { // nobody watches a connection that Connect returned
		s.State, s.Err = StateStopped, context.Cause(c.live.Context())
		s.Cause = oneline.Of(s.Err.Error(), causeMax)
		s.Class = hubconn.ClassOf(s.Err)
	}
	return s
}

// prepare checks the fields and builds, once, what the methods share.
func (d *Device) prepare() (*core, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.core != nil {
		return d.core, nil
	}
	c, err := newCore(d)
	if err != nil {
		return nil, err
	}
	d.core = c
	return c, nil
}

// acquire takes the device over for Run, Connect, Send or Receive.
func (d *Device) acquire(ctx context.Context, as holder) (*core, error) {
	c, err := d.prepare()
	if err != nil {
		return nil, err
	}
	if err := c.lease.acquire(ctx, as); err != nil {
		return nil, err
	}
	if c.conn != nil && c.conn.Context().Err() == nil {
		c.lease.release()
		return nil, ErrRunning
	}
	return c, nil
}
