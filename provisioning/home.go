// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"time"

	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// home is what a device publishes for its modules.
type home struct {
	_ [0]func() // never compared, which saves code in a device's program

	assignment *known // where they belong, nil if nobody knows
	candidate  *known // what DPS has named since, unless that is it
	driven     bool   // a call connects the device to its hub, or tries to
	named      *known // what DPS has named last, in this process
	namedAt    time.Time
	over       time.Time // what the device knows of the transports to the hub: choice.since

	connected bool // the device is
	since     time.Time
	ending    bool
}

// locateGrace is how long a module waits for a call that drives its device before it asks where
// that belongs: a program starts Run and its modules side by side, in any order.
const locateGrace = time.Second

// lastGap is the longest distance between two questions about one rejection.
const lastGap = len(rules.RejectionGaps) - 1

// homeNow is what the modules of a device see of it. While a call drives the device, they belong
// where that was accepted, and not where DPS has sent it until that has worked; while none does, to
// the last that DPS said, since nothing would confirm it.
func (c *core) homeNow() home {
	h := c.home
	confirmed, target := knownFrom(c.state.Confirmed), knownFrom(c.state.Target())
	h.driven, h.over = c.driving && !c.hubless, c.toHub.since
	h.assignment, h.candidate = target, nil
	if confirmed != nil && confirmed != target && (h.driven || c.state.Connected) {
		h.assignment, h.candidate = confirmed, target
	}
	return h
}

// visit returns what was published for modules.
func (c *core) visit() home {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.home
	h.ending = c.ending
	if c.live != nil && c.live.Context().Err() == nil {
		h.connected, h.since = true, c.live.Stats().Since
	}
	return h
}

// named publishes what DPS has said where the device belongs, whether that is news or not.
func (c *core) named(k *known) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.home.named, c.home.namedAt = k, time.Now()
}

// of is where a module belongs that has been at an assignment. One that has gone ahead of its
// device, while nobody drove that, need not go back and forth.
func (h *home) of(at rules.Assignment) rules.Assignment {
	if k := h.candidate; k != nil && !h.connected && k.named().SameAs(at) {
		return k.named()
	}
	return h.assignment.named()
}

// answered says that DPS has told lately that the device belongs there: to ask again would lead to
// the same. While the device is connected there too, that holds for as long as it is.
func (h *home) answered(a rules.Assignment) bool {
	return h.named.named().SameAs(a) && (h.connected && h.namedAt.After(h.since) ||
		time.Since(h.namedAt) < rules.RejectionGaps[lastGap])
}

