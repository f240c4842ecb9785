package provisioning

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// Device keeps a device connected to the hub it belongs to. It remembers the assignment, connects there directly at every start, and goes
// back to DPS only when the hub's answer calls for it; the package documentation has the rules.
//
// Set the fields before the first call and leave them alone afterwards. The methods may be called from several goroutines at once, but only
// one of Run, Connect, and Send or Receive can be under way. A Device must not be copied after its first use.
type Device struct {
	// IDScope names the DPS instance, such as "0ne00ABCDEF". Required.
	IDScope string

	// Attestation is who the device is. Required.
	Attestation dps.Attestation

	// Store is where the assignment is remembered, such as a [cache.Dir]. Nil remembers nothing: every start asks DPS where the device
	// belongs, which counts against the quota of registrations and fails where DPS cannot be reached.
	Store cache.Store

	// Endpoint, Transport, APIVersion and UserAgent are as in [dps.Client].
	Endpoint   string
	Transport  dps.Transport
	APIVersion string
	UserAgent  string

	// Payload is sent with every registration, as in [dps.Registration]. Nil sends the ModelID, if there is one.
	Payload any

	// ModelID is the IoT Plug and Play model that the device implements, such as "dtmi:com:example:thermostat;1". It is announced to the
	// hub at every connection (Hub.ModelID, if set, is announced instead) and, unless there is a Payload, to DPS as {"modelId": …}, where an
	// allocation of your own can read it. HTTPS has no place for it: a hub learns it from Run and Connect, not from Send. Empty announces
	// nothing.
	ModelID string

	// Hub holds the settings of the connection to the hub. DialContext, TLSConfig, Proxy, UserAgent and Logger are taken from the fields
	// here where Hub leaves them empty.
	Hub hubconn.Dialer

	// DialContext, TLSConfig and Proxy are as in [dps.Client], and serve DPS and the hub.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	TLSConfig   *tls.Config
	Proxy       func(*http.Request) (*url.URL, error)

	// Stagger spreads a fleet's first DPS request after a common event (first boot, a hub that is gone) evenly over this time; about the
	// number of devices divided by the quota (1,000 a minute for each DPS instance). Zero asks at once. A connection to a remembered hub
	// is never delayed by it, nor is Reprovision.
	Stagger time.Duration

	// Retry adjusts the back-off. MinDelay raises the floor of 5 s (it cannot lower it), MaxDelay replaces the cap of the hub's random
	// delay, 5 min (and raises that of DPS, 1 h), and MaxAttempts bounds the failures in a row, of hub and DPS together, after which Run,
	// Connect, Send and Receive return the last error. Zero: the delays of the package documentation, for ever.
	Retry retry.Policy

	// Trace observes the device. Logger receives one line per change of state, with the keys state, hub, source, cause and wait; nil logs
	// nothing.
	Trace  *Trace
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
var ErrRunning = errors.New("provisioning: the device is running already: call Run once, use or close the connection from Connect first, let Send and Receive return")

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
	defer c.release()
	return c.supervise(ctx, mode{session: session})
}

