// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"

	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// serve hands a call to whoever drives the device, or drives it for the purpose.
func (c *core) serve(ctx context.Context, a *call) (dps.Assignment, error) {
	for {
		if err := context.Cause(ctx); err != nil {
			return dps.Assignment{}, err
		}
		wait := c.lease.tryAcquire(holderHelper)
		if wait == nil {
			r := c.serveAlone(ctx, a)
			if errors.Is(r.err, errUnserved) && ctx.Err() == nil {
				continue
			}
			return r.assignment, r.err
		}
		select {
		case c.calls <- a:
		case <-wait:
			continue
		case <-ctx.Done():
			return dps.Assignment{}, context.Cause(ctx)
		}
		select {
		case r := <-a.result:
			if errors.Is(r.err, errUnserved) {
				continue
			}
			return r.assignment, r.err
		case <-ctx.Done():
			return dps.Assignment{}, context.Cause(ctx)
		}
	}
}

// serveAlone drives the device for one call. The caller holds the lease, which is released.
func (c *core) serveAlone(ctx context.Context, a *call) callResult {
	err := c.drive(ctx, task{purpose: toServe, served: a})
	c.lease.release()
	if err == nil {
		err = errUnserved
	}
	select {
	case r := <-a.result:
		if errors.Is(r.err, errUnserved) && ctx.Err() != nil {
			return callResult{err: err}
		}
		return r
	default:
		return callResult{err: err}
	}
}

// acceptLate takes in a call while the loop waits for its session, which may be who called: nothing
// is begun any more.
func (l *loop) acceptLate(a *call) {
	if _, forget := a.event.(rules.Forget); !forget {
		a.result <- callResult{err: errStopped}
		return
	}
	err := l.forget(context.WithoutCancel(l.ctx))
	l.forgotten()
	l.apply(a.event)
	l.publish()
	a.result <- callResult{err: err}
}

// accept takes in a call from another goroutine, or the one this loop is for.
func (l *loop) accept(a *call) {
	switch a.event.(type) {
	case rules.Renew:
		l.renewing = append(l.renewing, a)
		l.step(a.event)
		return
	case rules.Reprovision:
		if len(l.waiting) == 0 {
			l.manualReason = a.reason
		}
		l.waiting = append(l.waiting, a)
		l.step(a.event)
		return
	}
	if a != l.served {
		err := l.forget(context.WithoutCancel(l.ctx)) // who asked is not the one who ends Run
		l.forgotten()
		l.step(a.event)
		a.result <- callResult{err: err}
		return
	}
	err := l.forget(l.ctx)
	l.forgotten()
	l.apply(a.event)
	l.publish()
	a.result <- callResult{err: err}
	l.finish(nil)
}

// forget drops what is stored, of the assignment and of certificates.
func (c *core) forget(ctx context.Context) error {
	err := c.store.forget(ctx)
	if c.certs != nil {
		err = oneline.Join(err, c.certs.forget(ctx))
	}
	return err
}

// forgotten tells the rules that no certificate is left.
func (l *loop) forgotten() {
	if l.certs != nil {
		l.installedAs = rules.Installed{}
		l.apply(l.installedAs)
	}
}

// reply answers all who wait for a registration.
func (l *loop) reply(r callResult) { l.replyTo(&l.waiting, r) }

// replyTo answers all of a list.
func (l *loop) replyTo(waiting *[]*call, r callResult) {
	if len(*waiting) > 0 {
		l.publish() // who is answered may look at Status
	}
	for _, a := range *waiting {
		a.result <- r
		if a == l.served {
			l.finish(nil)
		}
	}
	*waiting = nil
}
