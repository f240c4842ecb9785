// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"net"
)

// DialFunc opens a network connection, as net.Dialer.DialContext does.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// Guard returns a dial for whoever runs by the lease, such as provisioning.Device.DialContext: it
// returns the error of [Lease].Held in place of a connection while the lease may not be used for
// one, and otherwise does as dial. A device takes that for an unreachable network, and tries again
// later. A nil dial is that of a zero net.Dialer. Connections that are up are left alone.
func Guard(held Lease, dial DialFunc) DialFunc {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if err := held.Held(); err != nil {
			return nil, err
		}
		return dial(ctx, network, address)
	}
}
