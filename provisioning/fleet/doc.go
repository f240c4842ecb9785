// SPDX-License-Identifier: Apache-2.0

// Package fleet runs many devices in one process, as a gateway or a cloud connector does, and has
// the [Budget] by which they share what one of them has learned of a service.
//
//	f := &fleet.Fleet{
//		Device: func(id string) (*provisioning.Device, error) {
//			return &provisioning.Device{
//				IDScope:     "0ne00ABCDEF",
//				Attestation: dps.SymmetricKey{ID: id, Key: keys[id]},
//				Store:       cache.Dir("/var/lib/gateway"),
//			}, nil
//		},
//		Session: func(ctx context.Context, id string, hub *hubconn.Conn) error {
//			… // send, receive, until ctx ends
//		},
//		Logger: slog.Default(),
//	}
//	if err := f.Add(ids...); err != nil { … }
//	err := f.Run(ctx)
//
// Each identity is a device as package provisioning has it, with all of its rules: it connects from
// its store without a request to DPS, waits, backs off and registers by itself. A [Fleet] adds what
// concerns them together: when each begins, that one's failure ends no other, an end of all in a
// few seconds, and the status of all. Identities come and go while it runs ([Fleet.Add],
// [Fleet.Remove]).
//
// # What they share
//
// Fifty devices that know nothing of each other send fifty requests to a DPS that has told the
// first to come back in a minute. Those that share a [Budget] send one, and then one more when the
// minute is over; if that succeeds, the others follow, in growing numbers at a bounded rate. So it
// is with the connections to each hub. A device that waits for its turn is
// [provisioning.StateQueued], in Status, Trace and log, and [Budget.Load] says for whom and for
// what. To wait is no failure: it counts in no back-off and not against Retry.MaxAttempts, it ends
// with the call's ctx, and a device that waits for DPS goes on trying the hub it remembers.
//
// What each device was told itself holds as well, as ever: its own waits come first, then the
// Budget's. So does Stagger; a fleet of many processes still needs it.
//
// A Budget serves Devices that the program runs itself, too: set it as the Budget of each. What it
// cannot see are the connections of an MQTT client of the program's own, and those by which a
// connection that is up renews its token: one an hour and device, spread at random.
//
// # Several processes
//
// Two processes that run one identity end each other's connection over and over. With the Leases
// of a [Fleet], each runs those that are placed there, and the death of one moves its identities
// alone; see package lease. Their stores have to be one that all of them see. A process that ends
// leaves the leases after Run has returned, so that the others need not wait for a time-out:
//
//	leases, err := natslease.Join(ctx, …)
//	f.Leases = leases
//	err = f.Run(ctx)
//	_ = leases.Close(context.WithoutCancel(ctx))
//
// # What it does not do
//
// It stores nothing: each device has its Store. It bounds no memory: 10,000 connected devices take
// about a gigabyte with what TLS and the MQTT client take, of which docs/benchmarks.md has the
// parts.
package fleet
