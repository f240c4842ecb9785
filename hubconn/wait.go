package hubconn

import (
	"context"
	"time"
)

// over is the error of an operation when the connection or ctx has ended.
func (c *Conn) over(ctx context.Context, op string) error {
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
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.ctx.Done():
	case <-ctx.Done():
	}
	return c.over(ctx, op)
}

// await waits for another link; its error is the end of the connection or of ctx.
func (c *Conn) await(ctx context.Context, op string, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-c.ctx.Done():
		return classify(op, c.hub, context.Cause(c.ctx))
	case <-ctx.Done():
		return classify(op, c.hub, context.Cause(ctx))
	}
}

// within returns a context that ends with ctx, and with the connection and its cause. Its cancel must be called.
func (c *Conn) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}