// locate returns when it is known where the device belongs, which it finds out if nobody else does.
func (c *core) locate(ctx context.Context) error {
	grace := time.After(locateGrace)
	begun := time.Now()
	for {
		published := c.nextPublication()
		h := c.visit()
		if h.assignment != nil {
			return nil
		}
		var held <-chan struct{}
		if !h.connected && !h.ending && time.Since(begun) >= locateGrace {
			if held = c.lease.tryAcquire(holderHelper); held == nil {
				err := c.drive(ctx, task{purpose: toLocate})
				c.lease.release()
				if err != nil && !errors.Is(err, errUnserved) {
					return err
				}
				continue
			}
		}
		select {
		case <-published:
		case <-held:
		case <-grace:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// takeTurn waits until no other module of the device asks anything.
func (c *core) takeTurn(ctx context.Context) error {
	select {
	case c.question <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *core) endTurn() { <-c.question }

// askForModule has DPS say where the device belongs, because a module fails at its hub, unless that
// is known or the device asks for itself. A rejected module waits for the device to be connected,
// or left alone; what else is wrong with a hub is the device's matter as long as a call drives it.
func (c *core) askForModule(
	ctx context.Context, at rules.Assignment, rejected bool, reason string,
) error {
	if err := c.takeTurn(ctx); err != nil {
		return err
	}
	defer c.endTurn()
	for {
		published := c.nextPublication()
		h := c.visit()
		waits := h.driven && !h.connected
		switch {
		case !h.of(at).SameAs(at), h.answered(at), !rejected && (h.driven || h.connected):
			return nil
		case !waits:
			return c.reprovisionFor(ctx, reason)
		}
		select {
		case <-published:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// reprovisionFor is Reprovision, but for a device that waits because DPS has failed or refused it:
// a module is no person who has changed something.
func (c *core) reprovisionFor(ctx context.Context, reason string) error {
	c.mu.Lock()
	s := c.status
	c.mu.Unlock()
	if wait := time.Until(s.NextDPS); s.DPSAttempts > 0 && wait > 0 {
		return &TooSoonError{Wait: wait}
	}
	_, err := c.reprovision(ctx, reason)
	return err
}

// follow takes in where the device of a module belongs. What it returns is closed when there may be
// something new.
func (l *loop) follow() <-chan struct{} {
	if l.device == nil {
		return nil
	}
	published := l.device.nextPublication()
	h, was := l.device.visit(), l.state.Confirmed
	if l.tried.IsZero() { // from then on it sees for itself
		l.toHub.since = h.over
	}
	a := h.of(was)
	same := a.SameAs(was) && a.Incompatible == was.Incompatible || !a.Known() && !was.Known()
	if !same {
		k := knownFrom(a)
		l.step(rules.Follow{Assignment: a, Named: k != nil && k.source != SourceStore})
	}
	return published
}

// askDevice is what a module does in place of a request to DPS.
func (l *loop) askDevice(why rules.Reason, register bool) {
	at, d, reason := l.state.Confirmed, l.device, ""
	if l.last.err != nil {
		reason = "module " + l.identity.moduleID + ": " + l.last.class.String()
	}
	l.start(&l.dps, func(ctx context.Context) result {
		var err error
		switch rejected := why == rules.ReasonRejected; {
		case !at.Known():
			if err := d.locate(ctx); err != nil {
				return result{err: err}
			}
		case rejected || register:
			err = d.askForModule(ctx, at, rejected, reason)
		}
		return result{event: l.fromDevice(err), err: err}
	})
}

// fromDevice is what a module's rules need to know of its device's answer. That DPS refuses the
// device is the device's own matter.
func (l *loop) fromDevice(err error) rules.Event {
	if err == nil {
		return rules.Assigned{} // deviceAnswered says which
	}
	if soon, ok := errors.AsType[*TooSoonError](err); ok {
		return rules.DPSFailed{Failure: rules.DPSThrottled, RetryAfter: soon.Wait}
	}
	if failure, ok := errors.AsType[*dps.Error](err); ok && failure.Verdict() != retry.Wait {
		return rules.Assigned{}
	}
	return rules.DPSFailed{RetryAfter: retry.After(err)}
}

// deviceAnswered completes what a device has answered with where it belongs by now.
func (l *loop) deviceAnswered(r *result) {
	if _, ok := r.event.(rules.Assigned); !ok {
		return
	}
	l.follow()
	r.event = rules.DPSFailed{} // forgotten meanwhile
	if a := l.state.Confirmed; a.Known() {
		r.event = rules.Assigned{Assignment: a, Stable: l.conn != nil && isStable(l.conn)}
	}
}

// askDeviceForTime settles whether the clock may be why a module was turned away. What DPS has told
// the device, or another module, is not asked for again.
func (l *loop) askDeviceForTime() {
	used, d := l.tried, l.device
	l.start(&l.dps, func(ctx context.Context) result {
		var e rules.ClockAnswered
		if d.takeTurn(ctx) == nil {
			defer d.endTurn()
			if e.Clock = l.clock.since(used); e.Clock == rules.ClockUnknown {
				e, _ = l.askTime(ctx, used)
			}
		}
		return result{event: e}
	})
}
