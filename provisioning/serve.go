package provisioning

import (
	"context"
	"errors"

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