// Connect returns a connection to the hub, by the same rules as Run, and leaves it to the caller: it does not reconnect. Call Connect
// again after the connection has ended; how it ended is taken into account. The caller closes the connection.
func (d *Device) Connect(ctx context.Context) (*hubconn.Conn, error) {
	c, err := d.acquire(ctx, holderMain)
	if err != nil {
		return nil, err
	}
	defer c.release()
	if err := c.supervise(ctx, mode{until: func(s *state) bool { return s.connected }}); err != nil {
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
		changed := c.changed()
		if k := c.peek(); k != nil {
			return k.Assignment, nil
		}
		wait := c.take(holderHelper)
		if wait == nil {
			err := c.supervise(ctx, mode{noHub: true, until: func(s *state) bool { return s.target() != nil }})
			k := c.state.target()
			c.release()
			if errors.Is(err, errUnserved) {
				continue
			}
			if err != nil {
				return dps.Assignment{}, err
			}
			return k.Assignment, nil
		}
		select {
		case <-changed:
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
	asked := &asking{kind: eventReprovision, answer: make(chan answer, 1)}
	return c.ask(ctx, asked)
}

// Forget drops what is remembered, in the store too: a factory reset. A live connection is not touched; when it ends, or at the next start,
// the device registers as if for the first time. The error is the store's.
func (d *Device) Forget(ctx context.Context) error {
	c, err := d.prepare()
	if err != nil {
		return err
	}
	asked := &asking{kind: eventForget, answer: make(chan answer, 1)}
	_, err = c.ask(ctx, asked)
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
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	if c.held == nil && c.live != nil && c.live.Context().Err() != nil { // nobody watches a connection that Connect returned
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
	if err := c.takeOver(ctx, as); err != nil {
		return nil, err
	}
	if c.conn != nil && c.conn.Context().Err() == nil {
		c.release()
		return nil, ErrRunning
	}
	return c, nil
}

func (d *Device) client(clock *wallClock) *dps.Client {
	return &dps.Client{
		IDScope: d.IDScope, Attestation: d.Attestation, Endpoint: d.Endpoint, Transport: d.Transport, APIVersion: d.APIVersion,
		UserAgent: d.UserAgent, TLSConfig: withClock(d.TLSConfig, clock), DialContext: d.DialContext, Proxy: d.Proxy,
	}
}

func (d *Device) dialer(clock *wallClock) *hubconn.Dialer {
	h := d.Hub
	if h.DialContext == nil {
		h.DialContext = d.DialContext
	}
	if h.TLSConfig == nil {
		h.TLSConfig = d.TLSConfig
	}
	if h.Proxy == nil {
		h.Proxy = d.Proxy
	}
	if h.UserAgent == "" {
		h.UserAgent = d.UserAgent
	}
	if h.Logger == nil {
		h.Logger = d.Logger
	}
	if h.ModelID == "" {
		h.ModelID = d.ModelID
	}
	h.TLSConfig = withClock(h.TLSConfig, clock)
	return &h
}

// withClock makes tokens and certificates be judged by the corrected time.
func withClock(config *tls.Config, clock *wallClock) *tls.Config {
	if config == nil {
		config = &tls.Config{}
	}
	config = config.Clone()
	config.Time = clock.Now
	return config
}

func (d *Device) rules(token bool) rules {
	r := defaultRules()
	r.stagger, r.token, r.lookupElsewhere = max(d.Stagger, 0), token, d.Transport == dps.MQTT
	for _, p := range []*retry.Policy{&r.hub, &r.dps} {
		p.MinDelay = max(p.MinDelay, d.Retry.MinDelay)
		if d.Retry.Multiplier > 1 {
			p.Multiplier = d.Retry.Multiplier
		}
	}
	if d.Retry.MaxDelay > 0 {
		r.hub.MaxDelay, r.dps.MaxDelay = d.Retry.MaxDelay, max(r.dps.MaxDelay, d.Retry.MaxDelay)
	}
	return r
}

func (d *Device) validate(client *dps.Client) error {
	if err := client.Validate(); err != nil {
		return err
	}
	if err := d.Hub.Validate(); err != nil {
		return invalid(fmt.Errorf("hub: %w", err))
	}
	if err := checkModelID(d.ModelID); err != nil {
		return invalid(err)
	}
	if err := (dps.Registration{Payload: d.payload()}).Validate(); err != nil {
		return err
	}
	for _, limit := range []struct {
		field string
		wrong bool
	}{
		{"stagger", d.Stagger < 0},
		{"retry.mindelay", d.Retry.MinDelay < 0},
		{"retry.maxdelay", d.Retry.MaxDelay < 0},
		{"retry.maxattempts", d.Retry.MaxAttempts < 0},
		{"retry.multiplier", d.Retry.Multiplier < 0},
	} {
		if limit.wrong {
			return invalid(fmt.Errorf("%s is negative: use zero for the default", limit.field))
		}
	}
	return nil
}

// invalid is an error in what the program set.
func invalid(err error) error { return &dps.Error{Op: "validate", Err: err} }
