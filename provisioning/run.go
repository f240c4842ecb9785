// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// Run keeps the device connected and calls session for every connection, one at a time: for the
// first one, and again for the next whenever a connection has ended. The session's context ends
// when the connection does, with the reason as its cause, and with [ErrReprovisioned] when the
// device has been moved. A session may call the other methods, with its own context; the next one
// waits until it has returned.
//
// Run returns when ctx ends (the cause, and the last failure if the device was not connected), when
// session returns while its connection is up (what it returned, after the connection was closed in
// good order), when Retry.MaxAttempts is reached, or, before any use of the network, when a field
// is wrong. It retries everything else: a device that gave up would have to be visited. When it
// returns, everything it started has ended, but for a call of a Store that hangs.
func (d *Device) Run(
	ctx context.Context, session func(ctx context.Context, hub *hubconn.Conn) error,
) error {
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

// Connect returns a connection to the hub, by the same rules as Run, and leaves it to the caller:
// it does not reconnect. Call Connect again after the connection has ended; how it ended is taken
// into account. The caller closes the connection.
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

// Assignment returns where the device belongs, for programs that need to know: what is remembered,
// without any request, else what DPS says, by the same rules as Run. One that connects there with
// an MQTT client of its own uses NextAttempt, or tells what became of it by Confirm, Rejected or
// Closed. After Forget, while there is still a connection, Assignment is what Reprovision is. A
// call that finds Run ending while its session is still running, and nothing remembered, fails.
func (d *Device) Assignment(ctx context.Context) (dps.Assignment, error) {
	c, err := d.prepare()
	if err != nil {
		return dps.Assignment{}, err
	}
	for {
		published := c.nextPublication()
		switch k, connected, ending := c.publishedTarget(); {
		case k != nil:
			return k.Assignment, nil
		case ending:
			return dps.Assignment{}, errStopped
		case connected: // and nothing is remembered: the rules ask DPS when the connection ends
			return c.serve(ctx, newCall(rules.Reprovision{}))
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

// Reprovision registers through DPS at once, while the current connection stays up; Stagger does
// not delay it. If DPS names the same hub and device ID, the session goes on. If it names another,
// that is remembered, and the session's context ends with [ErrReprovisioned], as does the context
// of a connection that Connect returned. If DPS fails, assignment and connection stay as they were,
// and the error is returned; so it is, without a request, while DPS has asked to be left alone
// ([retry.After] tells for how long).
//
// Calls at the same time share one registration. During Run it goes on when ctx of one caller ends;
// without a Run it is that of a caller, and begins anew for the others. A call that finds Run
// ending while its session is still running fails.
//
// The reason, such as "direct method", is what Trace, the log and Status say about the request; of
// calls that share one registration, the first one's. It may be empty.
func (d *Device) Reprovision(ctx context.Context, reason string) (dps.Assignment, error) {
	c, err := d.prepare()
	if err != nil {
		return dps.Assignment{}, err
	}
	return c.reprovision(ctx, reason)
}

// Renew has a certificate issued now, whenever the one in use expires: over the hub, if the device
// is connected, else by a registration. The session goes on. It returns when the new certificate is
// stored, and the hub has been asked to take it; if that fails, the one before stays in use, and
// the error is returned. Calls at the same time share one. Without Issuance, Renew fails. While DPS
// has asked to be left alone, so does a Renew of a device that is not connected.
func (d *Device) Renew(ctx context.Context) error {
	c, err := d.prepare()
	if err != nil {
		return err
	}
	if c.certs == nil {
		return invalid(errors.New("issuance is nil: set it to have certificates issued"))
	}
	_, err = c.serve(ctx, newCall(rules.Renew{}))
	return err
}

func (c *core) reprovision(ctx context.Context, reason string) (dps.Assignment, error) {
	a := newCall(rules.Reprovision{})
	a.reason = oneline.Of(reason, reasonMax)
	return c.serve(ctx, a)
}

// Nudge tells the device that the network may be back, as when a link has come up or an address was
// assigned. The next try is brought forward where nobody answered the last one: within seconds, and
// never before what hub and DPS have asked for. The device's modules are told, too. It does nothing
// to a device that is connected, or that no method drives. It returns at once.
func (d *Device) Nudge() {
	d.mu.Lock()
	c := d.core
	d.mu.Unlock()
	if c == nil {
		return
	}
	c.nudge()
	c.mu.Lock()
	defer c.mu.Unlock()
	for m := range c.modules {
		m.nudge()
	}
}

func (c *core) nudge() {
	select {
	case c.nudges <- struct{}{}:
	default: // one is on its way
	}
}

// Forget drops what is remembered, in the store too: a factory reset. A live connection is not
// touched; when it ends, or at the next start, the device registers as if for the first time. The
// error is the store's, or ctx's.
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
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	driven, _ := c.lease.heldBy()
	// nobody watches a connection that Connect returned
	if !driven && c.live != nil && isStable(c.live) {
		s.DownSince, s.DownAttempts = c.live.Stats().Ended, 0
	}
	if !driven && c.live != nil && c.live.Context().Err() != nil {
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
		if d.core.of != d {
			return nil, invalid(errors.New("the device was copied after its first use: keep " +
				"one, and pass a pointer to it"))
		}
		return d.core, nil
	}
	c, err := newCore(d)
	if err != nil {
		return nil, err
	}
	c.of, d.core = d, c
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
