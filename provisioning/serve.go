package provisioning

import (
	"context"
	"errors"

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
	err := l.store.forget(context.WithoutCancel(l.ctx))
	l.apply(a.event)
	l.publish()
	a.result <- callResult{err: err}
}
