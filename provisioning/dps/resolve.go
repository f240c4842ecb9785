package dps

import (
	"context"
	"errors"
	"net"
	"time"
)

// resolveTimeout bounds a question that nothing but the next try of a hub waits for.
const resolveTimeout = 30 * time.Second

// Resolves says whether the endpoint's name can be resolved: a hub whose name is unknown while that
// of DPS is known has been deleted. It opens a connection and sends nothing, because only that goes
// through the same resolver as everything else when DialContext is set.
func (c *Client) Resolves(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	conn, err := c.dialContext()(ctx, "tcp", c.address(false))
	if err == nil {
		_ = conn.Close()
		return true
	}
	_, dns := errors.AsType[*net.DNSError](err)
	return !dns && ctx.Err() == nil
}
