// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"sync"

	"github.com/rehome-iot/rehome/hubconn"
)

// Send sends telemetry over HTTPS, without a connection that stays: for devices that wake, send and
// sleep. Several messages go as one batch, which the hub takes as a whole or not at all. The limits
// of a message and of a batch are those of [hubconn.Dialer.Post].
//
// Where the device belongs is found as in Run: a remembered assignment is used without any request
// to DPS, and the rules decide what follows from the hub's answer, an HTTPS request taking the
// place of the attempt to connect. Send returns nil when the hub has taken the messages; when one
// of them is at fault, what the hub or the limits say at once (an error of class [hubconn.Caller],
// which leaves everything as it was); when ctx ends, its cause and the last failure; as soon as the
// next request that the rules allow lies behind the deadline of ctx, a [TooSoonError], of which
// [retry.After] tells how long to sleep; when Retry.MaxAttempts is reached, the last failure. Bound
// it with one of these two: a hub that throttles may ask for hours. A later call keeps what the
// services asked for, and so does one of the next process, where the Store is a [cache.WaitStore].
//
// Messages are delivered at least once. After a failure, and after one that was followed by another
// attempt, the hub may have them twice: a MessageID lets the receiver tell. The messages must not
// be changed until Send returns.
//
// Several calls at once are carried out one after the other. While Run or Connect is under way, or
// a connection from Connect is open, Send returns [ErrRunning]: send over that connection, which
// costs far less.
func (d *Device) Send(ctx context.Context, messages ...hubconn.Message) error {
	if len(messages) == 0 {
		return &hubconn.Error{Op: "post", Class: hubconn.Caller, Err: errors.New("no message")}
	}
	_, err := oneShot(ctx, d, StateSending,
		func(
			ctx context.Context, c *core, hub hubconn.Hub, as hubconn.Credential,
		) (struct{}, error) {
			return struct{}{}, c.dialer.Post(ctx, hub, as, messages...)
		})
	return err
}

// Receive asks for one cloud-to-device message over HTTPS; nil, nil when none waits. The message is
// locked for a minute, in which the program completes, abandons or rejects it; those are single
// attempts, and an error of theirs changes nothing about the device. Receive works, waits and ends
// as Send does. The service asks devices not to poll more often than every 25 minutes (Azure docs:
// "Choose a communication protocol"); a device that stays connected gets its messages at once, from
// [hubconn.Conn.Messages].
func (d *Device) Receive(ctx context.Context) (*hubconn.Delivery, error) {
	return oneShot(ctx, d, StateReceiving,
		func(
			ctx context.Context, c *core, hub hubconn.Hub, as hubconn.Credential,
		) (*hubconn.Delivery, error) {
			return c.dialer.Receive(ctx, hub, as)
		})
}

// oneShot makes one request at the hub that the device belongs to, as often as the rules call for.
func oneShot[T any](
	ctx context.Context, d *Device, attempt State,
	request func(context.Context, *core, hubconn.Hub, hubconn.Credential) (T, error),
) (T, error) {
	var (
		mu     sync.Mutex // a request that was cut short may end while the next one is under way
		result T
		served bool
	)
	c, err := d.acquire(ctx, holderRequest)
	if err != nil {
		return result, err
	}
	defer c.lease.release()
	err = c.drive(ctx, task{
		purpose: toExchange, attempt: attempt, exchange: func(
			ctx context.Context, hub hubconn.Hub, as hubconn.Credential,
		) error {
			r, err := request(ctx, c, hub, as)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				result, served = r, true
			}
			return err
		},
	})
	// even if ctx has ended meanwhile, or DPS has named another hub; nothing runs any more
	if served {
		err = nil
	}
	return result, err
}
