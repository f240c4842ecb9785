// SPDX-License-Identifier: Apache-2.0

package natskv

import (
	"time"

	"github.com/nats-io/nats.go"
)

// ConnOptions returns what a connection needs to outlive its servers: it is tried again for ever,
// each second or two, from the start on, also where a server refuses the user: its list of users,
// or the service that it asks, may be wrong for a moment, and the client's own default would close
// the connection for good at the second refusal. And nothing is written to a buffer while there is
// none: a call that fails at once can be made again, and one that is sent minutes later does harm.
// One that has fallen silent, without an end, is noticed within 15 s and made anew; the client's
// own defaults would take some minutes.
func ConnOptions() []nats.Option {
	return []nats.Option{
		nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1), nats.ReconnectWait(time.Second),
		nats.ReconnectJitter(time.Second, time.Second),
		nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2),
	}
}
